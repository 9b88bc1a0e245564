"""The training guide: its commands run as they stand, and each row of its troubleshooting does what it says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bestguess import cli
from bestguess.command import UserError
from bestguess.rolls import values
from bestguess.rolls.config import RollsConfig
from bestguess.rolls.family import FAMILY
from bestguess.rolls.sources import source_from
from bestguess.train.fit import fit_to_memory
from tests.rolls.tiny import made, write

QUICK = """
bestguess rolls train \
    --u16_path rolls_1e9.u16 \
    --d_model 256 --nlayers 6 --nhead 8 \
    --epochs 5 --use_amp \
    --ckpt quick_model.pt
"""
BEST = """
bestguess rolls train \
    --u16_path rolls_1e9.u16 \
    --d_model 512 --nlayers 8 --nhead 16 \
    --dim_ff 2048 --epochs 10 \
    --gradient_accumulation 4 --use_amp \
    --eval_every 500 --patience 5 \
    --lr 1e-3 --warmup_ratio 0.1 \
    --ckpt best_model.pt
"""
EFFICIENT = """
bestguess rolls train \
    --u16_path rolls_1e9.u16 \
    --d_model 256 --nlayers 4 --nhead 8 \
    --batch 64 --gradient_accumulation 8 \
    --use_amp --ckpt efficient_model.pt
"""
EVALUATE = """
bestguess rolls evaluate \
    --u16_path rolls_1e9.u16 \
    --ckpt best_model.pt \
    --max_samples 100000 \
    --analyze_predictions \
    --use_amp
"""
PREDICT = """
bestguess rolls predict \
    --u16_path rolls_1e9.u16 \
    --ckpt best_model.pt \
    --idx 1000000 \
    --topk 10
"""
SMALLER = {"--d_model": "8", "--nlayers": "1", "--nhead": "2", "--dim_ff": "24", "--epochs": "0.02"}
"""What the guide's sizes are replaced with where its commands are run: they would take hours on a CPU."""
FILE = "rolls_1e9.u16"
SHORT = ["--window", "16", "--validation_sequences", "2"]


def words(command: str) -> list[str]:
    program, *rest = shlex.split(command)
    assert program == "bestguess"
    return rest


def run(capsys: Any, *argv: object) -> tuple[int, Any, str]:
    """Return the exit status, the JSON object (None if there is none), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("guide")


@pytest.fixture
def here(folder, monkeypatch) -> Path:
    """A working directory with a file of a million values."""
    monkeypatch.chdir(folder)
    if not (folder / FILE).exists():
        source = source_from("iid alphabet=20", 0)
        write(folder / FILE, source.draw(source.start(), 1_000_100)[0])
    return folder


def config_of(*argv: str, file: str = FILE) -> RollsConfig:
    """Return the config that a command line of `rolls train` stands for; nothing is trained."""
    return cli.parse("rolls train", ["--u16_path", file, *argv])[0].config()


def literal(command: str) -> RollsConfig:
    return cli.parse("rolls train", words(command)[2:])[0].config()


# ------------------------------------------------------------------------------------------ the commands


def test_the_guide_s_sizes_are_taken_as_they_stand(here):
    quick, best, efficient = (literal(command) for command in (QUICK, BEST, EFFICIENT))
    windows = (900_090 - 1) // 128
    size = lambda c: (c.model.d_model, c.model.layers, c.model.heads, c.model.hidden_dim)  # noqa: E731
    assert size(quick) == (256, 6, 8, 704)
    assert size(best) == (512, 8, 16, 1344)
    assert size(efficient) == (256, 4, 8, 704)
    batch = lambda c: (c.train.batch_size, c.train.accumulate)  # noqa: E731
    assert batch(quick) == (256, 1)  # an epoch of so short a file has fewer than 1,000 steps
    assert batch(best) == (1024, 4)
    assert batch(efficient) == (512, 8)
    assert [c.train.steps for c in (quick, best, efficient)] == [
        -(-5 * windows // 256), -(-10 * windows // 1024), -(-2 * windows // 512)
    ]  # fmt: skip
    for c in (quick, best, efficient):
        assert c.model.dtype == "bfloat16"
        assert c.task.window == 128
        assert c.model.outputs == 4
        assert (c.model.activation, c.model.norm_place, c.model.positions) == ("swiglu", "pre", "rope")
        assert c.train.schedule == "cosine"
        assert c.train.warmup_steps == round(0.1 * c.train.steps)
        assert (c.train.patience, c.train.beta2) == (5, 0.95)
    assert [c.train.learning_rate for c in (quick, best, efficient)] == [(3e-4,), (1e-3,), (3e-4,)]
    assert [c.train.validate_every for c in (quick, best, efficient)] == [1000, 500, 1000]


def test_the_commands_run_in_the_guide_s_order(here, capsys):
    """As they stand, but for the sizes in SMALLER, and no more of the test part than tests can wait for."""
    for command, name in ((QUICK, "quick"), (BEST, "best"), (EFFICIENT, "efficient")):
        argv = words(command)
        for flag, value in SMALLER.items():
            if flag in argv:
                argv[argv.index(flag) + 1] = value
        if "--epochs" not in argv:
            argv += ["--epochs", SMALLER["--epochs"]]
        status, result, err = run(capsys, *argv, "--test_samples", 1280, "--validation_sequences", 8, "--json")
        assert status == 0, err
        assert result["ckpt"].endswith(f"{name}_model.pt")
        assert (here / f"{name}_model.pt").read_bytes()[8:9] == b"{"  # a safetensors header, and no pickle
        assert result["values"] == 1280
    status, result, err = run(capsys, *(word.replace("100000", "2560") for word in words(EVALUATE)), "--json")
    assert status == 0, err
    assert result["values"] == 2560
    assert "Calibration" in err
    assert "Output heads" in err
    assert result["sentence"].startswith("no evidence")
    status, result, err = run(capsys, *words(PREDICT), "--json")
    assert status == 0, err
    assert result["index"] == 1_000_000
    assert [len(head) for head in result["heads"]] == [10] * 4
    assert len(result["context"]) == 128
    assert result["in_training"] is False
    assert len(result["actual"]) == 4


@pytest.mark.parametrize("word", ["analyse", "randomness"])
def test_old_commands_answer_by_pointing(here, word, capsys):
    status, result, err = run(capsys, "rolls", word, "--u16_path", FILE, "--ckpt", "best_model.pt", "--json")
    assert status == 0
    assert result == {"see": ["rolls report", "rolls test"]}
    assert "bestguess rolls report RUN" in err


@pytest.mark.parametrize("word", ["train", "evaluate", "predict"])
def test_flags_with_hyphens_are_the_same(here, word):
    command = {"train": BEST, "evaluate": EVALUATE, "predict": PREDICT}[word]
    underscored = words(command)[2:]
    hyphened = [w.replace("_", "-") if w.startswith("--") else w for w in underscored]
    assert hyphened != underscored
    assert vars(cli.parse(f"rolls {word}", hyphened)[0]) == vars(cli.parse(f"rolls {word}", underscored)[0])


def test_a_file_given_with_an_equals_sign_means_the_large_model_too(here):
    (flags, _) = cli.parse("rolls train", [f"--u16_path={FILE}"])
    assert flags.config().model.d_model == 512
    assert flags.config() == config_of()
    assert config_of("--preset", "small").model.d_model == 64


# ------------------------------------------------------------------------------------------ out of memory


def test_out_of_memory_is_refused_before_it_happens_and_names_four_remedies(here, monkeypatch):
    config = config_of("--d_model", "8", "--nlayers", "1", "--nhead", "2", "--batch", "16", *SHORT)
    training = made(config)
    monkeypatch.setenv("BESTGUESS_MEMORY", "1e4")
    with pytest.raises(UserError) as refused:
        fit_to_memory(training.problem, config.train, training.members)
    said = str(refused.value)
    assert said.startswith("--batch 16: 1 run needs ")
    assert said.endswith(
        "the device has 0.0 MB; reduce --batch (to 64), raise --gradient_accumulation (to 8), "
        "use a smaller model (--d_model 256 --nlayers 6), or --use_amp"
    )
    assert "\n" not in said


def test_each_remedy_is_a_flag_and_three_of_them_need_less_memory(here, monkeypatch):
    sizes = ["--d_model", "32", "--nlayers", "2", "--nhead", "2", "--batch", "256", "--window", "64"]
    sizes += ["--validation_sequences", "2"]

    def needed(*more: str) -> int:
        config = config_of(*sizes, *more)
        training = made(config)
        return fit_to_memory(training.problem, config.train, training.members)[2].needed

    monkeypatch.setenv("BESTGUESS_MEMORY", "1e12")
    whole = needed()
    assert needed("--batch", "64") < 0.6 * whole
    assert needed("--d_model", "16", "--nlayers", "1") < 0.6 * whole
    # Accumulation lets a step keep its windows at less memory than all of them at once.
    assert needed("--batch", "64", "--gradient_accumulation", "4") < 0.6 * whole
    assert config_of(*sizes, "--batch", "64", "--gradient_accumulation", "4").train.batch_size == 256


def test_use_amp_computes_in_bfloat16(here):
    assert config_of("--use_amp").model.dtype == "bfloat16"
    assert config_of().model.dtype == "float32"


# ------------------------------------------------------------------------------------------ troubleshooting


def test_reduce_batch_size(here):
    assert config_of("--batch", "64").train.batch_size == 64
    assert config_of("--batch", "64").train.accumulate == 1


def test_increase_gradient_accumulation(here):
    train = config_of("--gradient_accumulation", "8").train
    assert (train.batch_size, train.accumulate) == (8 * 256, 8)


def test_where_an_epoch_has_a_thousand_steps_gradients_are_accumulated(here):
    """7,032 windows: 1,004 steps of 7, 879 steps of 8."""
    few, many = (config_of("--batch", batch).train for batch in ("8", "7"))
    assert (few.batch_size, few.accumulate) == (8, 1)
    assert (many.batch_size, many.accumulate) == (28, 4)


def test_use_a_smaller_model(here):
    model = config_of("--d_model", "256", "--nlayers", "6").model
    assert (model.d_model, model.layers) == (256, 6)


def test_increase_batch_size(here):
    assert config_of("--batch", "256").train.batch_size == 256


def test_more_workers_read_a_file_that_the_host_feeds_and_say_so_where_there_is_nothing_to_read(here, monkeypatch):
    resident, fed = config_of("--workers", "8"), config_of("--workers", "8", "--feed", "host")
    note = "--workers 8: the values live on the device, so nothing is left to read"
    assert FAMILY.works.notes(resident)[-1] == note
    assert note not in FAMILY.works.notes(fed)
    assert note not in FAMILY.works.notes(config_of())
    asked = []
    pool = values.ThreadPoolExecutor
    monkeypatch.setattr(values, "ThreadPoolExecutor", lambda workers: asked.append(workers) or pool(workers))
    values._readers.cache_clear()  # threads of an earlier test would be taken
    made(fed).problem.feed([0], 0, 40)
    assert asked == [8]


def test_reduce_evaluation_frequency(here):
    assert config_of("--eval_every", "2000").train.validate_every == 2000


def test_increase_model_size(here):
    model = config_of("--d_model", "512", "--nlayers", "8").model
    assert (model.d_model, model.layers, model.hidden_dim) == (512, 8, 1344)


def test_train_longer(here):
    assert config_of("--epochs", "10").train.steps == -(-10 * 7031 // 256)
    assert config_of().train.steps == -(-2 * 7031 // 256)


def test_adjust_the_learning_rate(here):
    assert config_of("--lr", "5e-4").train.learning_rate == (5e-4,)


def test_remove_max_samples(here, capsys):
    few, all_of = config_of("--max_samples", "1000"), config_of()
    assert made(few).problem.windows == 1000 // 128
    assert made(all_of).problem.windows == 7031
    assert few.train.steps < all_of.train.steps


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--epochs", "0"], "--epochs 0: must be positive"),
        (["--epochs", "nan"], "--epochs nan: must be positive"),
        (["--batch", "0"], "--batch 0: must be 1 or more"),
        (["--gradient_accumulation", "0"], "--gradient-accumulation 0: must be 1 or more"),
        (["--warmup_ratio", "1"], "--warmup-ratio 1: a fraction of the steps"),
        (["--dim_ff", "0"], "--dim-ff 0: must be 1 or more"),
        (["--nlayers", "2", "--layers", "3"], "--nlayers: says what --layers says; give one of them"),
        (["--lr", "1e-3", "--learning_rate", "1e-2"], "--lr: says what --learning-rate says"),
        (["--epochs", "1", "--steps", "5"], "--epochs: says what --steps says"),
        (["--max_samples", "0"], "--max-samples 0: must be 1 or more"),
        (["--workers", "0"], "--workers 0: must be from 1"),
    ],
)
def test_impossible_values_are_one_line(here, argv, said):
    with pytest.raises(UserError) as refused:
        config_of(*argv)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("flag", "value"), [("--source", "iid"), ("--n", "9000")])
def test_what_is_said_of_drawn_values_beside_a_file_is_refused(here, capsys, flag, value):
    status, out, err = run(capsys, "rolls", "train", "--u16_path", FILE, flag, value, "--out", here / "new")
    assert (status, out) == (2, None)
    assert f"{flag} {value}: does nothing here; it needs values that are drawn: drop --u16-path" in err
    assert not (here / "new").exists()


def test_a_ckpt_that_cannot_be_written_is_told_before_training(here, capsys):
    status, out, err = run(capsys, "rolls", "train", "--u16_path", FILE, "--ckpt", here, "--out", here / "new")
    assert (status, out) == (2, None)
    assert err.count("\n") == 1
    assert str(here) in err
    assert not (here / "new").exists()
