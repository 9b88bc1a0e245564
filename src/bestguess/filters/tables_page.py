"""The tables of a filters training, on the console and on its page: every run with AR(k) beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bestguess.config import Run
from bestguess.family import Trained
from bestguess.filters import memory_page
from bestguess.filters.systems import system_of
from bestguess.report.progress import over_one, skill_text
from bestguess.report.story import Rows


def table(training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
    """Return columns, rows and title of what the console shows of an evaluation, and of rollouts if there are some."""
    runs, evaluation, rolled = training.runs, results["evaluation"], results.get("rollouts")
    horizons = [h for h in runs[0].config.rollout.horizons if h in (2, 8, 32)] if rolled else []
    differ = lambda key: len({run.values[key] for run in runs}) > 1  # noqa: E731
    columns = ["λ"] + ["structure"] * differ("structure") + ["seed"] * differ("seed")
    columns += ["rate", "chosen"] * differ("learning_rate")
    compared = memory_page.known(evaluation)
    columns += ["predictor"] * compared + ["normalised loss", "skill"] + ["memory"] * compared
    columns += [*(f"t+{h}" for h in horizons), "sequences to skill 0.9"]
    rows = []
    for i, (run, one) in enumerate(zip(runs, evaluation["runs"])):
        row: list[Any] = [f"{one['lambda']:g}"] + [one["structure"]] * differ("structure")
        row += [run.seed] * differ("seed")
        row += [f"{run.learning_rate:g}", "←" if one["selected"] else ""] * differ("learning_rate")
        names = len(row)
        row += ["transformer"] * compared + [figure(one, "normalised_loss"), figure(one, "skill")]
        row += memory_page.cell(one)
        if rolled:
            ahead = [rolled["runs"][i]["horizons"][str(h)] for h in horizons]
            row += [over_one(x["normalised_loss"]) for x in ahead]
        rows.append([*row, _reached(one, "sequences_to_skill_0.9")])
        for name, excess, memory in memory_page.beside(one) if compared else ():
            told = (memory_page.told(excess, one, measure) for measure in ("normalised_loss", "skill"))
            row = [""] * names + [name, *told, memory]
            fed_back = rolled["runs"][i].get("ar_fitted", {}) if rolled and memory_page.FITTED in name else {}
            rows.append([*row, *(memory_page.loss_of(fed_back[str(h)]) if fed_back else "" for h in horizons), ""])
    rolling = "; t+h: rollouts" if rolled else ""
    if compared:
        rolling += "; memory: steps that the best linear predictor needs for the same loss"
    return columns, rows, f"Squared error over the Kalman filter's (1 is the best possible{rolling})"


def figure(one: Mapping[str, Any], measure: str) -> str:
    """Return a run's skill or normalised loss as text."""
    if measure == "skill":
        return skill_text(one["skill"])
    return over_one(one["normalised_loss"], one["standard_error"])


def tables(runs: Sequence[Run], evaluation: Mapping, rollouts: Mapping) -> list[Rows]:
    """Return the tables of a page: every run one step ahead and rolled out, each with AR(k), and AR(k) by k."""
    compared = memory_page.known(evaluation)
    varied = {key: len({run.values[key] for run in runs}) > 1 for key in ("structure", "learning_rate")}
    rows: list[list[Any]] = []
    for run, one in zip(runs, evaluation["runs"]):
        names = [
            f"{one['lambda']:g}",
            *[one["structure"]] * varied["structure"],
            run.seed,
            *[f"{run.learning_rate:g}" + (" ← chosen" if one["selected"] else "")] * varied["learning_rate"],
        ]
        rows.append(
            [
                *names,
                *["transformer"] * compared,
                over_one(one["normalised_loss"], one["standard_error"]),
                skill_text(one["skill"], 4),
                *memory_page.cell(one),
                f"{one['headroom']:.1%}",
                f"{system_of(run.config.task, run.seed).spectral_radius:.4g}",
                _reached(one, "sequences_to_skill_0.9"),
                _reached(one, "sequences_to_skill_0.99"),
                one["best_step"] if one["fault_step"] is None else f"{one['best_step']} (fault at {one['fault_step']})",
            ]
        )
        for name, excess, memory in memory_page.beside(one) if compared else ():
            told = (memory_page.told(excess, one, measure, 4) for measure in ("normalised_loss", "skill"))
            rows.append([*[""] * len(names), name, *told, memory, *[""] * 5])
    columns = [
        *("λ", *["structure"] * varied["structure"], "seed", *["learning rate"] * varied["learning_rate"]),
        *(*["predictor"] * compared, "normalised loss", "skill"),
        *(*["memory"] * compared, "headroom", "spectral radius"),
        *("sequences to 0.9", "to 0.99", "best step"),
    ]
    # What all runs have in common is said once: columns of it would push others out of the page.
    common = [f"structure {runs[0].values['structure']}"] * (not varied["structure"])
    common += [f"learning rate {runs[0].learning_rate:g}"] * (not varied["learning_rate"])
    horizons = list(rollouts["runs"][0]["horizons"])
    rolled = []
    for run, one in zip(runs, rollouts["runs"]):
        rolled.append([run.label(runs)] + [over_one(x["normalised_loss"]) for x in one["horizons"].values()])
        if "ar_fitted" in one:
            ahead = [memory_page.loss_of(one["ar_fitted"][h]) for h in horizons]
            rolled.append([f"{run.label(runs)}: AR(k) {memory_page.FITTED}", *ahead])
    return [
        Rows(columns, rows, "; ".join(["Every run, one step (one patch) ahead", *common])),
        Rows(
            ["run", *(f"t+{h}" for h in horizons)],
            rolled,
            "Every run, rolled out: squared error over the filter's own at that horizon",
        ),
        *(memory_page.orders(runs, evaluation) if compared else ()),
    ]


def _reached(one: Mapping[str, Any], key: str) -> int | str:
    if one["skill"] is None:
        return "no headroom"
    return "not reached" if one[key] is None else round(one[key])
