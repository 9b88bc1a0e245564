"""One suite over every registered family: a new one is tested by being registered."""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import bestguess
from bestguess import files
from bestguess.cli import commands, main
from bestguess.command import Failure, UserError, make_console
from bestguess.config import runs
from bestguess.family import Family, families
from bestguess.integers import workings as integers
from bestguess.integers.sequences import priors
from bestguess.report.trackers import Trackers
from bestguess.sweep.bayes import figures_of_runs
from bestguess.sweep.source import done_elsewhere
from bestguess.sweep.spec import flatten
from bestguess.sweep.train import figures_of
from bestguess.task import Gaussian
from bestguess.train.cores import product_of
from bestguess.workflow import commands as workflow
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.training import Training, load_training, read_training_config

SHORT = [
    *("--steps", "6", "--warmup-steps", "1", "--validate-every", "2", "--checkpoint-every", "0", "--batch-size", "4"),
    *("--validation-sequences", "4", "--learning-rate", "1e-3", "1e-2"),
]
TINY: dict[str, list[str]] = {
    "filters": [
        *("--latent-dim", "4", "--length", "16", "--layers", "1", "--d-model", "8", "--heads", "2"),
        *("--test-sequences", "8", "--context", "8", "--horizons", "2", "4", "--rollouts", "8"),
    ],
    "integers": [
        *("--layers", "1", "--d-model", "8", "--heads", "2", "--length", "3", "--phases", "1", "--prior", "narrow"),
    ],
    "rolls": [
        *("--source", "hmm alphabet=8", "--n", "4000", "--window", "8", "--outputs", "2", "--test-samples", "160"),
        *("--layers", "1", "--d-model", "8", "--heads", "2"),
    ],
    "text": [
        *("--world", "tiny", "--layers", "1", "--d-model", "8", "--heads", "2", "--test-documents", "16"),
        *("--generated", "4", "--hold", "0", "--architecture", "decoder-only"),
    ],
}
"""What makes a family's own config so small that it trains in a moment; without an entry, its default is taken."""

FEW: dict[str, dict[str, int]] = {"text": {"test_documents": 64}}
"""What a predictor is judged on, where a family's own config has more of it than a test needs."""

TRAINED = [family for family in families() if family.workings]
every_family = pytest.mark.parametrize("family", TRAINED, ids=lambda family: family.name)


def run(capsys: Any, *words: object) -> tuple[int, Any, str]:
    """Return the exit status, the JSON object on standard output (None if empty), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


def train(family: Family, folder: Path, *more: str) -> list[object]:
    return [family.name, "train", *SHORT, *TINY.get(family.name, []), *more, "--out", folder, "--json"]


@pytest.fixture(scope="module", autouse=True)
def few_rows():
    """Sums over all rows are exact with few, too: phase 1 of the integers has 4,351 here, more than one chunk."""
    kept = [one for one in priors.FAMILIES if one.phase > 1 or one.name in ("constant", "Fibonacci")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors, "FAMILIES", tuple(kept))
        integers._task_of.cache_clear()
        yield
    integers._task_of.cache_clear()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {}


@pytest.fixture
def trained(request, family, folders, tmp_path_factory) -> Path:
    """A folder that the family's `train` left behind: two learning rates."""
    if family.name not in folders:
        folder = tmp_path_factory.mktemp(family.name) / "run"
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in train(family, folder)])
        assert not stop.value.code
        folders[family.name] = folder
    return folders[family.name]


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    """A copy of the trained folder, to be changed."""
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def arrays(folder: Path) -> dict[str, tuple]:
    newest = sorted((folder / "checkpoints").rglob("*.safetensors"))[-1]
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in load_file(newest).items()}


# ------------------------------------------------------------------------------------------ what is left behind


@every_family
def test_a_training_leaves_the_promised_folder(family, trained):
    parts = [f"{part}.json" for part in family.works.parts]
    for name in ("config.yaml", "metrics.jsonl", "report.html", "training.json", *parts):
        assert (trained / name).stat().st_size > 0
    assert list((trained / "checkpoints").rglob("*.safetensors"))
    drawn = sorted(path.name for path in (trained / "figures").iterdir())
    assert drawn == sorted(
        f"{Path(name).stem}{suffix}" for name in drawn if name.endswith(".png") for suffix in (".png", ".svg")
    )
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["bestguess"]["family"] == family.name
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    documented = (Path(__file__).parents[2] / "docs" / "files.md").read_text().partition("## `evaluation.json`")[0]
    assert [name for name in lines[0] if f"`{name}`" not in documented] == []
    assert {(line["seed"], line["peak_learning_rate"]) for line in lines} == {(0, 1e-3), (0, 1e-2)}
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["run"]) for line in lines] == [(step, i) for step in (2, 4, 6) for i in range(2)]
    assert {"sequences", "score", "train_loss", family.progress} <= set(lines[0])
    assert lines[-1]["sequences"] == 6 * 4


@every_family
def test_a_step_s_product_is_of_a_micro_batch_s_tokens(family, trained):
    config = runs(read_training_config(family, trained))[0].config
    works = family.works.of(config)
    halves = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=2))
    positions = works.tokens(config)
    assert positions >= 3
    whole = product_of(config, positions)
    assert whole == config.train.batch_size * positions * config.model.d_model**2
    assert product_of(halves, works.tokens(halves)) == whole / 2


@every_family
def test_results_say_what_each_run_is_and_how_it_was_selected(family, trained):
    found = json.loads((trained / "evaluation.json").read_text())
    assert [one["run"] for one in found["runs"]] == [0, 1]
    assert [one["learning_rate"] for one in found["runs"]] == [1e-3, 1e-2]
    assert 0 <= found["self_test"] <= 1e-6
    scores = [one[family.validation] for one in found["runs"]]
    assert [one["selected"] for one in found["runs"]] == [score == min(scores) for score in scores]
    (best,) = found["best"]
    assert best["learning_rate"] == (1e-3, 1e-2)[int(np.argmin(scores))]
    assert best["seeds"] == 1
    assert np.isfinite(best[family.reported])


@every_family
def test_the_page_asks_nobody_for_anything(family, trained):
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    for tag in ('<link rel="stylesheet"', "<script src", '<img src="http', "@import"):
        assert tag not in page
    assert "self-test" in page
    assert family.name in (trained / "config.yaml").read_text()


@every_family
def test_evaluate_and_report_say_the_same_again(family, copy, capsys):
    before = json.loads((copy / "evaluation.json").read_text())
    status, result, err = run(capsys, family.name, "evaluate", copy, "--json")
    assert status == 0
    assert result["runs"] == before["runs"]
    assert "self-test" in err
    page = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    status, result, _ = run(capsys, family.name, "report", copy, "--json")
    assert status == 0
    assert (copy / "report.html").read_bytes() == page


@every_family
def test_metrics_of_a_run_that_there_is_not_are_one_line(family, copy, capsys):
    with (copy / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "run": 2, "sequences": 24}) + "\n")
    status, out, err = run(capsys, family.name, "report", copy)
    assert (status, out) == (2, None)
    assert "metrics.jsonl: has a run 2" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
@every_family
def test_a_finished_training_resumes_to_the_same_figures(family, copy, capsys):
    before, metrics = json.loads((copy / "evaluation.json").read_text()), (copy / "metrics.jsonl").read_text()
    status, result, err = run(capsys, family.name, "train", "--resume", copy, "--json")
    assert status == 0
    assert "already trained" in err
    assert json.loads((copy / "evaluation.json").read_text())["runs"] == before["runs"]
    assert (copy / "metrics.jsonl").read_text() == metrics
    assert {"training", "run", "report", "seconds"} <= set(result)


@every_family
def test_what_lacks_nothing_says_so_without_its_task_being_made(family, copy, capsys, monkeypatch):
    def make(*_):
        raise AssertionError("a task was made")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "make_training", make)
        status, result, err = run(capsys, family.name, "train", "--resume", copy, "--json")
        assert status == 0
        assert "step 6: already trained and evaluated" in err
        assert result["report"] == str(copy / "report.html")
        (copy / "report.html").unlink()
        with pytest.raises(AssertionError, match="a task was made"):
            main([family.name, "train", "--resume", str(copy)])


@pytest.mark.usefixtures("undrawn")
@every_family
def test_a_training_that_was_cut_off_resumes_to_the_bit(family, trained, tmp_path, capsys, monkeypatch):
    folder, log = tmp_path / "cut", Trackers.log

    def cut(self, step, run, metrics):
        if step > 2:
            raise RuntimeError("cut off")
        log(self, step, run, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(Trackers, "log", cut)
        with pytest.raises(RuntimeError, match="cut off"):
            main([str(word) for word in train(family, folder)])
    status, _, err = run(capsys, family.name, "train", "--resume", folder, "--json")
    assert status == 0
    assert "from step 2 of 6" in err
    assert arrays(folder) == arrays(trained)
    assert (folder / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()


# ------------------------------------------------------------------------------------------ nothing skips the self-test


def broken_oracle(works: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the best constant in the oracle's place: a reference that is not what is compared with."""
    monkeypatch.setattr(type(works), "oracle", type(works).constant)


def blind_evaluation(works: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the evaluation say of every predictor what it says of the oracle: a regret of 0."""
    good = type(works).evaluate

    def blind(self, config, task, predictor, *rest, **more):
        return good(self, config, task, self.oracle(config, task), *rest, **more)

    monkeypatch.setattr(type(works), "evaluate", blind)


breakages = pytest.mark.parametrize("broken", [broken_oracle, blind_evaluation])


@breakages
@every_family
def test_a_broken_evaluation_is_refused_by_evaluate(family, broken, copy, capsys, monkeypatch):
    before = (copy / "evaluation.json").read_bytes()
    broken(family.works, monkeypatch)
    status, out, err = run(capsys, family.name, "evaluate", copy, "--json")
    assert (status, out) == (1, None)
    assert "self-test" in err
    assert "Traceback" not in err
    assert (copy / "evaluation.json").read_bytes() == before


@breakages
@every_family
def test_a_broken_evaluation_is_refused_by_train(family, broken, trained, tmp_path, capsys, monkeypatch):
    broken(family.works, monkeypatch)
    status, out, err = run(capsys, *train(family, tmp_path / "new"))
    assert (status, out) == (1, None)
    assert "self-test" in err
    for name in ("evaluation.json", "report.html"):
        assert not (tmp_path / "new" / name).exists()


def sweep_of(family: Family, trained: Path, folder: Path, name: str) -> Path:
    """Write the sweep of the trained folder's config, two learning rates and two seeds."""
    config = yaml.safe_load((trained / "config.yaml").read_text())
    del config["bestguess"]
    values = {"family": family.name}
    for key, value in config.items():
        values |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    parameters = {key: {"value": value} for key, value in values.items() if key != "train.seeds"}
    parameters["train.learning_rate"] = {"values": [1e-3, 1e-2]}
    parameters["train.first_seed"] = {"values": [0, 1]}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "method": "grid", "parameters": parameters}))
    return path


@every_family
def test_a_sweep_scores_as_evaluate_does(family, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = sweep_of(family, trained, tmp_path, "toy")
    status, told, _ = run(capsys, "sweep", path, "--folder", tmp_path, "--estimate", "--json")
    assert (status, told["runs"]) == (0, 4)
    status, result, _ = run(capsys, "sweep", path, "--folder", tmp_path, "--json")
    assert status == 0
    assert result["done"] == result["planned"] == 4
    ledger = next(tmp_path.glob("toy-*"))
    records = [json.loads(one.read_text()) for one in sorted((ledger / "done").glob("*.json"))]
    own = [one for one in records if one["config"]["train.first_seed"] == 0]
    before = json.loads((trained / "evaluation.json").read_text())
    for record, rate, one in zip(own, (1e-3, 1e-2), before["runs"]):
        assert record["config"]["train.learning_rate"] == rate
        assert record["metrics"]["validation_loss"] == pytest.approx(one[family.validation], rel=1e-5)
        assert record["metrics"]["self_test"] == pytest.approx(before["self_test"], abs=1e-6)
    training = load_training(family, trained)
    for i, record in enumerate(own):
        found = training.evaluator(i)(training.predictor(i))
        assert record["metrics"][family.reported] == pytest.approx(family.works.reported(found), rel=1e-5)
        again = figures_of(training, i, training.curves()[i])
        assert set(record["metrics"]) == {"validation_loss", "best_step", "stopped_step", *again}
        assert again[family.reported] == pytest.approx(family.works.reported(found), rel=1e-5)
    # Every figure survives in a table that can be committed.
    assert run(capsys, "sweep", ledger, "--no-train", "--out", tmp_path / "table", "--json")[0] == 0
    table = done_elsewhere(tmp_path, str(tmp_path / "table"), "--reuse")
    for record, one in zip(records, table.records, strict=True):
        for key in ("run", "config", "metrics", "seconds", "device", "version"):
            assert json.dumps(one[key], sort_keys=True) == json.dumps(record[key], sort_keys=True)
    # A bayes sweep knows the names of all figures before it trains anything.
    named = {key for key, value in flatten(records[0]["metrics"]).items() if isinstance(value, int | float)}
    assert [one for one in named if not any(fnmatch.fnmatchcase(one, of) for of in figures_of_runs(family))] == []


@breakages
@every_family
def test_a_broken_evaluation_is_refused_by_sweep(family, broken, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken(family.works, monkeypatch)
    path = sweep_of(family, trained, tmp_path, "toy")
    status, result, _ = run(capsys, "sweep", path, "--folder", tmp_path, "--json")
    assert status == 1
    assert result["done"] == 0
    assert all("self-test" in missing["reason"] for missing in result["missing"])


@pytest.mark.slow
@breakages
@every_family
def test_a_broken_evaluation_is_refused_by_experiment(family, broken, trained, tmp_path, capsys, monkeypatch):
    declared = family.declared_experiments()
    if not declared:
        pytest.skip(f"{family.name} declares no experiment")
    name, experiment = next(iter(declared.items()))
    # One hypothesis needs few levels: what is tested is that none is judged.
    experiment = dataclasses.replace(experiment, hypotheses=experiment.hypotheses[:1], control=None, grading=None)
    monkeypatch.setitem(declared, name, experiment)
    monkeypatch.chdir(tmp_path)
    broken(family.works, monkeypatch)
    path = sweep_of(family, trained, tmp_path, name)
    data = yaml.safe_load(path.read_text())
    for change in experiment.small:
        key, _, values = change.partition("=")
        if key in {factor.key for factor in experiment.factors}:
            data["parameters"][key] = {"values": [yaml.safe_load(value) for value in values.split(",")]}
    if "change" in {factor.key for factor in experiment.factors}:
        data["parameters"]["change"] = {"values": needed(experiment)}
    path.write_text(yaml.safe_dump(data))
    status, result, err = run(capsys, "experiment", path, "--folder", tmp_path, "--json")
    assert status == 1
    assert result["complete"] is False
    assert result["verdicts"] == []
    assert "self-test" in err


def needed(experiment: Any) -> list[str]:
    """Return the levels of `change` that the hypotheses are about."""
    reducers = [one.contrast["change"] for one in experiment.hypotheses]
    found = [getattr(one, name) for one in reducers for name in ("plus", "minus", "level") if hasattr(one, name)]
    return list(dict.fromkeys(found))


def test_only_an_evaluator_asks_for_figures():
    """`Workings.evaluate` is called in one place, behind the self-test; a family's own may call its parent's."""
    source = Path(bestguess.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "evaluate":
                asked = ast.unparse(node.func.value)
                assert asked == "super()" or path == source / "workflow" / "evaluation.py", f"{path}: {asked}.evaluate"


@every_family
def test_one_task_has_one_self_test(family, trained):
    training = load_training(family, trained)
    evaluator = training.evaluator(0)
    assert isinstance(evaluator, Evaluator)
    assert training.evaluator(1) is evaluator
    for one in evaluator.measured(evaluator(family.works.oracle(training.runs[0].config, training.tasks[0]))):
        assert abs(one.regret) <= 1e-6 * one.unit


@pytest.mark.parametrize("family", [one for one in TRAINED if one.name == "integers"], ids=lambda one: one.name)
def test_a_place_that_takes_no_results_is_told_before_the_evaluation(family, copy, capsys, monkeypatch):
    (copy / "evaluation.json").unlink()
    (copy / "evaluation.json").mkdir()
    monkeypatch.setattr(Training, "evaluator", lambda *_: pytest.fail("was evaluated"))
    code, out, err = run(capsys, family.name, "evaluate", copy, "--json")
    assert (code, out) == (2, None)
    told = "cannot be written (it is a folder; move it away, or name a file)"
    assert err == f"bestguess: error: {copy}/evaluation.json: {told}\n"


# ------------------------------------------------------------------------------------------ validation selects


@pytest.mark.parametrize("chosen", [0, 1])
@every_family
def test_validation_selects_whatever_the_test_data_say(family, chosen, copy, monkeypatch):
    """Either of two runs is shown and reported, as validation has it; one of them is the better one on test data."""
    training = load_training(family, copy)
    planted = np.where(np.arange(2) == chosen, 1.0, 2.0)
    training = dataclasses.replace(training, learnt=dataclasses.replace(training.learnt, best_score=planted))
    results = workflow.evaluate_training(training, make_console(json=True))
    found = results["evaluation"]
    assert [one["selected"] for one in found["runs"]] == [i == chosen for i in range(2)]
    assert found["best"][0]["learning_rate"] == (1e-3, 1e-2)[chosen]
    test = [family.works.reported(training.evaluator(i)(training.predictor(i))) for i in range(2)]
    assert test[0] != test[1]
    assert found["best"][0][family.reported] == pytest.approx(test[chosen], rel=1e-6)
    assert training.shown() == chosen
    asked: list[int] = []
    model = Training.model
    monkeypatch.setattr(Training, "model", lambda self, i: asked.append(i) or model(self, i))
    family.works.story(training, results)
    assert set(asked) <= {chosen}  # the examples and the pictures, too


# ------------------------------------------------------------------------------------------ anybody's predictor


SUBJECTS: dict[str, bestguess.judging.Subject] = {}


def subject_of(family: Family) -> bestguess.judging.Subject:
    """Return the family's task, opened once for all tests here: to make it takes longer than to judge on it."""
    if family.name not in SUBJECTS:
        chosen = {"preset": "small"} if "preset" in family.choosers else {}
        SUBJECTS[family.name] = bestguess.open_task(family.name, **chosen, **FEW.get(family.name, {}))
    return SUBJECTS[family.name]


@every_family
def test_a_predictor_that_sees_the_future_is_an_error(family):
    subject = subject_of(family)
    constant = subject.task.constant()

    def knows(sequences):
        if isinstance(constant, Gaussian):
            return sequences
        return 9.0 * np.eye(constant.logits.shape[-1])[sequences]

    with pytest.raises(UserError, match="sees the future"):
        bestguess.judge(subject, knows)


@every_family
def test_a_constant_predictor_has_no_skill(family, tmp_path):
    subject = subject_of(family)
    constant = subject.task.constant()
    shape = (constant.mean if isinstance(constant, Gaussian) else constant.logits).shape
    judgement = bestguess.judge(subject, lambda sequences: np.zeros((len(sequences), *shape)))
    assert judgement.skill < 0.1
    assert judgement.regret > 0
    assert judgement.normalised_loss > 1
    assert len(judgement.by_position) == len(range(*subject.task.predicted.indices(shape[0])))
    assert "regret" in judgement.page(tmp_path / "judged.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------ the contract


@every_family
def test_predictions_have_the_sequence_s_shape_and_do_not_see_the_future(family):
    subject = subject_of(family)
    sequences = subject.sequences(4)
    task = jax.tree.map(jax.numpy.asarray, subject.task)
    oracle = jax.jit(jax.vmap(task.oracle))
    before = jax.tree.leaves(oracle(sequences))
    assert all(leaf.shape[:2] == sequences.shape[:2] for leaf in before)
    middle = sequences.shape[1] // 2
    changed = sequences.copy()
    changed[:, middle:] = np.roll(sequences, 1, axis=0)[:, middle:]
    patch = getattr(task, "patch", 1)
    for a, b in zip(before, jax.tree.leaves(oracle(changed))):
        np.testing.assert_allclose(a[:, : middle + patch], b[:, : middle + patch], rtol=1e-4, atol=1e-5)
        assert a.ndim > 3 or not np.allclose(a[:, middle + patch :], b[:, middle + patch :], rtol=1e-4, atol=1e-5)


@every_family
def test_every_command_belongs_to_the_declaration(family):
    own = family.every_command()
    assert {f"{family.name} {word}" for word in ("train", "evaluate", "report")} <= set(own)
    assert set(own) <= set(commands())
    assert family.title.endswith(":")


class _Seen(Exception):
    """The config that a training was about to begin with."""


@every_family
def test_steps_alone_are_enough(family, monkeypatch, capsys):
    def begin(family: Family, config: Any, *others: object) -> None:
        raise _Seen(config)

    def begun(*words: str) -> Any:
        capsys.readouterr()
        with pytest.raises(_Seen) as seen:
            main([family.name, "train", *words])
        return seen.value.args[0].train

    monkeypatch.setattr(workflow, "train_config", begin)
    monkeypatch.setattr("bestguess.rolls.commands.train_config", begin)
    default = begun("--batch-size", "4").warmup_steps  # of the family's own config
    assert default > 5
    assert "warm-up" not in "".join(capsys.readouterr())
    assert begun("--steps", "5").warmup_steps == 0
    assert f"warm-up: 0 of 5 steps, in place of the default {default}" in " ".join("".join(capsys.readouterr()).split())
    assert begun("--steps", "5", "--warmup_steps", "3").warmup_steps == 3
    assert "warm-up" not in "".join(capsys.readouterr())
    for warmup in (5, default):  # the default's own number is as much of a choice as any other
        status, _, err = run(capsys, family.name, "train", f"--warmup-steps={warmup}", "--steps", "5")
        assert status == 2
        assert err == f"bestguess: error: --warmup-steps {warmup}: must be fewer than --steps 5; try 0\n"


@every_family
def test_a_folder_of_another_family_is_told_apart(family, trained, capsys):
    others = [one for one in TRAINED if one.name != family.name]
    for other in others:
        status, out, err = run(capsys, other.name, "evaluate", trained)
        assert (status, out) == (2, None)
        assert family.name in err
        assert err.count("\n") == 1


# ------------------------------------------------------------------------------------------ what does not belong


@every_family
def test_weights_of_another_config_are_told(family, copy, capsys):
    """A value that changes no shape: nothing but a hash tells that the weights are not of this config."""
    path = copy / "config.yaml"
    sound = path.read_text()
    assert "weight_decay: " in sound
    path.write_text(re.sub("weight_decay: .*", "weight_decay: 0.125", sound))
    for words in (["evaluate", copy], ["report", copy], ["train", "--resume", copy]):
        status, out, err = run(capsys, family.name, *words, "--json")
        assert (status, out) == (2, None)
        last = err.splitlines()[-1]
        assert last.startswith("bestguess: error: ")
        assert "config.yaml" in last
        assert "another config" in last


@pytest.mark.usefixtures("undrawn")
@every_family
def test_a_training_of_an_older_version_is_read(family, copy, capsys):
    """Its checkpoints and results have neither a hash of the config nor a checksum of their own."""
    training = load_training(family, copy)
    for path in (copy / "checkpoints").rglob("step-*.safetensors"):
        arrays, header = files.read_safetensors(path)
        header = {"about": json.dumps({"done": True}), "step": header["step"]}
        files.write_safetensors(path, arrays, header | {"sha256": files.digest(header, arrays)})
    for part in family.works.parts:
        path = copy / f"{part}.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({key: found[key] for key in found if key not in ("checksum", "config_sha256")}))
    assert run(capsys, family.name, "report", copy, "--json")[0] == 0
    older = load_training(family, copy)
    assert all(np.array_equal(a, b) for a, b in zip(*(jax.tree.leaves(one.learnt.best) for one in (training, older))))


@every_family
def test_results_that_were_altered_are_told(family, copy, capsys):
    path = copy / "evaluation.json"
    found = json.loads(path.read_text())
    found["runs"][0]["best_step"] += 1
    path.write_text(json.dumps(found))
    status, out, err = run(capsys, family.name, "report", copy)
    assert (status, out) == (2, None)
    assert err.startswith(f"bestguess: error: {path}: does not match the checksum that it was written with")
    del found["checksum"], found["runs"]
    path.write_text(json.dumps(found))
    status, out, err = run(capsys, family.name, "report", copy)
    assert (status, out) == (2, None)
    assert err.startswith(f"bestguess: error: {copy}: ")
    assert "evaluation.json" in err
    assert err.count("\n") == 1


@every_family
def test_a_damaged_newest_checkpoint_is_told_and_an_unreadable_one_is_not_damaged(family, copy, capsys):
    newest = sorted((copy / "checkpoints").rglob("step-*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    status, out, err = run(capsys, family.name, "evaluate", copy, "--json")
    assert status == 0
    assert f"bestguess: note: passed over a damaged checkpoint: {newest}" in err
    newest.unlink()
    newest.mkdir()
    status, out, err = run(capsys, family.name, "evaluate", copy, "--json")
    assert (status, out) == (2, None)
    assert f"{newest}: cannot be read (it is a folder; move it away, or name a file)" in err


def test_a_failure_is_a_failure():
    """`Failure` and `UserError` are told apart: the former is exit status 1."""
    assert not issubclass(Failure, UserError)
