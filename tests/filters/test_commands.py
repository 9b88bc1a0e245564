"""The commands end to end, at toy size: what they print, what they leave behind, how they refuse and resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from bestguess.cli import main
from bestguess.filters.heads_page import CHANGES

TOY = [
    *("--latent-dim", "4", "--observed-dim", "2", "--length", "16", "--layers", "1", "--d-model", "8", "--heads", "2"),
    *("--batch-size", "4", "--steps", "6", "--warmup-steps", "1", "--validate-every", "3"),
    *("--validation-sequences", "4", "--test-sequences", "8", "--context", "8", "--horizons", "2", "4"),
    *("--rollouts", "8"),
]


def run(capsys, *words):
    """Return the exit status, the JSON object on standard output (None if empty), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder trained by the command line: two learning rates, two λ."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    rates = ["--learning-rate", "1e-3", "1e-2", "--lambda", "0.5", "0.9"]
    with pytest.raises(SystemExit) as stop:
        main(["filters", "train", *TOY, *rates, "--track", "tensorboard", "--out", str(folder), "--json"])
    assert not stop.value.code
    return folder


def test_training_leaves_the_promised_folder(trained):
    for name in ("config.yaml", "metrics.jsonl", "report.html", "evaluation.json", "rollouts.json"):
        assert (trained / name).stat().st_size > 0
    assert list((trained / "checkpoints").rglob("*.safetensors"))
    assert {p.suffix for p in (trained / "figures").iterdir()} == {".png", ".svg"}
    assert list((trained / "tensorboard").rglob("*tfevents*"))
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["task"]["lambda"] == [0.5, 0.9]
    assert config["bestguess"]["family"] == "filters"
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["run"]) for line in lines] == [(s, r) for s in (3, 6) for r in range(4)]
    assert lines[-1]["sequences"] == 6 * 4
    own = [(line["lambda"], line["structure"], line["seed"], line["peak_learning_rate"]) for line in lines[:4]]
    assert own == [(lambda_, "diagonal", 0, rate) for lambda_ in (0.5, 0.9) for rate in (1e-3, 1e-2)]


def test_evaluate_says_the_same_again_and_selects_on_validation(trained, capsys):
    before = json.loads((trained / "evaluation.json").read_text())
    status, result, err = run(capsys, "filters", "evaluate", str(trained), "--json")
    assert status == 0
    assert result["runs"] == before["runs"]
    assert "self-test" in err
    assert 0 <= result["self_test"] < 1e-6
    for lambda_ in (0.5, 0.9):
        own = [r for r in result["runs"] if r["lambda"] == lambda_]
        assert [r["selected"] for r in own].count(True) == 1
        assert min(own, key=lambda r: r["validation_loss"])["selected"]


def test_every_run_stands_beside_ar(trained, capsys):
    """The exact AR(k) and its fit are in the figures of each run, and in the tables."""
    evaluation = json.loads((trained / "evaluation.json").read_text())
    for one in evaluation["runs"]:
        assert list(one["ar"]) == ["1", "2", "4", "8"]
        # Fewer coefficients are never better, and none are better than those that may change at every step.
        exact, varying = list(one["ar"].values()), list(one["ar_time_varying"].values())
        assert exact == sorted(exact, reverse=True)
        assert all(a >= b > 0 for a, b in zip(exact, varying))
        fitted = one["ar_fitted"]
        assert fitted["sequences"] == 4 * one["best_step"]
        assert str(fitted["selected"]) in one["ar"]
        assert all(fitted["excess"][k] > one["ar"][k] for k in one["ar"])
        # This toy learns next to nothing: one step of memory is worth more.
        assert 0 <= one["equivalent_memory"] < 2
    rolled = json.loads((trained / "rollouts.json").read_text())
    assert [list(one["ar_fitted"]) for one in rolled["runs"]] == [["2", "4"]] * 4
    _, _, err = run(capsys, "filters", "evaluate", str(trained), "--json")
    assert err.count("fitted") == err.count("exact") == 4
    assert "Bounded memory" in (trained / "report.html").read_text(encoding="utf-8")


def test_a_folder_of_before_there_was_ar_has_a_page(trained, tmp_path, capsys):
    folder = tmp_path / "older"
    shutil.copytree(trained, folder)
    for part in ("evaluation", "rollouts"):
        found = json.loads((folder / f"{part}.json").read_text())
        found.pop("checksum")  # older folders have none
        for one in found["runs"]:
            for key in ("equivalent_memory", "ar", "ar_time_varying", "ar_fitted"):
                one.pop(key, None)
        (folder / f"{part}.json").write_text(json.dumps(found))
    status, result, _ = run(capsys, "filters", "report", str(folder), "--json")
    assert status == 0
    assert "Bounded memory" not in Path(result["report"]).read_text(encoding="utf-8")


def test_rollout_takes_horizons(trained, capsys):
    status, result, err = run(capsys, "filters", "rollout", str(trained), "--horizons", "1", "3", "--json")
    assert status == 0
    assert [list(r["horizons"]) for r in result["runs"]] == [["1", "3"]] * 4
    assert err.count("AR(k) fitted") == 2 * 4  # beside every run, in both tables
    run(capsys, "filters", "rollout", str(trained), "--json")


def test_evaluate_beyond_what_was_trained(trained, capsys):
    before = json.loads((trained / "evaluation.json").read_text())
    words = ["--length", "40", "--lambda", "0.5", "0.9", "--json"]
    status, result, err = run(capsys, "filters", "evaluate", str(trained), *words)
    assert status == 0
    assert "self-test" in err
    assert len(result["runs"]) == 4 * 2
    for one in result["runs"]:
        assert one["length"] == 16
        assert one["evaluated"]["length"] == 40
        spans = one["regret_by_span"]
        assert list(spans) == ["2-16", "17-32", "33-40"]
        by_step = one["regret_by_step"]
        assert len(by_step) == 39
        assert spans["17-32"] == pytest.approx(sum(by_step[15:31]) / 16)
        assert one["ar_fitted"]["excess"] > 0
    assert {(one["lambda"], one["evaluated"]["lambda"]) for one in result["runs"]} == {
        (a, b) for a in (0.5, 0.9) for b in (0.5, 0.9)
    }
    assert json.loads((trained / "evaluation.json").read_text()) == before
    assert (trained / "figures" / "beyond.png").exists()
    assert "time-varying" in (trained / "beyond.html").read_text(encoding="utf-8")  # AR(k) beside the models
    # A process that is farther from what was trained on costs more: the fit for λ = 0.5 at 0.9 and the other way.
    costs = {(one["lambda"], one["evaluated"]["lambda"]): one["ar_fitted"]["excess"] for one in result["runs"]}
    assert costs[0.5, 0.9] > costs[0.9, 0.9]
    assert costs[0.9, 0.5] > costs[0.5, 0.5]


@pytest.mark.usefixtures("undrawn")
def test_evaluate_elsewhere_at_what_was_trained_is_evaluate(trained, capsys):
    words = ["--length", "16", "--json"]
    _, result, _ = run(capsys, "filters", "evaluate", str(trained), *words)
    evaluated = json.loads((trained / "evaluation.json").read_text())["runs"]
    for one, other in zip(result["runs"], evaluated, strict=True):
        assert one["normalised_loss"] == pytest.approx(other["normalised_loss"], rel=1e-6)
        chosen = str(one["ar_fitted"]["order"])
        assert one["ar_fitted"]["excess"] == pytest.approx(other["ar_fitted"]["excess"][chosen])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--length", "7"], "--length 7: give at least "),
        (["--length", "10000000"], "--length 10000000: needs at least "),
        (["--lambda", "1.5"], "--lambda 1.5"),
    ],
)
def test_evaluate_refuses_what_cannot_be(trained, capsys, words, told):
    status, out, err = run(capsys, "filters", "evaluate", str(trained), *words)
    assert (status, out) == (2, None)
    assert told in err
    assert err.count("\n") == 1


def test_inspect_shows_what_was_learnt(trained, capsys):
    status, result, err = run(capsys, "filters", "inspect", str(trained), "--sequences", "8", "--json")
    assert status == 0
    assert "self-test" in err
    evaluation = json.loads((trained / "evaluation.json").read_text())
    for one, evaluated in zip(result["runs"], evaluation["runs"], strict=True):
        for key in ("normalised_loss", "standard_error", "skill", "equivalent_memory", "ar", "lambda", "learning_rate"):
            assert one[key] == evaluated[key]
        assert one["excess"] == pytest.approx(evaluated["normalised_loss"] - 1)
        assert len(one["response"]["model"]) == len(one["response"]["filter"]) == 15
        assert one["response"]["relative_error"] > 0
        assert len(one["probe_r2"]) == len(one["probe_r2_shuffled"]) == len(one["probe_r2_untrained"]) == 2
        assert [(head["layer"], head["head"]) for head in one["heads"]] == [(1, 1), (1, 2)]
        for change in (
            *(head[kind] for head in one["heads"] for kind in ("fixed", "ablated")),
            *(part[kind] for part in (*one["layers"], one["all_heads"]) for kind in CHANGES),
        ):
            assert change["low"] <= change["rise"] <= change["high"]
        for head in one["heads"]:
            assert list(head["explained"]) == ["lag", "position", "token"]
            assert sum(head["explained"].values()) <= 1 + 1e-4
            assert -1 <= head["norm_correlation"] <= 1
    assert json.loads((trained / "inspect.json").read_text())["runs"] == result["runs"]
    assert "Kalman filter" in Path(result["report"]).read_text(encoding="utf-8")
    for name in ("response", "response_error", "probes", "heads", "heads_changed", "layers_changed"):
        assert (trained / "figures" / f"inspect_{name}.png").exists()
    for count in ("3", "16385"):
        status, _, err = run(capsys, "filters", "inspect", str(trained), "--sequences", count)
        assert (status, f"--sequences {count}: at " in err) == (2, True)


def test_report_is_made_again(trained, capsys):
    (trained / "report.html").unlink()
    status, result, _ = run(capsys, "filters", "report", str(trained), "--json")
    assert status == 0
    assert "Kalman filter" in Path(result["report"]).read_text(encoding="utf-8")


def test_a_finished_training_resumes_to_the_same_figures(trained, capsys):
    before = json.loads((trained / "evaluation.json").read_text())
    metrics = (trained / "metrics.jsonl").read_text()
    status, result, err = run(capsys, "filters", "train", "--resume", str(trained), "--json")
    assert status == 0
    assert "already trained" in err
    figures = [{k: v for k, v in one.items() if k != "rollout"} for one in result["runs"]]
    assert figures == before["runs"]
    assert (trained / "metrics.jsonl").read_text() == metrics


@pytest.mark.usefixtures("undrawn")
def test_what_was_evaluated_otherwise_stays_so_and_the_page_says_it(trained, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    for words in (
        ["filters", "evaluate", str(folder), "--test-sequences", "12"],
        ["filters", "rollout", str(folder), "--horizons", "2", "6"],
        ["filters", "report", str(folder)],
    ):
        assert run(capsys, *words, "--json")[0] == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Evaluation with other settings than those of config.yaml below: test_sequences 12." in page
    assert "Rollouts with other settings than those of config.yaml below: rollout.horizons [2, 6]." in page
    before = {name: json.loads((folder / name).read_text()) for name in ("evaluation.json", "rollouts.json")}
    assert before["evaluation.json"]["settings"] == {"test_sequences": 12}
    # A resume of what is finished evaluates again, and with these settings.
    assert run(capsys, "filters", "train", "--resume", str(folder), "--json")[0] == 0
    after = {name: json.loads((folder / name).read_text()) for name in before}
    assert after["evaluation.json"]["test_sequences"] == 12
    assert after["evaluation.json"]["runs"] == before["evaluation.json"]["runs"]
    assert list(after["rollouts.json"]["runs"][0]["horizons"]) == ["2", "6"]
    assert "settings" not in json.loads((trained / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--heads", "4"], "--heads"),
        (["--preset", "small"], "--preset"),
        (["--lambda", "0.3", "--steps", "9"], "--lambda --steps"),
    ],
)
def test_resume_refuses_other_flags(trained, capsys, words, named):
    status, out, err = run(capsys, "filters", "train", "--resume", str(trained), *words)
    assert (status, out) == (2, None)
    assert named in err
    assert err.count("\n") == 1


def test_a_folder_without_training_is_told_apart(tmp_path, capsys):
    for folder, part in ((tmp_path / "none", "no such folder"), (tmp_path, "not the folder of a training")):
        status, _, err = run(capsys, "filters", "evaluate", str(folder))
        assert status == 2
        assert part in err


def test_damage_is_named_and_an_older_checkpoint_serves(trained, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    newest = sorted((folder / "checkpoints").rglob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-7])
    others = sorted((folder / "checkpoints").rglob("*.safetensors"))[:-1]
    for path in others:
        path.unlink()
    status, _, err = run(capsys, "filters", "evaluate", str(folder))
    assert status == 2
    assert "damaged" in err
    config = folder / "config.yaml"
    config.write_text(config.read_text()[:40])
    status, _, err = run(capsys, "filters", "evaluate", str(folder))
    assert status == 2
    assert "config.yaml" in err
    assert "Traceback" not in err


def test_an_unknown_key_in_the_config_names_the_nearest(trained, tmp_path, capsys):
    folder = tmp_path / "unknown"
    shutil.copytree(trained, folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("d_model:", "d_modle:"))
    status, _, err = run(capsys, "filters", "evaluate", str(folder))
    assert status == 2
    assert "d_modle" in err
    assert "did you mean d_model?" in err


def test_nothing_is_overwritten(trained, capsys):
    status, _, err = run(capsys, "filters", "train", *TOY, "--out", str(trained))
    assert status == 2
    assert "--resume" in err


def test_a_broken_evaluation_is_not_reported(trained, capsys, monkeypatch):
    """An off-by-one in the rollout is what the self-test is for: it fails loudly, and nothing is written."""
    from bestguess.filters import evaluate

    good = evaluate.rollout
    late = lambda forecaster, context, horizon: good(forecaster, context, horizon + 1)[1:]  # noqa: E731
    monkeypatch.setattr(evaluate, "rollout", late)
    monkeypatch.setattr(evaluate, "programs", {})  # what was compiled with the right rollout
    evaluate._roll.clear_cache()
    before = (trained / "rollouts.json").read_text()
    status, out, err = run(capsys, "filters", "rollout", str(trained), "--json")
    evaluate._roll.clear_cache()
    assert (status, out) == (1, None)
    assert "self-test" in err
    assert (trained / "rollouts.json").read_text() == before


def test_a_run_that_diverges_stops_alone(tmp_path, capsys):
    rates = ["--learning-rate", "1e-2", "1e38"]
    folder = tmp_path / "diverged"
    status, result, err = run(capsys, "filters", "train", *TOY, *rates, "--out", str(folder), "--json")
    assert status == 0
    good, bad = result["runs"]
    assert bad["fault_step"] is not None
    assert good["fault_step"] is None
    assert good["selected"]
    assert not bad["selected"]
    assert "this run stops" in err


@pytest.mark.usefixtures("undrawn")
def test_quickstart_gives_the_promised_json(tmp_path, capsys, monkeypatch):
    """At toy size; CI runs the real one."""
    from bestguess.filters import commands, config
    from bestguess.workflow import commands as shared

    toy = dataclasses.replace(
        config.small(),
        task=config.FilterTaskConfig(latent_dim=4, length=16),
        model=config.FilterModelConfig(layers=1, d_model=8, heads=2),
        rollout=config.RolloutConfig(context=8, horizons=(2, 8), rollouts=4),
        test_sequences=8,
    )
    monkeypatch.setattr(commands, "small", lambda: toy)
    spread: list[tuple[float, int]] = []
    monkeypatch.setattr(shared, "use_cores", lambda product, runs: spread.append((product, runs)))
    words = ["--steps", "2", "--lambda", "0.5", "0.9", "--out", str(tmp_path / "q"), "--json"]
    status, result, _ = run(capsys, "quickstart", *words)
    assert status == 0
    assert spread == [(toy.train.batch_size * 16 * 8**2, 2)]  # over the machine's cores, as all trainings
    assert set(result) == {"runs", "report", "seconds"}
    for one, lambda_ in zip(result["runs"], (0.5, 0.9)):
        assert one["lambda"] == lambda_
        figures = {"lambda", "normalised_loss", "standard_error", "skill", "rollout"}
        assert set(one) == figures | {"equivalent_memory", "ar", "ar_fitted"}
        assert one["normalised_loss"] > 1


def test_a_flag_that_would_do_nothing_is_refused_before_anything_is_written(tmp_path, capsys):
    words = ("--preset", "small", "--told-statistics", "--out", str(tmp_path / "run"))
    status, out, err = run(capsys, "filters", "train", *words)
    assert (status, out) == (2, None)
    assert "--told-statistics: does nothing here; it needs --normalisation instance" in err
    assert not (tmp_path / "run").exists()
