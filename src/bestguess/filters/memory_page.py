"""What the page and the tables say of bounded memory: AR(k) beside each run, and the memory that a run amounts to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.config import Run
from bestguess.filters.baselines import bounded_memory
from bestguess.report.charts import Chart, Dash, Grid, HLine, Line, Picture, Points
from bestguess.report.progress import over_one, skill_text, two_digits
from bestguess.report.story import MANY, Rows, shade

EXACT, FITTED = "exact", "fitted"
_DASHES: tuple[Dash, ...] = ("dot", "dashdot", "dash")


def known(evaluation: Mapping[str, Any]) -> bool:
    """Return whether results have AR(k) beside each run: those of older versions do not."""
    return all("ar_fitted" in one for one in evaluation["runs"])


def memory(steps: float | None, one: Mapping[str, Any]) -> str:
    """Return an equivalent memory as text, in steps."""
    return f"> {max(map(int, one['ar']))}" if steps is None else f"{steps:.1f}"


def cell(one: Mapping[str, Any]) -> list[str]:
    """Return a run's cell in the column of memories, or none where results do not have it."""
    return [memory(one["equivalent_memory"], one)] if "equivalent_memory" in one else []


def beside(one: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Return name, excess and equivalent memory of what stands below a run in tables: AR(k) of the selected order."""
    fitted = one["ar_fitted"]
    k = str(fitted["selected"])
    return [
        (f"AR({k}) {FITTED}", fitted["excess"][k], memory(fitted["equivalent_memory"], one)),
        (f"AR({k}) {EXACT}", one["ar"][k], ""),
    ]


def skill_of(excess: float, one: Mapping[str, Any]) -> float | None:
    """Return the skill of a predictor with this excess on a run's task; None where there is no headroom."""
    return None if one["skill"] is None else 1 - excess / one["headroom"]


def orders(runs: Sequence[Run], evaluation: Mapping[str, Any]) -> list[Rows]:
    """Return the table of AR(k) by k, of the system of every setting and seed."""
    seen: set[tuple] = set()
    listed = max((list(one["ar"]) for one in evaluation["runs"]), key=len)
    rows = []
    for run, one in zip(runs, evaluation["runs"]):
        system = (run.setting, run.seed)
        if system in seen:
            continue
        seen.add(system)
        fitted = one["ar_fitted"]
        name = run.name() + (f", seed {run.seed}" if len({other.seed for other in runs}) > 1 else "")
        kinds = (
            ("exact, time-varying", one["ar_time_varying"]),
            ("exact, time-invariant", one["ar"]),
            (f"fitted, {fitted['sequences']:,} sequences", fitted["excess"]),
        )
        rows += [[name, kind, *(_excess(by_order.get(k)) for k in listed)] for kind, by_order in kinds]
    caption = "AR(k), the linear predictor of the last k steps: excess over the filter's error"
    return [Rows(["system", "AR(k)", *(f"k = {k}" for k in listed)], rows, caption)]


def memories(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping[str, Any]) -> Picture:
    """Return the picture of the excess of AR(k) over k, with each run's own excess across it."""
    panels = []
    every = [evaluation["runs"][i] for i in shown[:MANY]]
    smallest = min(min(one["normalised_loss"] - 1, *one["ar_fitted"]["excess"].values()) for one in every)
    limits = (100 * max(smallest, 1e-9) / 3, 300 * max(one["headroom"] for one in every))
    for i in shown[:MANY]:
        one = evaluation["runs"][i]
        k = np.array([int(order) for order in one["ar"]])
        excess = lambda key, one=one: 100 * np.array(list(one[key].values()))  # noqa: E731
        fitted = 100 * np.array(list(one["ar_fitted"]["excess"].values()))
        model = 100 * (one["normalised_loss"] - 1)
        panels.append(
            Chart(
                f"{runs[i].label(runs)}: equivalent memory {memory(one['equivalent_memory'], one)}",
                "order k (steps)",
                "error above the filter's (%)",
                [
                    Line(
                        k, np.maximum(excess("ar_time_varying"), 1e-7), name="best AR(k), time-varying", role="oracle"
                    ),
                    Line(k, excess("ar"), name="best AR(k), time-invariant", role="baseline"),
                    Points(k, fitted, name="AR(k), fitted on the run's sequences", colour=1, connect=True),
                ],
                log_x=True,
                log_y=True,
                x_ticks={float(order): str(order) for order in k},
                y_range=limits,
                hlines=(HLine(model, "model", "model"),) if model > 0 else (),
            )
        )
    return Grid(
        "Bounded memory",
        panels,
        "The equivalent memory of a model is the k at which its line meets that of the time-varying AR(k), the best "
        "predictor that sees k steps. Fitted coefficients are judged on the process itself, exactly.",
    )


def by_position(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping[str, Any]) -> Picture:
    """Return the picture of each run's regret at every step, with the best AR(k) of the hardest system."""
    config = runs[0].config
    steps = np.arange(config.model.patch + 1, config.task.length + 1)
    hardest = max(shown, key=lambda i: runs[i].setting[0])
    task, seed = runs[hardest].config.task, runs[hardest].seed
    bounded = bounded_memory(task, seed, config.model.patch)
    least = np.nanmin([evaluation["runs"][i]["regret_by_step"] for i in shown])
    within = [k for k in bounded.orders if bounded.by_step[k, -1] > least / 10][-3:]
    return Chart(
        "Regret by position in the sequence",
        "step t",
        "error above the filter's at t (%)",
        [
            Line(
                steps,
                100 * np.array(evaluation["runs"][i]["regret_by_step"], float),
                name=runs[i].label(runs),
                shade=shade(i, shown),
            )
            for i in shown
        ]
        + [
            Line(
                steps,
                np.where(steps > k + config.model.patch, 100 * bounded.by_step[k], np.nan),
                name=f"best AR({k}), time-varying",
                role="baseline",
                dash=_DASHES[n],
            )
            for n, k in enumerate(within)
        ]
        + [
            Line(
                steps,
                100 * bounded.fixed_by_step,
                name=f"best AR({bounded.orders[-1]}), fixed coefficients",
                role="baseline",
                dash="solid",
            )
        ],
        "How much of the filter's own error at step t the model adds to it; so too the best predictors of the last k "
        f"steps ({runs[hardest].name()}, seed {seed}), which up to step k + 1 are the filter. "
        "Coefficients that are the same at every step are wrong for the first ones, which start from a known state.",
        log_y=True,
    )


def fitted_points(runs: Sequence[Run], shown: Sequence[int], evaluation: Mapping[str, Any]) -> list[Points]:
    """Return, for the chart of learning, AR(k) fitted on as many sequences as each run's best weights have seen."""
    found = []
    for place, i in enumerate(shown):
        one = evaluation["runs"][i]["ar_fitted"]
        excess = one["excess"][str(one["selected"])]
        name = "" if place else "AR(k), fitted on the same sequences"
        found.append(Points([one["sequences"]], [100 * excess], name=name, shade=shade(i, shown)))
    return found


def _excess(value: float | None) -> str:
    return "" if value is None else two_digits(max(value, 0.0))


def loss_of(excess: float) -> str:
    """Return a normalised loss that is known exactly as text: its excess to three digits."""
    return over_one(1 + max(excess, 0.0))


def told(excess: float, one: Mapping[str, Any], measure: str, digits: int = 3) -> str:
    """Return the normalised loss, or the skill, of a predictor with this excess on a run's task as text."""
    return loss_of(excess) if measure == "normalised_loss" else skill_text(skill_of(excess, one), digits)
