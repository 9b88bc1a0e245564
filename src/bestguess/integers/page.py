"""The page of an integers training, and its console table: every picture has the exact Bayes predictor in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.config import Run
from bestguess.family import Trained
from bestguess.files import read_json
from bestguess.integers.config import IntegersConfig
from bestguess.integers.model import collapse
from bestguess.integers.model.decode import generate
from bestguess.integers.model.losses import RANDOM
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.oracle.fitting import fit
from bestguess.integers.oracle.posterior import guesses, probability
from bestguess.integers.sequences.curriculum import Curriculum, mixture
from bestguess.report.charts import Chart, Grid, Heatmap, HLine, Line, Picture, Points
from bestguess.report.story import Drawn, Rows, Section, Stat, Story, Words, self_test_stat, shade

LESSON = "lesson.json"
EXAMPLES = (
    (2, 4, 8, 16),
    (1, 1, 2, 3, 5, 8),
    (1, 2, 4, 7, 11),
    (1, 1, 2, 2, 3, 3),
    (8, 4, 6, 3),
    (4, 5, 10, 11),
    (1, 2),
)
"""Beginnings of well-known sequences, for the page's table."""


def story(training: Trained, evaluation: Mapping[str, Any]) -> Story:
    """Return the page from a training's results."""
    lesson = read_json(training.folder / LESSON)
    runs, results = training.runs, evaluation["runs"]
    shown = training.drawn()
    chosen = training.shown()
    config, model, oracle = runs[chosen].config, training.model(chosen), training.tasks[chosen].exact
    learning = [Drawn("learning", _learning(training, shown, results))]
    if config.task.curriculum != "none":
        learning.append(Drawn("curriculum", _curriculum(config.task.curriculum, config.task.phases)))
    how_many = [
        Drawn("accuracy_by_position", _accuracy(config, runs, shown, results)),
        Drawn("regret_by_position", _regret(config, runs, shown, results)),
    ]
    sections = [
        Section("", [Rows(*_table(runs, evaluation, config.task.length, lesson))]),
        Section("Learning", learning),
        Section("How many terms it takes", how_many),
        Section("Which sequences are hard", [Rows(*_families(runs, chosen, results))]),
        Section("What next, and why", [Rows(*_examples(config, model, oracle))]),
    ]
    if config.model.d_model == 2 and (config.model.norm, config.model.norm_place) == ("layer", "post"):
        picture = collapse.chart({runs[chosen].label(runs): model}, _some_contexts(oracle))
        sections.append(Section("What the first norm leaves", [Drawn("norm", picture)]))
    sections.append(Section("Attention", [Drawn("attention", _attention(config, model))]))
    sections.append(Section("How this was made", [Words(_how(config)), *([Words(_taught(lesson))] if lesson else [])]))
    return Story(
        "Integer sequences compared with an exact Bayes predictor",
        _lead(len(runs), config, lesson),
        _stats(runs[chosen], runs, results[chosen], evaluation, config),
        sections,
    )


def _lead(count: int, config: IntegersConfig, lesson: Mapping[str, Any] | None) -> str:
    if lesson:
        learnt = f"One model, taught by {len(lesson['runs'])} together, predicts"
    else:
        learnt = f"{count} run{'s' * (count > 1)} learnt to predict"
    return (
        f"{learnt} the next term of integer sequences from up to {config.task.length} terms. The oracle knows the "
        "generator: it weighs every recurrence that fits. No predictor can do better on average."
    )


def _stats(
    run: Run, runs: Sequence[Run], result: Mapping[str, Any], evaluation: Mapping[str, Any], config: IntegersConfig
) -> list[Stat]:
    end = result["held_out"]["full_context"]
    where = f"after {config.task.length} terms, held-out rows"
    if len(runs) > 1:
        where += f"; {run.label(runs)}, selected on validation data"
    return [
        Stat(f"{100 * end['relative_accuracy']:.2f} %", "of the oracle's accuracy", where),
        Stat(f"{end['regret']:.4f}", "regret (nats)", where),
        Stat(f"{evaluation['rows']:,}", "sequences in the table", "every figure is an exact sum over its rows"),
        self_test_stat(evaluation["self_test"]),
    ]


def _how(config: IntegersConfig) -> str:
    return (
        "- **The oracle** is the exact Bayes predictor: all recurrences at all parameters, weighed by prior, grouped "
        "by prefix, under the mixture of phases that the curriculum ends with.\n"
        "- **Regret** is KL(p* ‖ p), the model's log loss less the oracle's. **Accuracy** is the probability that the "
        "model's first choice comes next; the oracle's own is its ceiling. **Distance** is E|next − first choice|.\n"
        f"- **Held-out rows** ({100 * config.task.held_out:g} % of the full contexts, chosen by a hash) were neither "
        "trained on nor selected by. Fresh draws would repeat training rows, since parameters come from finite sets.\n"
        "- **Selection**: weights, learning rates and the run that examples and pictures show are chosen on validation "
        "data.\n"
        "- **The self-test** sends the oracle and the best constant through this very evaluation before any figure is "
        "written."
    )


def _taught(lesson: Mapping[str, Any]) -> str:
    return (
        f"- **The lesson**: runs {', '.join(f'{run:d}' for run in lesson['runs'])} of `{lesson['teachers']}` continued "
        "real beginnings; held-out contexts were left out. On these "
        f"{lesson['sequences']:,} sequences the model, which began as run {lesson['first']}, learnt the mean of "
        "their probabilities."
    )


def table(training: Trained, evaluation: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return columns, rows and title of what the console shows of an evaluation."""
    rows = []
    for label, one in labelled(training.runs, evaluation):
        for part in ("held_out", "seen"):
            end, mean = one[part]["full_context"], one[part]["mean"]
            rows.append(
                [
                    label,
                    part.replace("_", "-"),
                    f"{100 * end['accuracy']:.2f} %",
                    f"{100 * end['relative_accuracy']:.2f} %",
                    f"{end['regret']:.4f}",
                    f"{end['distance']:.2f}",
                    f"{mean['regret']:.4f}",
                    _whole(one[part]),
                ]
            )
    columns = ["run", "rows", "accuracy", "of the oracle's", "regret (nats)", "distance", "mean regret (nats)"]
    columns.append("whole sequences (oracle)")
    length = training.runs[0].config.task.length
    # No wider than the table of a single run.
    title = f"After {length} terms (mean: 1 to {length}), exact sums over {evaluation['rows']:,} sequences"
    return columns, rows, title


def _some_contexts(oracle: Oracle, count: int = 500) -> np.ndarray:
    """Return full contexts from all over the table, uint8 [about count, length]."""
    table = oracle.table
    full = table.rows[table.lengths > table.length]
    return full[:: -(-len(full) // count), : table.length]


def labelled(runs: Sequence[Run], evaluation: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the figures of each run, and of several together."""
    rows = [(run.label(runs), one) for run, one in zip(runs, evaluation["runs"])]
    together = evaluation.get("together")
    return rows if together is None else [*rows, (f"{len(together['runs'])} runs together", together)]


def _table(
    runs: Sequence[Run], evaluation: Mapping[str, Any], length: int, lesson: dict[str, Any] | None
) -> tuple[list[str], list[list[Any]], str]:
    columns = [
        "run",
        "rows",
        "accuracy",
        "oracle's",
        "fraction",
        "regret (nats)",
        "distance",
        "mean regret",
        "whole sequences",
    ]
    named, rows = labelled(runs, evaluation), []
    if lesson and lesson["together"]:
        named.append((f"its {len(lesson['runs'])} teachers together", lesson["together"]))
    for label, one in named:
        for part in ("held_out", "seen"):
            end = one[part]["full_context"]
            rows.append(
                [
                    label,
                    part.replace("_", "-"),
                    *(f"{100 * end[name]:.2f} %" for name in ("accuracy", "ceiling", "relative_accuracy")),
                    f"{end['regret']:.5f}",
                    f"{end['distance']:.3f}",
                    f"{one[part]['mean']['regret']:.5f}",
                    _whole(one[part]),
                ]
            )
    caption = (
        f"After {length} terms; mean regret: after 1 to {length}. A random guess is right "
        f"{100 * RANDOM.accuracy:.2f} % of the time, {RANDOM.mean_distance:.2f} away on average, and "
        f"loses {RANDOM.loss:.3f} nats. A whole sequence: every term from the second on is the first choice "
        "(in brackets: the oracle's)."
    )
    if evaluation.get("together") or (lesson and lesson["together"]):
        caption += " Together: the mean of the runs' probabilities."
    return columns, rows, caption


def _whole(figures: Mapping[str, Any]) -> str:
    """The fraction of sequences predicted whole, the oracle's in brackets; a dash where it was not measured yet."""
    found = figures.get("whole_sequence")
    return f"{100 * found['accuracy']:.1f} % ({100 * found['oracle']:.1f} %)" if found else "–"


def _families(
    runs: Sequence[Run], chosen: int, results: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[Any]], str]:
    found = sorted(results[chosen]["held_out_by_family"], key=lambda one: -one["share"] * one["regret"])
    rows = [
        [
            one["family"],
            one["phase"],
            f"{100 * one['share']:.1f} %",
            f"{100 * one['accuracy']:.2f} %",
            f"{one['regret']:.4f}",
            f"{one['share'] * one['regret']:.5f}",
        ]
        for one in found
    ]
    columns = ["sequences", "phase", "share", "accuracy", "regret (nats)", "part of the whole regret (nats)"]
    name = runs[chosen].label(runs)
    return columns, rows, f"Held-out rows at full context, {name}; what adds most to the regret stands first."


def _learning(training: Trained, shown: Sequence[int], results: Sequence[Mapping]) -> Picture:
    series: list[Line | Points] = list(training.curve_lines("loss", shown))
    losses = np.concatenate([np.asarray(line.y) for line in series])
    if max(np.size(line.x) for line in series) == 1:  # one validation: a line of one point is not seen
        series = [Points(line.x, line.y, name=line.name, shade=line.shade) for line in series]
    lines_at = [HLine(results[shown[0]]["all"]["mean"]["floor"], "oracle")]
    # A run that began as a trained model is never near the random guess.
    finite = losses[np.isfinite(losses)]
    if not len(finite) or finite.max() > RANDOM.loss / 2:
        lines_at.append(HLine(RANDOM.loss, "random guess", "baseline"))
    return Chart(
        "Log loss while learning",
        "training sequences",
        "validation log loss, all positions (nats)",
        series,
        f"Mean over the positions of {training.config.validation_sequences:,} validation sequences; the floor is the "
        "oracle's over all sequences, exactly.",
        log_x=True,
        hlines=tuple(lines_at),
    )


def _accuracy(config: IntegersConfig, runs: Sequence[Run], shown: Sequence[int], results: Sequence[Mapping]) -> Picture:
    places = np.arange(1, config.task.length + 1)
    ceiling = results[0]["held_out"]["by_position"]["ceiling"]
    return Chart(
        "Accuracy by the number of terms seen",
        "terms seen",
        "accuracy on held-out rows (%)",
        [
            *(
                Points(
                    places,
                    100 * np.array(results[i]["held_out"]["by_position"]["accuracy"], float),
                    name=runs[i].label(runs),
                    shade=shade(i, shown),
                    connect=True,
                )
                for i in shown
            ),
            Line(places, 100 * np.array(ceiling, float), name="oracle", role="oracle"),
        ],
        "The oracle is the ceiling: with so many terms nobody can know more of the next one.",
        y_range=(0.0, 105.0),
        x_ticks=[float(place) for place in places],
    )


def _regret(config: IntegersConfig, runs: Sequence[Run], shown: Sequence[int], results: Sequence[Mapping]) -> Picture:
    places = np.arange(1, config.task.length + 1)
    series = []
    for i in shown:
        for part, dash in (("held_out", "solid"), ("seen", "dot")):
            regret = np.array(results[i][part]["by_position"]["regret"], float)
            name = f"{runs[i].label(runs)}, {part.replace('_', '-')} rows"
            series.append(Line(places, regret, name=name, shade=shade(i, shown), dash=dash))  # type: ignore[arg-type]
    return Chart(
        "Regret by the number of terms seen",
        "terms seen",
        "regret (nats)",
        series,
        "How much log loss a model adds to the oracle's; 0 is infinitely far down. Between seen and held-out rows lies "
        "what a model has learnt by heart.",
        log_y=True,
        x_ticks=[float(place) for place in places],
    )


def _examples(config: IntegersConfig, model: IntegerModel, oracle: Oracle) -> tuple[list[str], list[list[Any]], str]:
    rows = []
    for terms in EXAMPLES:
        if len(terms) > config.task.length:
            continue
        found, best = fit(config.task, terms).fits, oracle.predict(terms)
        p = generate(model, terms, 1, config.task.length).probabilities[0]
        told = lambda one: ", ".join(f"{g.value} ({probability(g.probability)})" for g in guesses(one, 2))  # noqa: E731
        why = f"{found[0].formula} ({probability(found[0].probability)})" if found else "no recurrence fits"
        rows.append([", ".join(map(str, terms)), told(p), "–" if best is None else told(best), why])
    columns = ["so far", "the model expects", "the oracle expects", "the most probable recurrence"]
    return columns, rows, "Where the oracle has no answer, nothing of these phases begins so."


def _attention(config: IntegersConfig, model: IntegerModel) -> Picture:
    terms = tuple(range(3, 3 + 2 * config.task.length, 2))
    weights = np.asarray(
        jax.jit(lambda one: model.decoder.attention_weights(model.embedding(one)))(jnp.asarray(terms, jnp.int32))
    )
    labels = [str(term) for term in terms]
    return Grid(
        f"Attention while reading {', '.join(labels)} (mean over heads)",
        [
            Chart(
                f"layer {layer + 1}",
                "term attended to",
                "term",
                [Heatmap(one.mean(axis=0), x_labels=labels, y_labels=labels, low=0.0, unit="weight")],
            )
            for layer, one in enumerate(weights)
        ],
        "Rows read, columns are read; each row sums to 1.",
    )


def _curriculum(curriculum: Curriculum, phases: int = 3) -> Chart:
    """Return a picture of the mixture of the first `phases` phases over a training."""
    progress = np.linspace(0, 1, 401)
    weights = mixture(progress, curriculum)[:, :phases]
    weights = weights / weights.sum(axis=1, keepdims=True)
    return Chart(
        "Curriculum: the mixture of phases over the training",
        "progress (fraction of all steps)",
        "fraction of the sequences",
        [Line(progress, weights[:, i], name=f"phase {i + 1}", colour=i) for i in range(phases)],
        "Phase 1: recurrences of order 0 to 2. Phase 2: nested steps, factors and periods. Phase 3: compositions, "
        "transformations and conditionals. Evaluations are under the mixture at the end.",
        y_range=(0.0, 1.05),
    )
