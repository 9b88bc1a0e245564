"""The page of a rolls training, and its console table: the sentence, the evidence, the loss against the floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bestguess.family import Trained
from bestguess.report.charts import Chart, HLine, Line, Points
from bestguess.report.progress import skill_text, with_error
from bestguess.report.story import Drawn, Rows, Section, Stat, Story, Words, self_test_stat
from bestguess.report.trackers import METRICS_FILE
from bestguess.rolls.evidence.verdict import false_alarms

_QUESTIONS = {"order": "Does the past help?", "uniform": "Equally likely?", "drift": "Does it drift?"}


def table(training: Trained, evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return what the console shows of an evaluation: a row for each run, and one for each baseline."""
    runs = training.runs
    floor = evaluation["runs"][evaluation["shown"]]["floor_bits"]
    rows: list[list[Any]] = [
        [
            run.label(runs),
            with_error(one["bits_per_value"], one["standard_error"]),
            *(f"{100 * one[f'top{k}']:.3f} %" for k in (1, 3, 5)),
            _skill(one, evaluation),
        ]
        for run, one in zip(runs, evaluation["runs"])
    ]
    if floor is not None:
        own = evaluation["runs"][evaluation["shown"]]
        best = [f"{100 * own[f'ceiling_top{k}']:.3f} %" for k in (1, 3, 5)]
        rows.append(["the source itself", f"{floor:.5f}", *best, "1"])
    for one in evaluation["baselines"]:
        top = "" if one["top1"] is None else f"{100 * one['top1']:.3f} %"
        bits = "" if one["bits_per_value"] is None else f"{one['bits_per_value']:.5f}"
        rows.append([one["name"], bits, top, "", "", ""])
    columns = ["predictor", "bits per value", "top-1", "top-3", "top-5", "skill"]
    return columns, rows, f"{evaluation['runs'][evaluation['shown']]['values']:,} values of the test part"


def _skill(one: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    if one["floor_bits"] is None:
        return "floor not known"
    return skill_text(one["skill"], 4)


def story(training: Trained, evaluation: Mapping[str, Any]) -> Story:
    """Return the page from a training's results."""
    shown = evaluation["shown"]
    one, about = evaluation["runs"][shown], training.tasks[shown].about
    # A file of weights has no metrics beside it.
    logged = (training.folder / METRICS_FILE).exists()
    sections = [
        Section("", [Words(f"**{_capital(evaluation['sentence'])}.**"), *_warnings(evaluation)]),
        Section(
            "Three questions", [Rows(*_answers(evaluation)), Drawn("evidence", _evidence(training, evaluation, logged))]
        ),
        *([Section("Learning", [Drawn("learning", _learning(training, evaluation))])] if logged else []),
        Section(
            "Where in the window",
            [Drawn("bits_by_position", _by_position(evaluation)), Rows(*_heads(one))],
        ),
        Section(
            "How sure, and how right",
            [Drawn("calibration", _calibration(one)), Drawn("confidence", _quantiles(one))],
        ),
        Section("Tokens", [Drawn("tokens", _tokens(about))]),
        Section("Compared with", [Rows(*table(training, evaluation))]),
        Section("How this was made", [Words(_how(training, evaluation))]),
    ]
    return Story("Can these values be predicted?", _lead(training, evaluation), _stats(training, evaluation), sections)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _warnings(evaluation: Mapping[str, Any]) -> list[Words]:
    if not evaluation["above_ceiling"]:
        return []
    odds = evaluation["above_ceiling_log10_e"]
    return [Words(f"**Above the ceiling: a bug or a leak.** Against the source, the odds are 10^{odds:.1f} to 1.")]


def _lead(training: Trained, evaluation: Mapping[str, Any]) -> str:
    about = training.tasks[evaluation["shown"]].about
    rolls = about.rolls
    what = "a file" if rolls.path is not None else "a source"
    read = (
        f"A transformer read {about.window} values of {what} at a time, {rolls.n:,} in all, and predicted those that "
    )
    if rolls.shuffle is not None:
        return read + "follow. This is a control: the test part's values are shuffled within each window."
    return read + "follow. Its first pass over the training part is itself a test."


def _stats(training: Trained, evaluation: Mapping[str, Any]) -> list[Stat]:
    one = evaluation["runs"][evaluation["shown"]]
    floor = one["floor_bits"]
    note = "floor not known" if floor is None else f"floor {floor:.5f}, best constant {one['ceiling_bits']:.5f}"
    order = evaluation["evidence"]["order"]
    found = order["verdict"] == "predictable"
    return [
        Stat(with_error(one["bits_per_value"], one["standard_error"]), "bits per value, test part", note),
        Stat(f"{100 * one['top1']:.3f} %", "top-1 accuracy", _ceiling(one)),
        Stat(
            order["verdict"],
            "does the past help?",
            f"at most {false_alarms(order['log10_e'])}" if found else f"log10 E {order['log10_e']:.2f}",
        ),
        self_test_stat(evaluation["self_test"]),
    ]


def _ceiling(one: Mapping[str, Any]) -> str:
    return "" if one["floor_bits"] is None else f"the source itself: {100 * one['ceiling_top1']:.3f} %"


def _answers(evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    found = evaluation["evidence"]
    rows = [[question, f"{found[key]['log10_e']:,.2f}", found[key]["verdict"]] for key, question in _QUESTIONS.items()]
    effects = [
        f"{one['kind']} {one['size']:g} ({one['bits_per_value']:.2g} bits per value, {one['how']})"
        for one in found["order"]["smallest_effects"]
    ]
    caption = "A verdict other than “no evidence” is a false alarm in at most 1 of 100 files whose null holds, each."
    if effects:
        caption += f" The smallest effects that the side predictors would have seen: {', '.join(effects)}."
    return ["question", "log10 E", "verdict"], rows, caption


def _evidence(training: Trained, evaluation: Mapping[str, Any], logged: bool) -> Chart:
    """log10 of the processes over values: the first pass as it was logged, then the test part."""
    series = []
    shown = [evaluation["shown"]]
    if logged:
        values, logs = (training.curve_lines(name, shown)[0].y for name in ("first_pass_values", "log10_e"))
        series.append(Line(values, logs, name="first pass over the training part", role="model"))
    path = np.asarray(evaluation["log10_e_by_window"], float)
    window = training.tasks[evaluation["shown"]].about.window
    series.append(Line(window * np.arange(1, 1 + len(path)), path, name="test part", role="data"))
    level = training.runs[evaluation["shown"]].config.task.level
    return Chart(
        "Evidence that the past helps",
        "values bet on",
        "log10 E",
        series,
        "Where the order of values within blocks does not matter, either line ever passes 2 in at most 1 file of 100.",
        log_x=True,
        hlines=[HLine(float(-np.log10(level / 2)), f"{level:g}/2", role="guide")],
    )


def _learning(training: Trained, evaluation: Mapping[str, Any]) -> Chart:
    shown = training.drawn()
    lines = training.curve_lines("bits_per_value", shown)
    one = evaluation["runs"][evaluation["shown"]]
    levels = []
    if one["floor_bits"] is not None:
        levels = [HLine(one["floor_bits"], "floor"), HLine(one["ceiling_bits"], "best constant", role="baseline")]
    return Chart(
        "Validation loss while learning", "training windows", "bits per value", lines, log_x=True, hlines=levels
    )


def _by_position(evaluation: Mapping[str, Any]) -> Chart:
    one = evaluation["runs"][evaluation["shown"]]
    loss, told = np.asarray(one["bits_by_position"], float), "bits per value"
    place, series = np.arange(1, 1 + len(loss)), []
    if "floor_by_position" in one:
        # What the model may expect to lose, not what it happened to lose: that varies far more.
        floor = np.asarray(one["floor_by_position"], float)
        loss, told = floor + np.asarray(one["regret_by_position"], float), "expected bits per value"
        series.append(Line(place, floor, name="the source itself", role="oracle"))
    series.insert(0, Line(place, loss, name="model", role="model"))
    return Chart("Loss by values seen", "values before, within the window", told, series)


def _heads(one: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    rows = [
        [f"{h} ahead", f"{head['bits_per_value']:.5f}", f"{100 * head['top1']:.3f} %"]
        for h, head in enumerate(one["heads"], start=1)
    ]
    return ["output head", "bits per value", "top-1"], rows, "Each head predicts the value so many steps ahead."


def _calibration(one: Mapping[str, Any]) -> Chart:
    found = one["calibration"]
    count = np.asarray(found["count"], float)
    some = count > 0
    accuracy, confidence = (np.asarray(found[name], float)[some] for name in ("accuracy", "confidence"))
    error = np.sqrt(np.maximum(accuracy * (1 - accuracy), 1e-12) / count[some])
    line = Line([0, 1], [0, 1], name="calibrated", role="guide")
    points = Points(confidence, accuracy, error, name="first guesses", role="model")
    return Chart("Calibration", "probability of the first guess", "how often it was right", [line, points])


def _quantiles(one: Mapping[str, Any]) -> Chart:
    share = np.linspace(0, 1, len(one["entropy_quantiles"]))
    return Chart(
        "Entropy of the predictions",
        "fraction of the predictions",
        "at most so many bits",
        [Line(share, np.asarray(one["entropy_quantiles"], float), role="model")],
    )


def _tokens(about: Any) -> Chart:
    tokens = about.tokens
    p = np.sort(np.exp(tokens.log_p0[: 1 + int(tokens.of_value.max())]))[::-1]
    return Chart(
        f"Tokens of the training part ({tokens.kind}, {tokens.vocab:,})",
        "token, the most frequent first",
        "probability",
        [Line(np.arange(1, 1 + len(p)), p, role="data")],
        log_x=True,
        log_y=True,
    )


def _how(training: Trained, evaluation: Mapping[str, Any]) -> str:
    source = evaluation["source"]
    said = [
        "- **Bits per value** are of the raw values: bits of a token, and bits that single a value out within it by "
        "the training part's frequencies.",
        "- **Evidence**: each E is a test martingale; under its null it reaches N in at most one file of N, however "
        "often it is looked at. The model's bets on the order of a window's values are made before it has learnt from "
        "them, on the first pass over the training part and again on the test part, where side predictors bet too. "
        "What counts is the mean of both.",
        "- **Selection**: weights and learning rates are chosen on the validation part, figures are of the test part.",
        "- **No evidence** does not say that the values cannot be predicted.",
    ]
    if source is not None:
        floor = source["floor"]
        said.insert(
            1,
            f"- **The floor** in the long run is {floor['bits']:.6f} bits: {floor['says']}. The figures above compare "
            "with the source's prediction from the same window.",
        )
    return "\n".join(said)
