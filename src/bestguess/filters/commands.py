"""The filters family's own commands: rollout, and the quickstart."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from bestguess.files import plain
from bestguess.filters import memory_page
from bestguess.filters.config import small
from bestguess.filters.family import FAMILY
from bestguess.filters.flags import QuickstartFlags, RolloutFlags, refuse_unknown_systems
from bestguess.filters.tables_page import figure
from bestguess.report.progress import results_table
from bestguess.workflow.commands import evaluate_training, overridden, print_results, train_config
from bestguess.workflow.training import load_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console


def rollout(flags: RolloutFlags, console: Console) -> dict[str, Any]:
    """Roll every run of a folder out and return its figures."""
    config = read_training_config(FAMILY, flags.run)
    refuse_unknown_systems(
        flags.run, config, "there are no rollouts: even the best prediction, fed back, would move what is known of them"
    )
    config = dataclasses.replace(config, rollout=overridden(config.rollout, flags, check=False))
    config.check()
    training = load_training(FAMILY, flags.run, config)
    found = evaluate_training(training, console, ("rollouts",))["rollouts"]
    horizons = config.rollout.horizons
    for measure, title in (("normalised_loss", "Squared error over the filter's own"), ("skill", "Skill")):
        rows = []
        for run, one in zip(training.runs, found["runs"]):
            ahead = [one["horizons"][str(h)] for h in horizons]
            rows.append([run.label(training.runs), *(figure(own, measure) for own in ahead)])
            fitted = [one["ar_fitted"][str(h)] for h in horizons]
            told = [memory_page.told(excess, own, measure) for excess, own in zip(fitted, ahead)]
            rows.append([f"{run.label(training.runs)}: AR(k) {memory_page.FITTED}", *told])
        console.print(results_table(["run", *(f"t+{h}" for h in horizons)], rows, title))
    return plain(found)


def quickstart(flags: QuickstartFlags, console: Console) -> dict[str, Any]:
    """Train the small preset at several λ at once and return how close each comes to the Kalman filter."""
    began = time.perf_counter()
    base = small()
    config = dataclasses.replace(
        base,
        task=dataclasses.replace(base.task, lambda_=flags.lambda_),
        train=dataclasses.replace(
            base.train,
            steps=flags.steps,
            first_seed=flags.seed,
            warmup_steps=min(base.train.warmup_steps, flags.steps // 10),
        ),
    )
    config.check()
    console.print(
        f"{len(flags.lambda_)} transformers learn to predict noisy linear systems, compared with the Kalman filter, "
        "the best possible predictor. λ is the largest eigenvalue modulus of the system: how long its past matters."
    )
    training, results, page = train_config(FAMILY, config, console, flags.out)
    seconds = time.perf_counter() - began
    print_results(training, results, console)
    console.print(
        "Normalised loss is 1 for the Kalman filter. Skill is the fraction of the headroom gained: 0 is the best "
        "constant, 1 the filter. Memory is the number of past steps from which the best linear predictor has the same "
        "loss. Rollouts feed predictions back; their unit is the filter's own h-step error."
    )
    console.print(f"page: {page}   ({seconds:.0f} s)", soft_wrap=True)
    keys = ("lambda", "normalised_loss", "standard_error", "skill", "equivalent_memory", "ar", "ar_fitted", "rollout")
    runs = [{key: one[key] for key in keys} for one in FAMILY.works.answer(results)["runs"]]
    return plain({"runs": runs, "report": page, "seconds": seconds})
