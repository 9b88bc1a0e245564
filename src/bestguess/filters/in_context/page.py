"""The page of runs on unknown systems, and their console table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bestguess.config import Run
from bestguess.family import Trained
from bestguess.filters.forecaster import Forecaster, predict
from bestguess.filters.in_context.task import MixtureTask
from bestguess.report.charts import Chart, Grid, Line, Picture, Points
from bestguess.report.progress import over_one, skill_text
from bestguess.report.story import MANY, Drawn, Rows, Section, Stat, Story, Words, self_test_stat, shade
from bestguess.train.problem import Purpose, member_key

_LISTS = {"trained": "systems of the mixture", "held_out": "held-out systems"}
_LEAST = 1e-6
"""The smallest excess that is drawn: below it there is rounding."""


def story(training: Trained, results: Mapping[str, Any]) -> Story:
    """Return the page from a training's results."""
    evaluation, runs = results["evaluation"], training.runs
    shown, chosen, config = training.drawn(), training.shown(), training.runs[0].config
    one, name, K = evaluation["runs"][chosen], runs[chosen].label(runs), config.task.systems
    held = one["held_out"]
    stats = [
        Stat(over_one(one["normalised_loss"]), "normalised loss", f"{name}: squared error over the Bayes mixture's"),
        Stat(
            over_one(1 + held["over_told"]["mean"], held["over_told"]["standard_error"]),
            "on held-out systems",
            "squared error over that of the Kalman filter of the true system",
        ),
        Stat(
            _difference(held["over_mixture"]),
            "held out, less the mixture's",
            "in units of the true filter's error; below 0 the model does what the mixture of its systems cannot",
        ),
        self_test_stat(evaluation["self_test"]),
    ]
    lead = (
        f"{_runs(runs)} learnt to predict sequences of unknown linear systems: each comes from one of {K:,}, and the "
        f"model must find out in context which ({config.task.length} steps, {config.task.observed_dim} observed "
        f"dimensions, latent dimension {config.task.latent_dim}). The best possible predictor is the Bayes mixture of "
        f"their {K:,} Kalman filters. {config.task.held_out:,} other systems of the same law were held out."
    )
    columns, rows, title = table(training, results)
    sections = [
        Section("", [Rows(columns, rows, title), _regressions(evaluation["runs"][chosen])]),
        Section("Learning", [Drawn("learning", _learning(training, shown))]),
        Section("In context", [Drawn("in_context", _in_context(runs, shown, evaluation)), Words(_READ)]),
        Section("Which system", [Drawn("own_system", _own_system(runs, shown, evaluation))]),
        Section("Sequences", [Drawn("sequences", _sequences(runs[chosen], training, chosen))]),
        Section("How this was made", [Words(_HOW)]),
    ]
    return Story("Transformers on unknown systems, compared with the Bayes mixture", lead, stats, sections)


_READ = (
    "The error falls as the sequence tells more of its system. On the systems of the mixture nothing can lie below the "
    "mixture. On held-out systems the mixture is one more predictor: a model that has learnt its systems by heart does "
    "as badly, one that has learnt what such systems have in common does better."
)
_HOW = (
    "- **Normalised loss**: 1 + E‖ŷ − ŷ*‖² / E‖y − ŷ*‖², with ŷ* the prediction of the Bayes mixture on the same "
    "sequences: 1 is the best possible if the system is not told. Its ± is one standard error over test sequences.\n"
    "- **Skill**: the fraction gained of what there is to gain over the best constant prediction.\n"
    "- **Over the true filter**: the loss over that of the Kalman filter of the sequence's own system, which no other "
    "predictor is told, on the same sequences. *1 + 0.1* is an error 10 % above it.\n"
    "- **Less the mixture's**: the loss less that of the mixture on the same sequences, in units of the true filter's "
    "error. On held-out systems the mixture is not the best predictor, so this is no regret and may be below 0. Errors "
    "there are standard errors over the held-out systems.\n"
    "- **Fitted in context**: coefficients on the last k steps, by least squares or ridge regression on the sequence "
    "so far, anew at every step. The order and the ridge's penalty are selected on validation sequences.\n"
    "- Weights are those of each run's best validation. Learning rates, and the runs that pictures show, are selected "
    "on validation data; every figure here is from test data, but for the learning curves.\n"
    "- There are no rollouts: the mixture's own prediction, fed back as if observed, would move its weights."
)


def table(training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return columns, rows and title of the runs, each with what stands beside it."""
    runs, evaluation = training.runs, results["evaluation"]
    several = len(runs) > 1
    columns = ["run"] * several + ["predictor", "normalised loss", "skill"]
    columns += ["over the true filter", "held out", "held out, less the mixture's"]
    rows: list[list[Any]] = []
    for run, one in zip(runs, evaluation["runs"]):
        trained, held, ridge = one["trained"], one["held_out"], one["ridge"]
        skill = skill_text(one["skill"], 4)
        rows.append(
            [run.label(runs) + (" ←" if one["selected"] and _rates(runs) else "")] * several
            + ["transformer", over_one(one["normalised_loss"], one["standard_error"]), skill]
            + [_over(trained["over_told"]), _over(held["over_told"]), _difference(held["over_mixture"])]
        )
        mixture = held["mixture_over_told"]
        blank = [""] * several
        over = [_over(trained["mixture_over_told"]), _over(mixture)]
        rows.append([*blank, f"mixture of {evaluation['systems']:,}", "1", "1", *over, "0"])
        for name, fitted in (
            (f"ridge in context, k = {ridge['order']}", ridge),
            (f"AR({one['ar_order']}) in context", one["ar"][str(one["ar_order"])]),
        ):
            apart = fitted["held_out"]["mean"] - mixture["mean"]
            own = _against_mixture(fitted["trained"]["mean"], trained["mixture_over_told"]["mean"])
            rows.append([*blank, name, over_one(1 + own), "", *map(_over, (fitted["trained"], fitted["held_out"]))])
            rows[-1].append(f"{apart:+.3g}")
    return columns, rows, "Squared error over the mixture's, and over the true filter's (1 is the best possible)"


def _against_mixture(over_told: float, mixture: float) -> float:
    """The excess over the mixture, from both excesses over the told filter."""
    return (over_told - mixture) / (1 + mixture)


def _regressions(one: Mapping[str, Any]) -> Rows:
    rows = [[f"AR({k})", *(f"{fitted[name]['mean']:.3g}" for name in _LISTS)] for k, fitted in one["ar"].items()]
    ridge = one["ridge"]
    label = f"ridge, k = {ridge['order']}, α = {ridge['penalty']:g}"
    rows.append([label, *(f"{ridge[name]['mean']:.3g}" for name in _LISTS)])
    return Rows(
        ["fitted in context", *_LISTS.values()], rows, "Regressions: error over the true filter's, in units of it"
    )


def _over(one: Mapping[str, float]) -> str:
    return over_one(1 + one["mean"], one["standard_error"])


def _difference(one: Mapping[str, float]) -> str:
    return f"{one['mean']:+.3g} ± {one['standard_error']:.1g}"


def _rates(runs: Sequence[Run]) -> bool:
    return len({run.learning_rate for run in runs}) > 1


def _runs(runs: Sequence[Run]) -> str:
    return f"{len(runs)} runs" if len(runs) > 1 else "A transformer"


def _learning(training: Trained, shown: Sequence[int]) -> Picture:
    return Chart(
        "Excess over the Bayes mixture while learning",
        "training sequences",
        "validation error above the mixture's (%)",
        training.curve_lines("normalised_loss", shown, lambda loss: 100 * (loss - 1)),
        "The floor is 0, infinitely far down on this axis. Distance to the mixture's predictions on the same "
        f"{training.config.validation_sequences} validation sequences.",
        log_x=True,
        log_y=True,
    )


def _in_context(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping) -> Picture:
    config = runs[0].config
    steps = np.arange(config.model.patch + 1, config.task.length + 1)
    panels = []
    for i in shown[: MANY // 2]:
        for name, label in _LISTS.items():
            curves = evaluation["runs"][i]["by_step"][name]
            percent = {key: 100 * np.maximum(np.asarray(curve, float), _LEAST) for key, curve in curves.items()}
            panels.append(
                Chart(
                    f"{runs[i].label(runs)}: {label}" if len(runs) > 1 else label.capitalize(),
                    "step t",
                    "error above the true filter's at t (%)",
                    [
                        Line(steps, percent["mixture"], name="Bayes mixture", role="oracle"),
                        Line(steps, percent["model"], name="model", role="model"),
                        Line(steps, percent["ridge"], name="ridge, fitted in context", role="baseline"),
                    ],
                    log_y=True,
                )
            )
    return Grid(
        "Error by position, over that of the filter of the true system",
        panels,
        "What it costs not to be told the system, after t − 1 steps of it.",
        columns=2,
    )


def _own_system(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping) -> Picture:
    patch, settings = runs[0].config.model.patch, dict.fromkeys((runs[i].setting, runs[i].seed) for i in shown)
    first = [next(i for i in shown if (runs[i].setting, runs[i].seed) == one) for one in settings]
    series = [
        Line(
            patch * np.arange(len(evaluation["runs"][i]["own_system"])),
            np.asarray(evaluation["runs"][i]["own_system"], float),
            name=runs[i].label(runs) if len(first) > 1 else "",
            shade=shade(i, first),
        )
        for i in first
    ]
    return Chart(
        "How soon the mixture knows the system",
        "steps seen",
        "posterior probability of the true system",
        series,
        f"Mean over test sequences; before the first step it is 1 / {evaluation['systems']:,}.",
        y_range=(0.0, 1.02),
    )


def _sequences(run: Run, training: Trained, i: int) -> Picture:
    task: MixtureTask = jax.tree.map(jnp.asarray, training.tasks[i])
    model: Forecaster = training.model(i)
    own, other = jax.random.split(member_key(jnp.asarray(run.seed), Purpose.PICTURE))

    @eqx.filter_jit
    def predicted(task: MixtureTask, model: Forecaster) -> list[tuple]:
        drawn = task.known(own), task.known_held_out(jnp.asarray(0), other)
        return [(known, task.oracle(known.y), predict(model, known.y)) for known in drawn]

    steps, panels = np.arange(1, task.shape[0] + 1), []
    for name, (known, best, guessed) in zip(_LISTS, predicted(task, model)):
        assert best.covariance is not None
        mean, sigma = np.asarray(best.mean[:, 0]), np.sqrt(np.asarray(best.covariance[:, 0, 0]))
        guess = np.full(len(steps), np.nan)
        guess[task.predicted] = np.asarray(guessed[:, 0])
        panels.append(
            Chart(
                f"of one of the {_LISTS[name]}",
                "step t",
                "y, first observed dimension",
                [
                    Line(steps, mean, mean - 2 * sigma, mean + 2 * sigma, name="Bayes mixture ± 2σ", role="oracle"),
                    Line(steps, np.asarray(known.told[:, 0]), name="filter of the true system", role="baseline"),
                    Line(steps, guess, name="model", role="model"),
                    Points(steps, np.asarray(known.y[:, 0]), name="observed", role="data"),
                ],
            )
        )
    return Grid(
        f"Two sequences with all predictions ({run.label(training.runs)})",
        panels,
        "Each prediction sees only what came before it. On a held-out system the mixture's band may be wrong.",
        columns=1,
    )
