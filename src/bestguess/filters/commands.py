"""The commands of the filters family: train, evaluate, rollout, report, and the quickstart."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import Failure, UserError
from bestguess.filters.config import (
    EvaluateFlags,
    FiltersConfig,
    QuickstartFlags,
    ReportFlags,
    RolloutFlags,
    TrainFlags,
    small,
)
from bestguess.filters.evaluate import (
    Score,
    evaluate,
    evaluate_rollouts,
    run_of,
    selected,
    self_test,
    sequences_to_skill,
)
from bestguess.filters.problem import FilterProblem, make_members
from bestguess.filters.report import write_report
from bestguess.report.progress import PartsProgress, results_table, with_error
from bestguess.report.trackers import METRICS_FILE, open_trackers, read_metrics
from bestguess.train.checkpoint import lock
from bestguess.train.config import from_dict, to_dict
from bestguess.train.cores import use_cores
from bestguess.train.ensemble import Member, State
from bestguess.train.fit import fit, load_fitted, resumed_steps
from bestguess.train.folder import (
    CHECKPOINTS,
    new_folder,
    plain,
    read_config,
    read_json,
    write_config,
    write_json,
)

if TYPE_CHECKING:
    from rich.console import Console

EVALUATION, ROLLOUTS, TRAINING = "evaluation.json", "rollouts.json", "training.json"
SKILL_LEVELS = (0.9, 0.99)


def train(flags: TrainFlags, console: Console) -> dict[str, Any]:
    """Train, evaluate, roll out, write the page; return every run's figures and the best of each setting."""
    began = time.perf_counter()
    use_cores()
    if flags.resume is not None:
        folder, config = flags.resume, _config(flags.resume)
    else:
        config = flags.config()
        config.check()
        make_members(config)  # a bad system is told before a folder is made
        folder = new_folder("filters", flags.out)
    with lock(folder):
        if flags.resume is None:
            write_config(folder, "filters", to_dict(config))
        _train(folder, config, flags.track, resume=flags.resume is not None, console=console)
        result = _evaluate(folder, config, console)
        rolled = _rollout(folder, config, console, result["self_test"])
        page = write_report(folder, config)
    _print_evaluation(config, result, console, rolled)
    console.print(f"page: {page}", soft_wrap=True)
    return plain(
        {
            "runs": [one | {"rollout": r["horizons"]} for one, r in zip(result["runs"], rolled["runs"])],
            "best": result["best"],
            "training": read_json(folder / TRAINING),
            "run": folder,
            "report": page,
            "seconds": time.perf_counter() - began,
        }
    )


def evaluate_run(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Evaluate every run of a folder on test sequences."""
    config = _config(flags.run)
    if flags.test_sequences is not None:
        config = dataclasses.replace(config, test_sequences=flags.test_sequences)
        config.check()
    result = _evaluate(flags.run, config, console)
    _print_evaluation(config, result, console)
    return plain(result)


def rollout_run(flags: RolloutFlags, console: Console) -> dict[str, Any]:
    """Roll every run of a folder out."""
    config = _config(flags.run)
    given = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(config.rollout)
        if getattr(flags, field.name) is not None
    }
    config = dataclasses.replace(config, rollout=dataclasses.replace(config.rollout, **given))
    config.check()
    result = _rollout(flags.run, config, console)
    runs, horizons = config.runs(), config.rollout.horizons
    for measure, title in (("normalised_loss", "Squared error over the filter's own"), ("skill", "Skill")):
        rows = [
            [run.label(runs), *(_figure(one["horizons"][str(h)], measure) for h in horizons)]
            for run, one in zip(runs, result["runs"])
        ]
        console.print(results_table(["run", *(f"t+{h}" for h in horizons)], rows, title))
    return plain(result)


def report_run(flags: ReportFlags, console: Console) -> dict[str, Any]:
    """Write a folder's page and figures from what training, evaluation and rollouts left in it."""
    config = _config(flags.run)
    for name, command in ((EVALUATION, "evaluate"), (ROLLOUTS, "rollout")):
        if not (flags.run / name).exists():
            raise UserError(f"{flags.run}: has no {name} yet; run bestguess filters {command} {flags.run} first")
    page = write_report(flags.run, config)
    console.print(f"page: {page}", soft_wrap=True)
    return plain({"report": page})


def quickstart(flags: QuickstartFlags, console: Console) -> dict[str, Any]:
    """Train the small preset at several λ at once and show how close each comes to the Kalman filter."""
    began = time.perf_counter()
    use_cores()
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
    make_members(config)
    folder = new_folder("filters", flags.out)
    console.print(
        f"{len(flags.lambda_)} transformers learn to predict noisy linear systems, beside the Kalman filter, the best "
        "possible guess. λ is the largest eigenvalue modulus of the system: how long its past matters."
    )
    with lock(folder):
        write_config(folder, "filters", to_dict(config))
        _train(folder, config, (), resume=False, console=console)
        result = _evaluate(folder, config, console)
        rolled = _rollout(folder, config, console, result["self_test"])
        page = write_report(folder, config)
    seconds = time.perf_counter() - began
    _print_evaluation(config, result, console, rolled)
    console.print(
        "Normalised loss is 1 for the Kalman filter. Skill is the share gained of what there is to gain over the best "
        "constant. Rollouts feed predictions back; they are scored against the filter's own h-step error."
    )
    console.print(f"page: {page}   ({seconds:.0f} s)", soft_wrap=True)
    keys = ("lambda", "normalised_loss", "standard_error", "skill")
    runs = [
        {key: one[key] for key in keys} | {"rollout": r["horizons"]} for one, r in zip(result["runs"], rolled["runs"])
    ]
    return plain({"runs": runs, "report": page, "seconds": seconds})


def _config(folder: Path) -> FiltersConfig:
    config = from_dict(FiltersConfig, read_config(folder, "filters"), f"{folder}/config.yaml: ", complete=True)
    config.check()
    return config


def _train(folder: Path, config: FiltersConfig, track: tuple[str, ...], *, resume: bool, console: Console) -> None:
    runs = config.runs()
    members = make_members(config)
    own = [
        {"lambda": r.lambda_, "structure": r.structure, "seed": r.seed, "learning_rate": r.learning_rate} for r in runs
    ]
    say = lambda line: console.print(f"[dim]{line}[/dim]")  # noqa: E731
    problem = FilterProblem(config.model)
    resumed = resumed_steps(problem, config.train, members, folder / CHECKPOINTS) if resume else None
    with (
        open_trackers(track, folder, to_dict(config), own, resumed) as trackers,
        PartsProgress(console, config.train.steps, len(runs), resumed=resumed or ()) as progress,
    ):
        faults: set[int] = set()

        def on_chunk(part_runs: range, step: int, metrics: dict[str, np.ndarray]) -> None:
            for i, run in enumerate(part_runs):
                fault = int(metrics["fault_step"][i])
                if fault >= 0 and run not in faults:
                    faults.add(run)
                    say(f"{runs[run].label(runs)}: loss not finite at step {fault}; this run stops, others go on")
                names = ("train_loss", "normalised_loss", "skill", "gradient_norm", "learning_rate")
                values = {name: float(metrics[name][i]) for name in names}
                trackers.log(step, run, {"sequences": step * config.train.batch_size, **values})
            progress.update(part_runs, step, metrics["train_loss"], metrics["normalised_loss"])

        fitted = fit(problem, config.train, members, folder / CHECKPOINTS, on_chunk=on_chunk, say=say)
        trackers.finish(
            [
                {"best_normalised_loss": float(fitted.best_score[i]), "best_step": int(fitted.best_step[i])}
                for i in range(len(runs))
            ]
        )
    if fitted.run_steps:
        write_json(
            folder / TRAINING,
            {
                "seconds": fitted.seconds,
                "run_steps": fitted.run_steps,
                "run_steps_per_second": fitted.run_steps_per_second,
                "device": _device(),
            },
        )
        count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
        say(f"trained {count} in {fitted.seconds:.1f} s: {fitted.run_steps_per_second:,.1f} run-steps/s")
    if not np.isfinite(fitted.best_score).any():
        raise Failure(f"no run had a finite validation loss; lower --learning-rate ({folder} keeps the figures)")


def _device() -> str:
    import jax

    return f"{len(jax.devices())} × {jax.devices()[0].device_kind}"


def _load(folder: Path, config: FiltersConfig) -> tuple[Member, State]:
    members = make_members(config)
    return members, load_fitted(FilterProblem(config.model), config.train, members, folder / CHECKPOINTS)


def _self_test(config: FiltersConfig, members: Member, console: Console) -> float:
    """Send the exact filter of every system through the evaluation and the rollouts; return its largest miss."""
    with console.status("self-test"):
        systems = {(run.setting, run.seed): i for i, run in enumerate(config.runs())}
        worst = max(self_test(config, config.runs()[i], run_of(members.task, i)) for i in systems.values())
    console.print(f"[dim]self-test: the exact filter scores 1 within {worst:.0e} through this very path[/dim]")
    return worst


def _evaluate(folder: Path, config: FiltersConfig, console: Console) -> dict[str, Any]:
    """Self-test, then every run's figures; kept in evaluation.json."""
    members, state = _load(folder, config)
    worst = _self_test(config, members, console)
    runs = config.runs()
    rates = selected(runs, np.asarray(state.best_score))
    lines = read_metrics(folder / METRICS_FILE)
    results = []
    with console.status("evaluating"):
        for i, run in enumerate(runs):
            task = run_of(members.task, i)
            evaluation = evaluate(config, run, run_of(state.best, i), task, config.test_sequences)
            own = {line["step"]: line for line in lines if line["run"] == i}
            curve = [own[step] for step in sorted(own)]
            sequences = np.array([line["sequences"] for line in curve], float)
            skills = np.array([line["skill"] for line in curve], float)
            results.append(
                {
                    "run": i,
                    "lambda": run.lambda_,
                    "structure": run.structure,
                    "seed": run.seed,
                    "learning_rate": run.learning_rate,
                    "selected": rates[run.setting] == run.learning_rate,
                    **_score(evaluation.score),
                    "validation_loss": float(state.best_score[i]),
                    "best_step": int(state.best_step[i]),
                    "fault_step": int(state.fault_step[i]) if state.fault_step[i] >= 0 else None,
                    **{f"sequences_to_skill_{s:g}": sequences_to_skill(sequences, skills, s) for s in SKILL_LEVELS},
                    "regret_by_step": evaluation.by_step,
                }
            )
    best = []
    for setting, rate in rates.items():
        chosen = [r for r in results if (r["lambda"], r["structure"]) == setting and r["learning_rate"] == rate]
        losses = np.array([r["normalised_loss"] for r in chosen])
        best.append(
            {
                "lambda": setting[0],
                "structure": setting[1],
                "learning_rate": rate,
                "normalised_loss": losses.mean(),
                "standard_error_over_seeds": losses.std(ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else None,
                "seeds": len(losses),
            }
        )
    result = plain({"runs": results, "best": best, "self_test": worst, "test_sequences": config.test_sequences})
    write_json(folder / EVALUATION, result)
    return result


def _rollout(folder: Path, config: FiltersConfig, console: Console, tested: float | None = None) -> dict[str, Any]:
    """Every run's rollouts, kept in rollouts.json; after a self-test, unless this process has just passed it."""
    members, state = _load(folder, config)
    worst = _self_test(config, members, console) if tested is None else tested
    runs = config.runs()
    results: list[dict[str, Any]] = []

    def say(line: str) -> None:
        if not results:  # every run needs the same
            console.print(f"[dim]{line}[/dim]")

    seconds = []
    with console.status("rolling out"):
        for i, run in enumerate(runs):
            task = run_of(members.task, i)
            began = time.perf_counter()
            rolled = evaluate_rollouts(config.rollout, run, run_of(state.best, i), task, say)
            seconds.append(time.perf_counter() - began)
            scores = {str(h): _score(score) for h, score in zip(rolled.horizons, rolled.scores)}
            results.append({"run": i, "lambda": run.lambda_, "structure": run.structure, "horizons": scores})
    result = plain(
        {
            "runs": results,
            "context": config.rollout.context,
            "rollouts": config.rollout.rollouts,
            "self_test": worst,
            "seconds_by_run": seconds,
        }
    )
    write_json(folder / ROLLOUTS, result)
    return result


def _score(score: Score) -> dict[str, Any]:
    return {
        "normalised_loss": score.loss.mean,
        "standard_error": score.loss.standard_error,
        "sequences": score.loss.sequences,
        "skill": score.skill,
        "headroom": score.headroom,
    }


def _figure(one: dict[str, Any], measure: str) -> str | None:
    if measure == "skill":
        return "no headroom" if one["skill"] is None else f"{one['skill']:.3f}"
    return with_error(one["normalised_loss"], one["standard_error"])


def _print_evaluation(
    config: FiltersConfig, result: dict[str, Any], console: Console, rolled: dict[str, Any] | None = None
) -> None:
    runs = config.runs()
    horizons = [h for h in config.rollout.horizons if h in (2, 8, 32)] if rolled else []
    several_rates = len({run.learning_rate for run in runs}) > 1
    columns = ["λ"] + ["structure"] * (len(config.task.structure) > 1) + ["seed"] * (config.train.seeds > 1)
    columns += ["rate", "chosen"] * several_rates
    columns += ["normalised loss", "skill", *(f"t+{h}" for h in horizons), "sequences to skill 0.9"]
    rows = []
    for i, (run, one) in enumerate(zip(runs, result["runs"])):
        row: list[Any] = [f"{run.lambda_:g}"] + [run.structure] * (len(config.task.structure) > 1)
        row += [run.seed] * (config.train.seeds > 1)
        row += [f"{run.learning_rate:g}", "←" if one["selected"] else ""] * several_rates
        row += [_figure(one, "normalised_loss"), _figure(one, "skill")]
        if rolled:
            ahead = [rolled["runs"][i]["horizons"][str(h)] for h in horizons]
            row += [f"{x['normalised_loss']:.5f}" for x in ahead]
        reached = one["sequences_to_skill_0.9"]
        rows.append(
            [*row, "no headroom" if one["skill"] is None else "not reached" if reached is None else round(reached)]
        )
    rolling = "; t+h: rollouts" if rolled else ""
    console.print(
        results_table(columns, rows, f"Squared error over the Kalman filter's (1 is the best possible{rolling})")
    )
