"""The page of a text training, and its console table: loss against the floor, facts, samples with their faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bestguess.family import Trained
from bestguess.report.charts import Bars, Chart, HLine, Line
from bestguess.report.progress import with_error
from bestguess.report.story import Drawn, Rows, Section, Stat, Story, Words, self_test_stat
from bestguess.text.answers import FACTS, source_line
from bestguess.text.config import TextTaskConfig
from bestguess.text.metrics import ROUGE
from bestguess.text.start import Anew

_MODELS = {"encoder-decoder": "An encoder-decoder", "decoder-only": "A decoder-only model", "prefix-lm": "A prefix LM"}
_SHOWN = {"copied": "copied facts", "label_of_oracle": "occasion", "statements": "true statements"}
"""Facts that have a column of their own."""


def table(training: Trained, evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return what the console shows of an evaluation: a row for each run, the floor and the best constant."""
    runs, first = training.runs, evaluation["runs"][0]
    shown = evaluation["runs"][evaluation["shown"]]
    known, windows = first["floor_per_document"] is not None, runs[0].config.task.windows
    each = _each(shown, windows)
    rows: list[list[Any]] = []
    for run, one in zip(runs, evaluation["runs"]):
        row = [run.label(runs), with_error(each * one["nats_per_document"], _times(each, one["standard_error"]))]
        row += [with_error(one["regret_per_document"], one["regret_error"])] if known else []
        row += [f"{one['perplexity']:.4f}", f"{one['bits_per_byte']:.4f}", f"{100 * one['top1']:.2f} %"]
        rows.append([*row, *_written(one, windows)])
    names = [[], ["regret"]][known]
    columns = ["predictor", f"nats per {_unit(windows)}", *names, "perplexity", "bits per byte", "top-1"]
    if first["generated"] is not None:
        columns += ([] if windows else ["stops"]) + [_SHOWN[key] for key in _SHOWN if key in (first["facts"] or ())]
    blanks: list[Any] = [""] * (len(columns) - 3)
    if known:
        rows.append(["the grammar itself", f"{shown['floor_per_document']:.4f}", "0", *blanks])
        ceiling = shown["ceiling_per_document"]
        rows.append(["best constant", f"{ceiling:.4f}", f"{ceiling - shown['floor_per_document']:.4f}", *blanks])
    elif "constant_per_document" in shown:  # results of before lack it
        constant = shown["constant_per_document"]
        row = [f"{math.exp(constant * shown['documents'] / shown['tokens']):.4f}"]
        row += [f"{shown['bits_per_byte'] * constant / shown['nats_per_document']:.4f}"]
        rows.append(["best constant", f"{each * constant:.4f}", *row, *blanks[1:]])
    if "order_k_counts" in evaluation:  # results of before lack it
        rows.append(_counted(evaluation["order_k_counts"], each, known, len(columns)))
    what = "windows, {tokens:,} tokens" if windows else "documents, {tokens:,} tokens of their targets"
    title = f"{first['documents']:,} test {what.format(tokens=first['tokens'])}"
    return columns, rows, "; ".join(filter(None, (title, source_line(shown.get("source")))))


def _counted(counts: Mapping[str, Any], each: float, known: bool, columns: int) -> list[str]:
    """The row of the best predictor of bounded memory that was counted."""
    row = [f"counts of order {counts['order']}", f"{each * counts['nats_per_document']:.4f}"]
    row += [f"{counts['regret_per_document']:.4f}"] if known else []
    row += [f"{counts['perplexity']:.4f}", f"{counts['bits_per_byte']:.4f}"]
    return [*row, *[""] * (columns - len(row))]


def _unit(windows: bool) -> str:
    """What a loss is told for: of one long text a token, since windows have no length of their own."""
    return "token" if windows else "document"


def _each(one: Mapping[str, Any], windows: bool) -> float:
    """What makes a loss of a document one of that unit."""
    return one["documents"] / one["tokens"] if windows else 1.0


def _times(factor: float, error: float | None) -> float | None:
    return None if error is None else factor * error


def _written(one: Mapping[str, Any], windows: bool) -> list[str]:
    if one["generated"] is None:
        return []
    row = [] if windows else [f"{100 * one['generated']['stops']:.1f} %"]
    return row + [_share(one["facts"][key]) for key in _SHOWN if key in (one["facts"] or ())]


def facts_table(one: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return how often each kind of fact was right in what was generated."""
    rows = [[FACTS[key], _share(value)] for key, value in one["facts"].items()]
    caption = f"Of {one['generated']['documents']:,} targets, {one['generated']['strategy']}."
    return ["fact", "right"], rows, caption


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def votes_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return how often each run won on a blind sheet, in all and by rater."""
    first, second = found["runs"]
    every = [(one["rater"] or str(one["path"]), one) for one in found["raters"]]
    rows = [
        [name, *one["wins"], one["no_difference"], _share(one["share"]), _between(one["interval"])]
        for name, one in ([("majority", found)] if len(every) > 1 else []) + every
    ]
    columns = ["votes", f"{first} won", f"{second} won", "no difference", f"share of {first}", "95 % interval"]
    caption = f"{found['documents']:,} documents; shares are of those with a preference."
    if found["identical"]:
        caption += f" For {found['identical']:,} more both runs wrote the same."
    return columns, rows, caption


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} … {100 * interval[1]:.1f} %"


def rouge_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return ROUGE of what is generated, of all documents and by length, beside the most frequent summary's."""
    rows = []
    for name, one in {"all": found, **found["by_length"]}.items():
        own, baseline = ([f"{100 * of[key]:.1f}" for key in ROUGE] for of in (one, one["baseline"]))
        rows += [[name, one["documents"], "model", *own], ["", "", "most frequent summary", *baseline]]
    caption = (
        "F in %, by characters of the reference. Words are runs of letters and digits in lower case, not stemmed; "
        "sentences of ROUGE-Lsum are lines."
    )
    return ["reference", "documents", "", *ROUGE.values()], rows, caption


def story(training: Trained, evaluation: Mapping[str, Any]) -> Story:
    """Return the page from a training's results."""
    one = evaluation["runs"][evaluation["shown"]]
    known, windows = one["floor_per_document"] is not None, training.runs[0].config.task.windows
    sections = [
        Section("", [Rows(*table(training, evaluation))]),
        Section("Learning", [Drawn("learning", _learning(training, evaluation, windows))]),
        Section(
            f"Where in the {'window' if windows else 'target'}", [Drawn("by_position", _by_position(one, windows))]
        ),
    ]
    if one["kinds"]:
        sections.append(Section("Kinds of tokens", [Drawn("kinds", _kinds(one)), Rows(*_kind_rows(one))]))
    if one["facts"]:
        sections.append(Section("Facts", [Rows(*facts_table(one))]))
    if one.get("rouge"):  # results of before lack it
        sections.append(Section("Summaries", [Rows(*rouge_table(one["rouge"]))]))
    if evaluation["samples"]:
        sections.append(Section("Samples", [Rows(*_samples(evaluation["samples"]))]))
    about = training.tasks[evaluation["shown"]].about
    how = _how(known, training.runs[evaluation["shown"]].config.task) + _began(evaluation)
    sections.append(Section("How this was made", [Words(how)]))
    model = training.runs[evaluation["shown"]].config.model
    lead = f"{_MODELS[model.architecture]} of {evaluation['parameters']:,} parameters learnt to "
    if about.text is None:
        lead += (
            f"write the targets of {about.name}: {len(about.training):,} training documents, {about.vocab:,} tokens."
        )
    else:
        lead += (
            f"continue {about.name}: one text of {len(about.text):,} training tokens, {about.vocab:,} different ones, "
            f"in windows of {about.window}."
        )
    title = "Text compared with the best possible prediction" if known else "Text, whose best prediction is not known"
    return Story(title, lead, _stats(one, evaluation, windows), sections)


def _stats(one: Mapping[str, Any], evaluation: Mapping[str, Any], windows: bool) -> list[Stat]:
    if one["floor_per_document"] is not None:
        value, error = one["regret_per_document"], one["regret_error"]
        first = Stat(with_error(value, error), "regret, nats per document", _floor(one))
    else:
        first = Stat(f"{one['bits_per_byte']:.4f}", "bits per byte", "the floor is not known")
    if windows:
        loss = _each(one, True) * one["nats_per_document"]
        return [
            Stat(f"{loss:.4f}", "nats per token", "the floor is not known"),
            first,
            self_test_stat(evaluation["self_test"]),
        ]
    stats = [first, Stat(f"{one['perplexity']:.3f}", "perplexity per token of the target", "")]
    if one["facts"] and "copied" in one["facts"]:
        stats.append(Stat(_share(one["facts"]["copied"]), "of copied facts right", one["generated"]["strategy"]))
    elif one["facts"]:
        stats.append(Stat(_share(one["facts"]["statements"]), "of statements true", one["generated"]["strategy"]))
    elif one["generated"] is not None:
        stats.append(Stat(f"{100 * one['generated']['stops']:.1f} %", "of what is generated ends", ""))
    return [*stats, self_test_stat(evaluation["self_test"])]


def _floor(one: Mapping[str, Any]) -> str:
    return f"floor {one['floor_per_document']:.3f}, best constant {one['ceiling_per_document']:.2f}"


def _learning(training: Trained, evaluation: Mapping[str, Any], windows: bool) -> Chart:
    one, shown = evaluation["runs"][evaluation["shown"]], training.drawn()
    lines = training.curve_lines("loss" if windows else "loss_per_document", shown)
    levels = []
    if one["floor_per_document"] is not None:
        levels = [HLine(one["floor_per_document"], "floor of the test documents")]
    return Chart(
        "Validation loss while learning",
        f"training {'windows' if windows else 'documents'}",
        f"nats per {_unit(windows)}",
        lines,
        log_x=True,
        log_y=True,
        hlines=levels,
    )


def _by_position(one: Mapping[str, Any], windows: bool) -> Chart:
    loss, told = np.asarray(one["nats_by_position"], float), f"nats per {_unit(windows)}"
    place, series = np.arange(1, 1 + len(loss)), []
    if one["floor_per_document"] is not None:
        # What the model may expect to lose, not what it happened to lose.
        floor = np.asarray(one["floor_by_position"], float)
        loss, told = floor + np.asarray(one["regret_by_position"], float), "expected nats per document"
        series.append(Line(place, floor, name="the grammar itself", role="oracle"))
    at = "token of the window" if windows else "token of the target"
    return Chart("Loss by place", at, told, [Line(place, loss, name="model", role="model"), *series])


def _kinds(one: Mapping[str, Any]) -> Chart:
    names = list(one["kinds"])
    floor, regret = ([one["kinds"][name][key] for name in names] for key in ("floor", "regret"))
    bars = [Bars(names, floor, name="floor", role="oracle"), Bars(names, regret, name="regret", role="model")]
    return Chart("Floor and regret by kind of token", "", "nats per document", bars)


def _kind_rows(one: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    rows = [
        [name, f"{of['tokens']:,}", f"{of['floor']:.4f}", f"{of['regret']:.4f}", f"{100 * of['top1']:.2f} %"]
        for name, of in one["kinds"].items()
    ]
    columns = ["kind of token", "tokens", "floor, nats per document", "regret, nats per document", "top-1"]
    return columns, rows, "The regrets add up to that of a document."


def _samples(samples: list[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]], str]:
    rows = [[one["source"], one["marked"], one["reference"]] for one in samples]
    caption = "Wrong facts are marked by ⟦ and ⟧." if any("facts" in one for one in samples) else ""
    return ["source", "generated", "reference"], rows, caption


def _began(evaluation: Mapping[str, Any]) -> str:
    """A line on the weights that it began with, where these are another run's."""
    start = evaluation.get("start")  # results of before lack it
    return "" if start is None else f"\n- **Initialised** with another run's weights: {Anew(**start).told()}."


def _how(known: bool, task: TextTaskConfig) -> str:
    said = [
        "- **Selection**: weights and learning rates are chosen on validation documents; figures are of test ones.",
        "- Every model is scored on the tokens of the target, including its end token, whatever it was trained on.",
        "- **Counts of order k** predict a token from the k before it, with counts from the training part "
        "(interpolated Kneser–Ney); validation documents choose k. In raw text the source is part of this context.",
    ]
    if task.windows:
        said[0] = (
            "- **Selection**: the validation part chooses weights and learning rates; figures are of the test part."
        )
        said[1] = "- A document is a window: every token of the test part but the first is scored once, side by side."
    if task.windows and not task.test_fraction:
        said[0] = (
            "- **Selection**: the validation part has chosen weights and learning rates, and figures are of it, too."
        )
    if known:
        said.insert(
            0,
            "- **Regret** is the divergence from the grammar's own prediction, summed over the target's tokens: 0 is "
            "the best possible.",
        )
    else:
        said.insert(0, "- **Bits per byte** compare models with different tokenizers; perplexities do not.")
    return "\n".join(said)
