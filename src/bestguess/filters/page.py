"""The page of a filters training: every picture compares the model with the Kalman filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.config import Run
from bestguess.family import Trained
from bestguess.filters import memory_page
from bestguess.filters.config import FiltersConfig
from bestguess.filters.forecaster import Forecaster, predict
from bestguess.filters.inspection import tokens
from bestguess.filters.systems import henrici, system_of
from bestguess.filters.tables_page import tables
from bestguess.filters.task import FilterTask
from bestguess.report.charts import Chart, Grid, Heatmap, HLine, Line, Picture, Points, Series, unit_circle
from bestguess.report.progress import over_one, skill_text
from bestguess.report.story import MANY, Drawn, Section, Stat, Story, Words, self_test_stat, shade
from bestguess.train.problem import Purpose, member_key

SHOWN_STEPS = 64
"""Steps of a drawn sequence: its last ones, where the filter has settled."""


def story(training: Trained, results: Mapping[str, Any]) -> Story:
    """Return the page from a training's results by part."""
    evaluation, rollouts = results["evaluation"], results["rollouts"]
    runs, config = training.runs, training.runs[0].config
    shown = training.drawn()
    # Of the setting with the longest memory, the run that validation chooses: the picture that shows most.
    chosen = training.shown(max((run.setting for run in runs), key=lambda setting: setting[0]))
    run, model, task = runs[chosen], training.model(chosen), training.tasks[chosen]
    stats = [
        *_headline(runs, training.curves(), evaluation),
        self_test_stat(evaluation["self_test"]),
        Stat(f"{evaluation['test_sequences']:,}", "test sequences", "drawn apart from training and validation"),
    ]
    lead = (
        f"{len(runs)} run{'s' * (len(runs) > 1)} learnt to predict linear state-space sequences "
        f"(latent dimension {config.task.latent_dim}, {config.task.observed_dim} observed, "
        f"{config.task.length} steps{_noise(config.task.observation_noise)}). The Kalman filter of each system is the "
        "best possible predictor: its squared "
        "error is 1 on this page."
    )
    rolled = Words(
        f"After {rollouts['context']} observed steps each model's predictions are fed back as if they had been "
        f"observed ({rollouts['rollouts']:,} rollouts), and compared with the filter's own prediction at the "
        "same horizon. The filter's error grows with the horizon too; it is the unit."
    )
    drawn = (
        ("rollouts", _rollouts(runs, shown, rollouts)),
        ("rollout_skill", _rollout_skill(runs, shown, rollouts)),
    )
    sections = [
        Section("", tables(runs, evaluation, rollouts)),
        Section("Learning", [Drawn("learning", _learning(training, shown, evaluation))]),
        *_memory(runs, shown, evaluation),
        Section(
            "Where in the sequence", [Drawn("regret_by_position", memory_page.by_position(runs, shown, evaluation))]
        ),
        Section("Rollouts", [rolled, *(Drawn(*one) for one in drawn)]),
        Section("Sequences", [Drawn("sequences", _sequences(run, runs, model, task))]),
        Section("The systems", [Drawn("spectrum", _spectrum(runs, shown))]),
        Section("Attention", [Drawn("attention", _attention(run, runs, model, task))]),
        Section("How this was made", [Words(_how(config))]),
    ]
    return Story("Transformers compared with the Kalman filter", lead, stats, sections)


def _headline(
    runs: Sequence[Run], curves: Sequence[Sequence[Mapping[str, Any]]], evaluation: Mapping[str, Any]
) -> list[Stat]:
    """The run of the best validation skill, by its test skill and its test loss.

    Of all runs at the selected rates, since seeds have systems of their own: within a setting, too, the lowest loss is
    often that of the system with the least headroom.
    """
    chosen = [i for i, one in enumerate(evaluation["runs"]) if one["selected"]]

    def validated(i: int) -> float:
        best = evaluation["runs"][i]["best_step"]
        skills = [line["skill"] for line in curves[i] if line["step"] == best]
        return skills[0] if skills and np.isfinite(skills[0]) else -np.inf

    best = max(chosen, key=validated)
    one, name = evaluation["runs"][best], runs[best].label(runs)
    among = f", of {len(runs)} runs the best on validation data" if len(runs) > 1 else ""
    skill = skill_text(one["skill"], 4)
    return [
        Stat(skill, "skill", f"{name}{among}; the fraction of the headroom of {one['headroom']:.1%} that is gained"),
        Stat(over_one(one["normalised_loss"]), "normalised loss", f"{name}: squared error over the Kalman filter's"),
    ]


def _how(config: FiltersConfig) -> str:
    return (
        "- **Normalised loss**: 1 + E‖ŷ − ŷ*‖² / E‖y − ŷ*‖², with ŷ* the filter's prediction on the same sequences: "
        "1 is the best possible. Its ± is one standard error over test sequences.\n"
        "- **Skill**: the fraction gained of what there is to gain over the best constant prediction; “no headroom” "
        "where that is below 1 %.\n"
        "- **Memory** of a predictor: the k for which AR(k), the best linear predictor of the last k steps with "
        "coefficients that may differ at every step, has the same loss. *Fitted*: coefficients that are the same at "
        "every step, by least squares on the sequences that the run was trained on, k selected on validation data. "
        "*Exact*: the best such coefficients for that k.\n"
        "- **Sequences to skill 0.9**: training sequences seen when validation skill first reached 0.9, interpolated "
        f"between validations, which were {config.train.validate_every} steps apart.\n"
        "- Weights are those of each run's best validation. Learning rates, and the runs that pictures show, are "
        "selected on validation data; every figure here is from test data, but for the learning curves."
    )


def _memory(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping) -> list[Section]:
    if not memory_page.known(evaluation):
        return []
    return [Section("Memory", [Drawn("memory", memory_page.memories(runs, shown, evaluation))])]


def _learning(training: Trained, shown: Sequence[int], evaluation: Mapping) -> Picture:
    series: list[Series] = [*training.curve_lines("normalised_loss", shown, lambda loss: 100 * (loss - 1))]
    if memory_page.known(evaluation):
        series += memory_page.fitted_points(training.runs, shown, evaluation)
    return Chart(
        "Excess over the Kalman filter while learning",
        "training sequences",
        "validation error above the filter's (%)",
        series,
        "The floor is 0, infinitely far down on this axis. Distance to the filter's predictions on the same "
        f"{training.config.validation_sequences} validation sequences.",
        log_x=True,
        log_y=True,
    )


def _rollouts(runs: Sequence[Run], shown: Sequence[int], rollouts: Mapping) -> Picture:
    panels = []
    for i in shown[:MANY]:
        one = rollouts["runs"][i]["horizons"]
        h = np.array([int(key) for key in one])
        ceiling = 1 + np.array([one[key]["headroom"] for key in one])
        loss = np.array([one[key]["normalised_loss"] for key in one])
        error = np.array([one[key]["standard_error"] for key in one])
        fed_back = np.array(list(rollouts["runs"][i].get("ar_fitted", {}).values()))
        # In shares of E‖y‖²: the filter's own error grows towards 1, the best constant's.
        panels.append(
            Chart(
                runs[i].label(runs),
                "horizon (steps)",
                "squared error (fraction of the mean square of y)",
                [
                    Line(h, 1 / ceiling, name="Kalman filter", role="oracle"),
                    Points(h, loss / ceiling, error / ceiling, name="model", role="model", connect=True),
                    *(
                        [Line(h, (1 + fed_back) / ceiling, name="AR(k), fitted, fed back", colour=1, dash="dot")]
                        if len(fed_back)
                        else []
                    ),
                    Line(h, np.ones(len(h)), name="best constant", role="baseline"),
                ],
                log_x=True,
                x_ticks={float(k): str(k) for k in h},
            )
        )
    return Grid(
        "Rollouts by horizon, with the filter's own error",
        panels,
        "Between the filter and the best constant lies all that can be known; where they meet, nothing can.",
    )


def _rollout_skill(runs: Sequence[Run], shown: Sequence[int], rollouts: Mapping) -> Picture:
    series: list[Series] = []
    compared: list[Series] = []  # after the runs in the legend
    ticks: dict[float, str] = {}
    for i in shown:
        one = rollouts["runs"][i]["horizons"]
        h = [int(key) for key in one]
        ticks = {float(k): str(k) for k in h}
        skills = [np.nan if one[key]["skill"] is None else one[key]["skill"] for key in one]
        series.append(Points(h, skills, name=runs[i].label(runs), shade=shade(i, shown), connect=True))
        if fed_back := rollouts["runs"][i].get("ar_fitted"):
            found = [memory_page.skill_of(fed_back[key], one[key]) for key in one]
            gained = [np.nan if skill is None else skill for skill in found]
            name = "" if compared else "AR(k), fitted, fed back"
            compared.append(Line(h, gained, name=name, shade=shade(i, shown), dash="dot"))
    return Chart(
        "Rollout skill by horizon",
        "horizon (steps)",
        "skill",
        [*series, *compared],
        "1 is the filter, 0 the best constant. A horizon with less than 1 % headroom is left out: there the filter "
        "itself knows next to nothing.",
        log_x=True,
        x_ticks=ticks,
        hlines=(HLine(1.0, "Kalman filter"),),
    )


def _noise(r: float) -> str:
    return f", observed with noise of standard deviation {r:g}" if r else ""


def _draw(task: FilterTask, run: Run, count: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(member_key(jnp.asarray(run.seed), Purpose.PICTURE), count)
    y, best = jax.jit(jax.vmap(task.sample_with_oracle))(keys)
    return y, best.mean


def _sequences(run: Run, runs: Sequence[Run], model: Forecaster, task: FilterTask) -> Picture:
    config, task = run.config, jax.tree.map(jnp.asarray, task)
    y, best = _draw(task, run, 3)
    predicted = jax.jit(jax.vmap(lambda one: predict(model, one)))(y)
    covariance = np.asarray(task.oracle(y[0]).covariance)
    sigma = np.sqrt(covariance[:, 0, 0])
    steps = np.arange(1, config.task.length + 1)
    window = slice(max(config.model.patch, config.task.length - SHOWN_STEPS), None)
    panels = []
    for k in range(len(y)):
        filtered = np.asarray(best[k, :, 0])
        model_line = np.concatenate([np.full(config.model.patch, np.nan), np.asarray(predicted[k, :, 0])])
        lo, hi = filtered - 2 * sigma, filtered + 2 * sigma
        panels.append(
            Chart(
                f"sequence {k + 1}",
                "step t",
                "y, first observed dimension",
                [
                    Line(
                        steps[window],
                        filtered[window],
                        lo[window],
                        hi[window],
                        name="Kalman filter ± 2σ",
                        role="oracle",
                    ),
                    Line(steps[window], model_line[window], name="model", role="model"),
                    Points(steps[window], np.asarray(y[k, :, 0])[window], name="observed", role="data"),
                ],
            )
        )
    return Grid(
        f"Test sequences with both predictions ({run.label(runs) if len(runs) > 1 else run.name()})",
        panels,
        "Each prediction sees only what came before it. About 95 % of the observations fall inside the filter's band.",
        columns=1,
    )


def _spectrum(runs: Sequence[Run], shown: Sequence[int]) -> Picture:
    panels, seen = [], set()
    for i in shown:
        if runs[i].setting in seen:
            continue
        seen.add(runs[i].setting)
        system = system_of(runs[i].config.task, runs[i].seed)
        eigenvalues = system.eigenvalues
        panels.append(
            Chart(
                f"{runs[i].name()}: departure from normality {henrici(system.A):.2f}",
                "real part",
                "imaginary part",
                [
                    unit_circle(),
                    Points(eigenvalues.real, eigenvalues.imag, name="eigenvalues of A", role="model"),
                ],
                x_range=(-1.1, 1.1),
                y_range=(-1.1, 1.1),
                equal_aspect=True,
            )
        )
    return Grid(
        "Eigenvalues of A",
        panels,
        "Moduli lie in [λ/2, λ]; the circle is where a system stops being stable. Seed "
        f"{runs[0].seed}'s systems; departure from normality is Henrici's, as a fraction of A's norm.",
    )


def _attention(run: Run, runs: Sequence[Run], model: Forecaster, task: FilterTask) -> Picture:
    y, _ = _draw(jax.tree.map(jnp.asarray, task), run, 1)
    weights = np.asarray(jax.jit(lambda one: model.core.attention_weights(tokens(model, one)))(y[0]))
    last = min(weights.shape[-1], 32)
    return Grid(
        f"Attention, mean over heads ({run.label(runs) if len(runs) > 1 else run.name()})",
        [
            Chart(
                f"layer {layer + 1}",
                "token attended to",
                "token",
                [Heatmap(w.mean(axis=0)[-last:, -last:], low=0.0, unit="weight", first=w.shape[-1] - last + 1)],
            )
            for layer, w in enumerate(weights)
        ],
        f"The last {last} tokens of the first sequence above. A stripe parallel to the diagonal is a lag that is read; "
        "a vertical one is a token that all later ones read, whatever their lag.",
        columns=4 if len(weights) == 4 else 3,  # no panel alone in its row
    )
