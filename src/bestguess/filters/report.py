"""The page of a filters training: every picture puts the Kalman filter beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.filters.config import FiltersConfig, Run
from bestguess.filters.evaluate import PICTURE, run_of
from bestguess.filters.forecaster import Forecaster, predict
from bestguess.filters.problem import FilterProblem, make_members
from bestguess.filters.systems import henrici
from bestguess.filters.task import FilterTask, system_of
from bestguess.report.charts import (
    Chart,
    Grid,
    Heatmap,
    HLine,
    Line,
    Picture,
    Points,
    save_png,
    save_svg,
    unit_circle,
)
from bestguess.report.page import Page, Stat
from bestguess.report.progress import with_error
from bestguess.report.trackers import METRICS_FILE, read_metrics
from bestguess.train.ensemble import member_key
from bestguess.train.fit import load_fitted
from bestguess.train.folder import CHECKPOINTS, CONFIG, FIGURES, PAGE, read_json

SHOWN_STEPS = 64
"""Steps of a drawn sequence: its last ones, where the filter has settled."""
MANY = 12
"""Above this many runs, only the chosen learning rates are drawn."""


def write_report(folder: Path, config: FiltersConfig) -> Path:
    """Write report.html and figures/ from what training, evaluation and rollouts left; return the page's path."""
    evaluation, rollouts = read_json(folder / "evaluation.json"), read_json(folder / "rollouts.json")
    training = read_json(folder / "training.json")
    assert evaluation is not None
    assert rollouts is not None
    runs = config.runs()
    shown = [i for i in range(len(runs)) if len(runs) <= MANY or evaluation["runs"][i]["selected"]]
    members = make_members(config)
    state = load_fitted(FilterProblem(config.model), config.train, members, folder / CHECKPOINTS)
    # The best run of the hardest setting: the picture that shows most.
    chosen = max(shown, key=lambda i: (runs[i].lambda_, -evaluation["runs"][i]["normalised_loss"]))
    model, task = run_of(state.best, chosen), run_of(members.task, chosen)

    pictures = {
        "learning": _learning(config, runs, shown, folder),
        "regret_by_position": _by_position(config, runs, shown, evaluation),
        "rollouts": _rollouts(runs, shown, rollouts),
        "rollout_skill": _rollout_skill(runs, shown, rollouts),
        "sequences": _sequences(config, runs[chosen], runs, model, task),
        "spectrum": _spectrum(config, runs, shown),
        "attention": _attention(config, runs[chosen], runs, model, task),
    }
    for name, picture in pictures.items():
        save_png(picture, folder / FIGURES / f"{name}.png")
        save_svg(picture, folder / FIGURES / f"{name}.svg")

    best = min(evaluation["best"], key=lambda one: one["normalised_loss"])
    page = Page(
        "Transformers beside the Kalman filter",
        f"{len(runs)} run{'s' * (len(runs) > 1)} learnt to predict linear state-space sequences "
        f"(latent dimension {config.task.latent_dim}, {config.task.observed_dim} observed, "
        f"{config.task.length} steps). The Kalman filter of each system is the best possible predictor: its squared "
        "error is 1 on this page.",
    )
    stats = [
        Stat(f"{best['normalised_loss']:.5f}", "best normalised loss", f"λ {best['lambda']:g}, {best['structure']}"),
        Stat(f"{evaluation['self_test']:.0e}", "self-test", "by how much the exact filter misses 1 on this very path"),
        Stat(f"{evaluation['test_sequences']:,}", "test sequences", "drawn apart from training and validation"),
    ]
    if training:
        rate, device = training["run_steps_per_second"], training["device"]
        stats.append(Stat(f"{rate:,.0f}", "run-steps per second", f"{training['seconds']:.0f} s on {device}"))
    page.stats(stats)
    _tables(page, config, runs, evaluation, rollouts)
    page.heading("Learning")
    page.chart(pictures["learning"])
    page.heading("Where in the sequence")
    page.chart(pictures["regret_by_position"])
    page.heading("Rollouts")
    page.text(
        f"After {rollouts['context']} observed steps each model's predictions are fed back as if they had been "
        f"observed ({rollouts['rollouts']:,} rollouts), and compared with the filter's own prediction at the "
        "same horizon. The filter's error grows with the horizon too; it is the unit."
    )
    page.chart(pictures["rollouts"])
    page.chart(pictures["rollout_skill"])
    page.heading("Sequences")
    page.chart(pictures["sequences"])
    page.heading("The systems")
    page.chart(pictures["spectrum"])
    page.heading("Attention")
    page.chart(pictures["attention"])
    page.heading("How this was made")
    page.text(
        "- **Normalised loss**: 1 + E‖ŷ − ŷ*‖² / E‖y − ŷ*‖², with ŷ* the filter's prediction on the same sequences: "
        "1 is the best possible. Its ± is one standard error over test sequences.\n"
        "- **Skill**: the share gained of what there is to gain over the best constant prediction; “no headroom” "
        "where that is below 1 %.\n"
        "- **Sequences to skill 0.9**: training sequences seen when validation skill first reached 0.9, interpolated "
        f"between validations, which were {config.train.validate_every} steps apart.\n"
        "- Weights are those of each run's best validation. Learning rates are chosen on validation data; every figure "
        "here is from test data, but for the learning curves."
    )
    page.details("config.yaml", (folder / CONFIG).read_text(encoding="utf-8"))
    return page.write(folder / PAGE)


def _tables(page: Page, config: FiltersConfig, runs: list[Run], evaluation: dict, rollouts: dict) -> None:
    rates = len({run.learning_rate for run in runs}) > 1
    rows = []
    for run, one in zip(runs, evaluation["runs"]):
        rows.append(
            [
                f"{run.lambda_:g}",
                run.structure,
                run.seed,
                f"{run.learning_rate:g}" + (" ← chosen" if rates and one["selected"] else ""),
                with_error(one["normalised_loss"], one["standard_error"]),
                _skill(one),
                f"{one['headroom']:.1%}",
                _reached(one, "sequences_to_skill_0.9"),
                _reached(one, "sequences_to_skill_0.99"),
                one["best_step"] if one["fault_step"] is None else f"{one['best_step']} (fault at {one['fault_step']})",
            ]
        )
    page.table(
        ["λ", "structure", "seed", "learning rate", "normalised loss", "skill", "headroom", "sequences to 0.9",
         "to 0.99", "best step"],
        rows,
        "Every run, one step (one patch) ahead",
    )  # fmt: skip
    horizons = list(rollouts["runs"][0]["horizons"])
    rolled = [
        [run.label(runs)] + [f"{x['normalised_loss']:.5f}" for x in one["horizons"].values()]
        for run, one in zip(runs, rollouts["runs"])
    ]
    page.table(
        ["run", *(f"t+{h}" for h in horizons)],
        rolled,
        "Every run, rolled out: squared error over the filter's own at that horizon",
    )


def _skill(one: dict[str, Any]) -> str:
    return "no headroom" if one["skill"] is None else f"{one['skill']:.4f}"


def _reached(one: dict[str, Any], key: str) -> int | str:
    if one["skill"] is None:
        return "no headroom"
    return "not reached" if one[key] is None else round(one[key])


def _shade(i: int, shown: list[int]) -> float | None:
    """A place on the colour scale for each of several runs."""
    return shown.index(i) / (len(shown) - 1) if len(shown) > 1 else 0.0


def _learning(config: FiltersConfig, runs: list[Run], shown: list[int], folder: Path) -> Picture:
    lines = read_metrics(folder / METRICS_FILE)
    series: list[Line] = []
    for i in shown:
        own = {line["step"]: line for line in lines if line["run"] == i}
        curve = [own[step] for step in sorted(own)]
        x = np.array([line["sequences"] for line in curve], float)
        excess = 100 * (np.array([line["normalised_loss"] for line in curve], float) - 1)
        series.append(Line(x, excess, name=runs[i].label(runs), shade=_shade(i, shown)))
    return Chart(
        "Excess over the Kalman filter while learning",
        "training sequences",
        "validation error above the filter's (%)",
        series,
        "The floor is 0, infinitely far down on this axis. Distance to the filter's predictions on the same "
        f"{config.train.validation_sequences} validation sequences.",
        log_x=True,
        log_y=True,
    )


def _by_position(config: FiltersConfig, runs: list[Run], shown: list[int], evaluation: dict) -> Picture:
    steps = np.arange(config.model.patch + 1, config.task.length + 1)
    return Chart(
        "Regret by position in the sequence",
        "step t",
        "error above the filter's at t (%)",
        [
            Line(
                steps,
                100 * np.array(evaluation["runs"][i]["regret_by_step"], float),
                name=runs[i].label(runs),
                shade=_shade(i, shown),
            )
            for i in shown
        ],
        "How much of the filter's own error at step t the model adds to it.",
        log_y=True,
    )


def _rollouts(runs: list[Run], shown: list[int], rollouts: dict) -> Picture:
    panels = []
    for i in shown[:MANY]:
        one = rollouts["runs"][i]["horizons"]
        h = np.array([int(key) for key in one])
        ceiling = 1 + np.array([one[key]["headroom"] for key in one])
        loss = np.array([one[key]["normalised_loss"] for key in one])
        error = np.array([one[key]["standard_error"] for key in one])
        # In shares of E‖y‖²: the filter's own error grows towards 1, the best constant's.
        panels.append(
            Chart(
                runs[i].label(runs),
                "horizon (steps)",
                "squared error (share of the mean square of y)",
                [
                    Line(h, 1 / ceiling, name="Kalman filter", role="oracle"),
                    Points(h, loss / ceiling, error / ceiling, name="model", role="model", connect=True),
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


def _rollout_skill(runs: list[Run], shown: list[int], rollouts: dict) -> Picture:
    series: list[Points] = []
    ticks: dict[float, str] = {}
    for i in shown:
        one = rollouts["runs"][i]["horizons"]
        h = [int(key) for key in one]
        ticks = {float(k): str(k) for k in h}
        skills = [np.nan if one[key]["skill"] is None else one[key]["skill"] for key in one]
        series.append(Points(h, skills, name=runs[i].label(runs), shade=_shade(i, shown), connect=True))
    return Chart(
        "Rollout skill by horizon",
        "horizon (steps)",
        "skill",
        series,
        "1 is the filter, 0 the best constant. A horizon with less than 1 % headroom is left out: there the filter "
        "itself knows next to nothing.",
        log_x=True,
        x_ticks=ticks,
        hlines=(HLine(1.0, "Kalman filter"),),
    )


def _draw(task: FilterTask, run: Run, count: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(member_key(jnp.asarray(run.seed), PICTURE), count)
    return jax.jit(jax.vmap(task.sample_with_oracle))(keys)


def _sequences(config: FiltersConfig, run: Run, runs: list[Run], model: Forecaster, task: FilterTask) -> Picture:
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
        f"Test sequences with both predictions ({_title(run, runs)})",
        panels,
        "Each prediction sees only what came before it. About 95 % of the observations fall inside the filter's band.",
        columns=1,
    )


def _spectrum(config: FiltersConfig, runs: list[Run], shown: list[int]) -> Picture:
    panels, seen = [], set()
    for i in shown:
        if runs[i].setting in seen:
            continue
        seen.add(runs[i].setting)
        system = system_of(config.task, runs[i])
        eigenvalues = system.eigenvalues
        panels.append(
            Chart(
                f"λ {runs[i].lambda_:g}, {runs[i].structure}: departure from normality {henrici(system.A):.2f}",
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
        f"{config.train.first_seed}'s systems; departure from normality is Henrici's, as a share of A's norm.",
    )


def _attention(config: FiltersConfig, run: Run, runs: list[Run], model: Forecaster, task: FilterTask) -> Picture:
    y, _ = _draw(task, run, 1)
    weights = np.asarray(jax.jit(lambda one: model.core.attention_weights(_tokens(model, one)))(y[0]))
    last = min(weights.shape[-1], 32)
    return Grid(
        f"Attention, mean over heads ({_title(run, runs)})",
        [
            Chart(
                f"layer {layer + 1}",
                "token attended to",
                "token",
                [Heatmap(w.mean(axis=0)[-last:, -last:], low=0.0, unit="weight")],
            )
            for layer, w in enumerate(weights)
        ],
        f"The last {last} tokens of the first sequence above. A stripe below the diagonal is a lag that is read.",
    )


def _tokens(model: Forecaster, y_Tm: jax.Array) -> jax.Array:
    patches = y_Tm.reshape(-1, model.patch, y_Tm.shape[-1])
    u, _ = model.normaliser.normalise(patches, model.normaliser.start())
    return u.reshape(len(u), -1)


def _title(run: Run, runs: list[Run]) -> str:
    return run.label(runs) if len(runs) > 1 else f"λ {run.lambda_:g}, {run.structure}"
