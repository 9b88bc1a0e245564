"""The commands on a trained folder: evaluate, report, generate, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError
from bestguess.integers.answers import as_json, probability
from bestguess.integers.config import IntegersConfig
from bestguess.integers.decode import beam_search, generate
from bestguess.integers.evaluate import best_run, evaluation_of_all, evaluations, run_of
from bestguess.integers.explain import guesses, parse_terms
from bestguess.integers.flags import EvaluateFlags, ExportFlags, GenerateFlags, ReportFlags
from bestguess.integers.oracle import oracle_of
from bestguess.integers.portable import save_portable
from bestguess.integers.problem import make_members, make_problem
from bestguess.integers.report import EVALUATION, labelled, write_report
from bestguess.report.progress import results_table
from bestguess.train.checkpoint import named_leaves
from bestguess.train.config import from_dict
from bestguess.train.ensemble import State
from bestguess.train.fit import load_fitted
from bestguess.train.folder import CHECKPOINTS, plain, read_config, write_json

if TYPE_CHECKING:
    from rich.console import Console


def read(folder: Path) -> IntegersConfig:
    """Return the config of a folder that `integers train` left behind."""
    config = from_dict(IntegersConfig, read_config(folder, "integers"), f"{folder}/config.yaml: ", complete=True)
    config.check()
    return config


def load(folder: Path, config: IntegersConfig) -> State:
    """Return what the folder's runs learnt, with a leading run axis."""
    return load_fitted(make_problem(config), config.train, make_members(config), folder / CHECKPOINTS)


def evaluate(folder: Path, config: IntegersConfig, console: Console) -> dict[str, Any]:
    """Self-test, then the figures of every run and of several together; kept in evaluation.json and printed."""
    state = load(folder, config)
    oracle = oracle_of(config.task)
    with console.status("self-test"):
        worst = oracle.self_test()
    console.print(f"[dim]self-test: the oracle has regret 0 within {worst:.0e} through this very path[/dim]")
    with console.status("evaluating"):
        results = list(evaluations(config, state, oracle))
        together = evaluation_of_all(state, oracle)
    result = plain({"runs": results, "together": together, "self_test": worst, "rows": len(oracle.table.rows)})
    write_json(folder / EVALUATION, result)
    rows = []
    for label, one in labelled(config.runs(), result):
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
                ]
            )
    columns = ["run", "rows", "accuracy", "of the oracle's", "regret (nats)", "distance", "mean regret (nats)"]
    length = config.task.length
    console.print(results_table(columns, rows, f"After {length} terms"))
    console.print(f"exact sums over a table of {result['rows']:,} sequences; mean regret: after 1 to {length} terms")
    return result


def evaluate_run(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Evaluate every run of a folder."""
    return evaluate(flags.run, read(flags.run), console)


def report_run(flags: ReportFlags, console: Console) -> dict[str, Any]:
    """Write a folder's page and figures from what training and evaluation left in it."""
    config = read(flags.run)
    if not (flags.run / EVALUATION).exists():
        raise UserError(f"{flags.run}: has no {EVALUATION} yet; run bestguess integers evaluate {flags.run} first")
    page = write_report(flags.run, config, load(flags.run, config))
    console.print(f"page: {page}", soft_wrap=True)
    return plain({"report": page})


def generate_run(flags: GenerateFlags, console: Console) -> dict[str, Any]:
    """Go on with a sequence; print and return each new term with the model's guesses and the oracle's."""
    _check(flags)
    config = read(flags.run)
    length = config.task.length
    terms = parse_terms(flags.terms, length)
    state = load(flags.run, config)
    model = run_of(state.best, best_run(config, state, flags.number))
    if flags.beams > 1:
        found = beam_search(model, terms, flags.steps, length, flags.beams, flags.method)
    else:
        one = generate(
            model, terms, flags.steps, length, method=flags.method, temperature=flags.temperature, seed=flags.seed
        )
        found = [one]
    first, oracle = found[0], oracle_of(config.task)
    steps, rows, apart, unknown = [], [], [], False
    for i, term in enumerate(first.terms):
        window = [*terms, *first.terms[:i]][-length:]
        p, best = first.probabilities[i], oracle.predict(window)
        differ = best is not None and bool(best[p.argmax()] < best.max() - 1e-9)
        unknown |= best is None
        apart += [len(terms) + i + 1] if differ else []
        steps.append(
            {
                "term": term,
                "next": as_json(p),
                "oracle": [] if best is None else as_json(best),
                "differ": None if best is None else differ,
            }
        )
        told = "nothing fits" if best is None else _told(best, flags.top)
        rows.append([f"{len(terms) + i + 1}", f"{term}", _told(p, flags.top), told, "differ" if differ else ""])
    title = f"{', '.join(map(str, terms))} goes on {', '.join(map(str, first.terms))}"
    console.print(results_table(["place", "term", "model", "oracle", ""], rows, title))
    if apart:
        console.print(f"model and oracle differ on the best guess at place {', '.join(map(str, apart))}")
    elif not unknown:
        console.print("model and oracle agree on every best guess")
    if unknown:
        console.print("where nothing fits, no recurrence of the generator begins with the terms in the window")
    if len(terms) + flags.steps > length + 1:
        console.print(f"[dim]both see the last {length} terms[/dim]")
    beams = [{"terms": one.terms, "log_probability": one.log_probability} for one in found]
    if flags.beams > 1:
        table = [[f"{one.log_probability:.3f}", ", ".join(map(str, one.terms))] for one in found]
        console.print(results_table(["log p (nats)", "terms"], table, f"The {len(found)} beams"))
    return plain({"terms": first.terms, "log_probability": first.log_probability, "steps": steps, "beams": beams})


def export_run(flags: ExportFlags, console: Console) -> dict[str, Any]:
    """Write one run's best weights as one file."""
    config = read(flags.run)
    state = load(flags.run, config)
    number = best_run(config, state, flags.number)
    weights = {name: np.asarray(leaf) for name, leaf in named_leaves(run_of(state.best, number))}
    try:
        path = save_portable(flags.out, config, weights, flags.half)
    except OverflowError as error:
        raise UserError(f"--half: {error}; leave it out") from error
    size = path.stat().st_size
    console.print(f"run {number}: {sum(w.size for w in weights.values()):,} parameters, {size:,} bytes: {path}")
    return plain({"model": path, "number": number, "bytes": size})


def _check(flags: GenerateFlags) -> None:
    for name in ("steps", "beams", "top"):
        if getattr(flags, name) < 1:
            raise UserError(f"--{name} {getattr(flags, name)}: must be positive")
    if not 0 <= flags.temperature < float("inf"):
        raise UserError(f"--temperature {flags.temperature:g}: must be finite and not negative")
    if flags.beams > 1 and flags.temperature > 0:
        raise UserError(f"--beams {flags.beams}: searches for the most probable terms; drop --temperature")
    if flags.beams > 1 and flags.method == "parallel":
        raise UserError("--method parallel: guesses one sequence; a beam search takes cached or naive")


def _told(p: np.ndarray, top: int) -> str:
    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in guesses(p, top))
