"""The page of an integers training: every picture puts the exact Bayes predictor beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.integers import collapse
from bestguess.integers.answers import probability
from bestguess.integers.config import IntegersConfig, Run
from bestguess.integers.curriculum import chart
from bestguess.integers.decode import generate
from bestguess.integers.evaluate import run_of
from bestguess.integers.explain import guesses, recurrences
from bestguess.integers.losses import RANDOM
from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import Oracle, oracle_of
from bestguess.report.charts import Chart, Grid, Heatmap, HLine, Line, Picture, Points, save_png, save_svg
from bestguess.report.page import Page, Stat
from bestguess.report.trackers import METRICS_FILE, read_metrics
from bestguess.train.ensemble import State
from bestguess.train.folder import CONFIG, FIGURES, PAGE, read_json

EVALUATION, TRAINING, LESSON = "evaluation.json", "training.json", "lesson.json"
MANY = 12
"""Above this many runs, only the first so many are drawn."""
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


def write_report(folder: Path, config: IntegersConfig, state: State) -> Path:
    """Write report.html and figures/ from what training and evaluation left; return the page's path."""
    evaluation, training, lesson = (read_json(folder / name) for name in (EVALUATION, TRAINING, LESSON))
    assert evaluation is not None
    runs, results = config.runs(), evaluation["runs"]
    shown = list(range(min(len(runs), MANY)))
    # The best on held-out rows is the page's example; which run to use is chosen on validation rows elsewhere.
    chosen = min(range(len(runs)), key=lambda i: results[i]["held_out"]["full_context"]["regret"] or 0.0)
    model, oracle = run_of(state.best, chosen), oracle_of(config.task)

    pictures: dict[str, Picture] = {
        "learning": _learning(config, runs, shown, results, folder),
        "accuracy_by_position": _accuracy(config, runs, shown, results),
        "regret_by_position": _regret(config, runs, shown, results),
        "attention": _attention(config, model),
    }
    if config.model.d_model == 2 and (config.model.norm, config.model.norm_place) == ("layer", "post"):
        pictures["norm"] = collapse.chart({runs[chosen].label(runs): model}, _some_contexts(oracle))
    if config.task.curriculum != "none":
        pictures["curriculum"] = chart(config.task.curriculum, config.task.phases)
    for name, picture in pictures.items():
        save_png(picture, folder / FIGURES / f"{name}.png")
        save_svg(picture, folder / FIGURES / f"{name}.svg")

    end = results[chosen]["held_out"]["full_context"]
    length = config.task.length
    if lesson:
        learnt = f"One model, taught by {len(lesson['runs'])} together, predicts"
    else:
        learnt = f"{len(runs)} run{'s' * (len(runs) > 1)} learnt to predict"
    page = Page(
        "Integer sequences beside an exact Bayes predictor",
        f"{learnt} the next term of integer sequences from up to {length} terms. The oracle knows the generator: it "
        "weighs every recurrence that fits. No predictor can do better on average.",
    )
    stats = [
        Stat(
            f"{100 * end['relative_accuracy']:.2f} %",
            "of the oracle's accuracy",
            f"after {length} terms, held-out rows",
        ),
        Stat(f"{end['regret']:.4f}", "regret (nats)", f"after {length} terms, held-out rows"),
        Stat(f"{evaluation['rows']:,}", "sequences in the table", "every figure is an exact sum over its rows"),
        Stat(f"{evaluation['self_test']:.0e}", "self-test", "by how much the oracle misses regret 0 on this very path"),
    ]
    if training:
        rate, device = training["run_steps_per_second"], training["device"]
        stats.append(Stat(f"{rate:,.0f}", "run-steps per second", f"{training['seconds']:.0f} s on {device}"))
    page.stats(stats)
    page.table(*_table(runs, evaluation, length, lesson))
    page.heading("Learning")
    page.chart(pictures["learning"])
    if "curriculum" in pictures:
        page.chart(pictures["curriculum"])
    page.heading("How many terms it takes")
    page.chart(pictures["accuracy_by_position"])
    page.chart(pictures["regret_by_position"])
    page.heading("Which sequences are hard")
    page.table(*_families(runs, chosen, results))
    page.heading("What next, and why")
    page.table(*_examples(config, model, oracle))
    if "norm" in pictures:
        page.heading("What the first norm leaves")
        page.chart(pictures["norm"])
    page.heading("Attention")
    page.chart(pictures["attention"])
    page.heading("How this was made")
    page.text(
        "- **The oracle** is the exact Bayes predictor: all recurrences at all parameters, weighed by prior, grouped "
        "by prefix, under the mixture of phases that the curriculum ends with.\n"
        "- **Regret** is KL(p* ‖ p), the model's log loss less the oracle's. **Accuracy** is the probability that the "
        "model's first choice comes next; the oracle's own is its ceiling. **Distance** is E|next − first choice|.\n"
        f"- **Held-out rows** ({100 * config.task.held_out:g} % of the full contexts, chosen by a hash) were neither "
        "trained on nor chosen by. Fresh draws would repeat training rows, since parameters come from finite sets.\n"
        "- **The self-test** sends the oracle through this very evaluation before any figure is written."
    )
    if lesson:
        page.text(
            f"- **The lesson**: runs {', '.join(map(str, lesson['runs']))} of `{lesson['teachers']}` went on with real "
            "beginnings; held-out contexts were left out. On these "
            f"{lesson['sequences']:,} sequences the model, which began as run {lesson['first']}, learnt the mean of "
            "their probabilities."
        )
    page.details("The config", (folder / CONFIG).read_text(encoding="utf-8"))
    return page.write(folder / PAGE)


def _some_contexts(oracle: Oracle, count: int = 500) -> np.ndarray:
    """Return full contexts from all over the table, uint8 [about count, length]."""
    table = oracle.table
    full = table.rows[table.lengths > table.length]
    return full[:: -(-len(full) // count), : table.length]


def labelled(runs: list[Run], evaluation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the figures of each run, and of several together."""
    rows = [(run.label(runs), one) for run, one in zip(runs, evaluation["runs"])]
    together = evaluation.get("together")
    return rows if together is None else [*rows, (f"{len(together['runs'])} runs together", together)]


def _table(
    runs: list[Run], evaluation: dict[str, Any], length: int, lesson: dict[str, Any] | None
) -> tuple[list[str], list[list[Any]], str]:
    columns = [
        "run",
        "rows",
        "accuracy",
        "the oracle's",
        "share of it",
        "regret (nats)",
        "distance",
        "mean regret (nats)",
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
                ]
            )
    caption = (
        f"After {length} terms; mean regret: after 1 to {length}. A random guess is right "
        f"{100 * RANDOM.accuracy:.2f} % of the time, {RANDOM.mean_distance:.2f} away on average, and "
        f"loses {RANDOM.loss:.3f} nats."
    )
    if evaluation.get("together") or (lesson and lesson["together"]):
        caption += " Together: the mean of the runs' probabilities."
    return columns, rows, caption


def _families(runs: list[Run], chosen: int, results: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]], str]:
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


def _shade(i: int, shown: list[int]) -> float:
    """A place on the colour scale for each of several runs."""
    return shown.index(i) / (len(shown) - 1) if len(shown) > 1 else 0.0


def _learning(config: IntegersConfig, runs: list[Run], shown: list[int], results: list[dict], folder: Path) -> Picture:
    lines = read_metrics(folder / METRICS_FILE)
    series: list[Line] = []
    for i in shown:
        own = {line["step"]: line for line in lines if line["run"] == i}
        curve = [own[step] for step in sorted(own)]
        x = np.array([line["sequences"] for line in curve], float)
        loss = np.array([line["loss"] for line in curve], float)
        series.append(Line(x, loss, name=runs[i].label(runs), shade=_shade(i, shown)))
    lines_at = [HLine(results[shown[0]]["all"]["mean"]["floor"], "oracle")]
    told = [line["loss"] for line in lines if line["run"] in shown and np.isfinite(line["loss"])]
    if max(told, default=RANDOM.loss) > RANDOM.loss / 2:  # one that began as a trained model is never near it
        lines_at.append(HLine(RANDOM.loss, "random guess", "baseline"))
    return Chart(
        "Log loss while learning",
        "training sequences",
        "validation log loss, all positions (nats)",
        series,
        f"Mean over the positions of {config.train.validation_sequences:,} validation sequences; the floor is the "
        "oracle's over all sequences, exactly.",
        log_x=True,
        hlines=tuple(lines_at),
    )


def _accuracy(config: IntegersConfig, runs: list[Run], shown: list[int], results: list[dict]) -> Picture:
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
                    shade=_shade(i, shown),
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


def _regret(config: IntegersConfig, runs: list[Run], shown: list[int], results: list[dict]) -> Picture:
    places = np.arange(1, config.task.length + 1)
    series = []
    for i in shown:
        for part, dash in (("held_out", "solid"), ("seen", "dot")):
            regret = np.array(results[i][part]["by_position"]["regret"], float)
            name = f"{runs[i].label(runs)}, {part.replace('_', '-')} rows"
            series.append(Line(places, regret, name=name, shade=_shade(i, shown), dash=dash))  # type: ignore[arg-type]
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
        found, best = recurrences(oracle, terms), oracle.predict(terms)
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
