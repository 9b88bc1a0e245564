"""`filters inspect`: what every run of a folder has learnt, as a table, a page and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.command import UserError
from bestguess.config import Run
from bestguess.files import check_writable, plain, write_json
from bestguess.filters import heads_page, kalman, memory_page
from bestguess.filters.baselines import bounded_memory
from bestguess.filters.family import FAMILY
from bestguess.filters.flags import InspectFlags, refuse_unknown_systems
from bestguess.filters.heads import Heads, head_tests
from bestguess.filters.inspection import Probes, Response, changes, probes, response
from bestguess.filters.task import system_of
from bestguess.report.charts import Chart, Grid, Line, Picture
from bestguess.report.progress import over_one, results_table
from bestguess.report.render import save_figures
from bestguess.report.story import MANY, Drawn, Rows, Section, Stat, Story, Words, self_test_stat, shade
from bestguess.train.folder import FIGURES
from bestguess.train.problem import Purpose, member_key
from bestguess.workflow.report import make_page
from bestguess.workflow.training import Training, load_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.sampled import Score

LAGS = 32
"""Lags that pictures and JSON show."""
RESULTS, PAGE = "inspect.json", "inspect.html"


class Inspected(NamedTuple):
    """What is found of one run."""

    run: Run
    score: Score
    late: Response
    """After all steps but the last patch."""
    early: Response
    """After about half as many."""
    probes: Probes
    heads: Heads

    @property
    def drift(self) -> tuple[float, float]:
        """By how much the model's and the filter's response change between the two times."""
        return changes(self.early, self.late)


def inspect(flags: InspectFlags, console: Console) -> dict[str, Any]:
    """Look into every run of a folder; return its figures, and write the page."""
    if flags.sequences < 8:
        raise UserError(f"--sequences {flags.sequences}: at least 8, half of them to fit probes on")
    config = read_training_config(FAMILY, flags.run)
    refuse_unknown_systems(flags.run, config, "inspect a run on one system, beside its filter")
    check_writable(flags.run / RESULTS)
    training = load_training(FAMILY, flags.run, config)
    with console.status("self-test"):
        missed = max(training.evaluator(i).missed for i in range(len(training.runs)))
    console.print(f"self-test: the oracle has a regret of 0 within {missed:.0g} on this very path", style="dim")
    found = []
    for i in range(len(training.runs)):
        with console.status(f"run {i + 1} of {len(training.runs)}"):
            found.append(_look(training, i, flags.sequences))
    columns, rows, title = _table(found)
    console.print(results_table(columns, rows, title))
    chosen = _chosen(training)
    console.print(results_table(*heads_page.table(found[chosen].heads, training.runs[chosen].label(training.runs))))
    story = _story(training, found, missed, flags.sequences)
    for one in story.pictures():
        save_figures(one.picture, flags.run / FIGURES, one.name)
    page = make_page(story).write(flags.run / PAGE)
    results = plain({"runs": [_figures(one) for one in found], "sequences": flags.sequences, "self_test": missed})
    write_json(flags.run / RESULTS, results)
    console.print(f"page: {page}", soft_wrap=True)
    return plain(results | {"report": page})


def _look(training: Training, i: int, count: int) -> Inspected:
    run, model, task = training.runs[i], training.model(i), jax.tree.map(jnp.asarray, training.tasks[i])
    config, T, P = run.config, run.config.task.length, run.config.model.patch
    system = system_of(config.task, run.seed)
    L = kalman.cholesky_factor(system, T)
    key = member_key(jnp.asarray(run.seed), Purpose.PICTURE)
    keys = jax.random.split(key, count)
    y = jax.jit(jax.vmap(task.sample))(keys)
    untrained = training.problem.init(task, member_key(jnp.asarray(run.seed), Purpose.INIT))
    late = T - P
    early = max(1, late // P // 2) * P
    return Inspected(
        run,
        training.evaluator(i)(training.predictor(i), ("evaluation",)).one_step.score,
        response(model, system, y, L, late),
        response(model, system, y, L, early),
        probes(model, untrained, system, y),
        head_tests(model, task, y, jax.random.fold_in(key, 1), count),
    )


def _figures(one: Inspected) -> dict[str, Any]:
    """Return one run's figures as JSON has them."""
    config = one.run.config
    bounded = bounded_memory(config.task, one.run.seed, config.model.patch)
    late, loss = one.late, one.score.loss.mean
    return {
        **one.run.values,
        "normalised_loss": loss,
        "skill": one.score.recorded_skill,
        "excess": loss - 1,
        "equivalent_memory": bounded.equivalent(loss),
        "ar": {str(k): bounded.invariant[k] for k in bounded.orders},
        "response": {
            "model": late.mean[:LAGS],
            "spread": late.spread[:LAGS],
            "filter": late.filter[:LAGS],
            "relative_error": late.relative_error,
            "nonlinearity": late.nonlinearity,
            "linear_excess": late.linear_excess,
            "seen": late.seen,
            "change": {"from": one.early.seen, "model": one.drift[0], "filter": one.drift[1]},
        },
        "probe_r2": one.probes.r2,
        "probe_r2_shuffled": one.probes.shuffled,
        "probe_r2_untrained": one.probes.untrained,
        **heads_page.figures(one.heads, LAGS),
    }


def _table(found: Sequence[Inspected]) -> tuple[list[str], list[list[Any]], str]:
    runs = [one.run for one in found]
    columns = ["run", "normalised loss", "memory", "response error", "nonlinear", "change"]
    rows = []
    for one in found:
        figures = _figures(one)
        rows.append(
            [
                one.run.label(runs),
                over_one(*one.score.loss[:2]),
                memory_page.memory(figures["equivalent_memory"], figures),
                *(f"{share:.1%}" for share in (one.late.relative_error, one.late.nonlinearity, one.drift[0])),
                f"{one.late.linear_excess:.2g}",
                *(f"{one.probes.r2[at]:.3f}" for at in (0, -1)),
                f"{one.heads.excess + one.heads.all_fixed.mean:.2g}",
            ]
        )
    columns += ["mean response", "R² first", "R² last", "attention fixed"]
    return columns, rows, "What was learnt, beside the Kalman filter"


def _chosen(training: Training) -> int:
    """Return the run that is shown alone: at the largest λ, selected on validation data."""
    return training.shown(max((run.setting for run in training.runs), key=lambda setting: setting[0]))


def _story(training: Training, found: Sequence[Inspected], missed: float, sequences: int) -> Story:
    runs, drawn = training.runs, training.drawn()[:MANY]
    one = found[_chosen(training)]
    name = one.run.label(runs)
    columns, rows, title = _table(found)
    stats = [
        Stat(f"{one.late.relative_error:.1%}", "error of the response", f"{name}; relative to the filter's, all lags"),
        Stat(f"{one.late.nonlinearity:.1%}", "nonlinear", f"{name}; how much the response depends on the sequence"),
        Stat(f"{one.probes.r2[-1]:.3f}", "R² of the last layer's probe", f"{name}; to the filter's state estimate"),
        self_test_stat(missed),
    ]
    lead = (
        "The Kalman filter predicts with fixed coefficients. These are the transformer's: the derivatives of its "
        f"prediction by what it has seen, over {sequences} sequences that it was not trained on."
    )
    sections = [
        Section("", [Rows(columns, rows, title)]),
        Section(
            "Response",
            [
                Words(
                    "∂ŷ/∂y at each lag: the mean over sequences, and one standard deviation around it. A model that "
                    "were linear would have no band."
                ),
                Drawn("inspect_response", _responses(one, name)),
                Drawn("inspect_responses", _of_runs([found[i] for i in drawn], runs)),
            ],
        ),
        Section("What layers know of the state", [Drawn("inspect_probes", _probes(found, drawn, runs))]),
        heads_page.section([(found[i].run.label(runs), found[i].heads) for i in drawn], name, one.heads, LAGS),
        Section("How this was made", [Words(_HOW)]),
    ]
    return Story("What the transformers have learnt", lead, stats, sections)


_HOW = (
    "- **Response error**: ‖J̄ − H‖ / ‖H‖ over all lags, J̄ the mean Jacobian of the last prediction over sequences, H "
    "the Kalman filter's coefficients, from the Cholesky factor of the observations' covariance.\n"
    "- **Nonlinear**: √E‖J − J̄‖² / ‖J̄‖; 0 for a linear model, whose Jacobian is the same for every sequence.\n"
    "- **Change**: by how much the response differs between the middle and the end of the sequence, over ‖J̄‖; the "
    "filter's own settles early (JSON has both).\n"
    "- **Mean response**, its excess: the regret of J̄ as a linear filter, over the filter's error, exactly: what "
    "of the model's excess its coefficients alone explain.\n"
    "- **R²** of linear probes from the residual stream to the filter's state estimate after the same token, first (of "
    "the embedding) to last (of the last layer): fitted on one half of the sequences, judged on the other. *Shuffled*: "
    "each sequence's stream beside another sequence's state. *Untrained*: the same model before its first step, which "
    "attends and mixes too.\n"
    "- **Attention fixed**: the excess with the attention of every head replaced by its mean lag profile.\n"
    + heads_page.HOW
    + "- **Memory**: the k for which the best linear predictor of the last k steps has the same loss."
)


def _lines(one: Response, row: int, column: int) -> list[Line]:
    lags = np.arange(min(LAGS, one.seen))
    at = (slice(0, len(lags)), row, column)
    mean, spread = one.mean[at], one.spread[at]
    return [
        Line(lags, mean, mean - spread, mean + spread, name="transformer, mean ± s.d.", role="model"),
        Line(lags, one.filter[at], name="Kalman filter", role="oracle"),
    ]


def _responses(one: Inspected, name: str) -> Picture:
    shown = range(min(2, one.late.mean.shape[1]))
    return Grid(
        f"Response to single observations ({name})",
        [
            Chart(f"ŷ{i + 1} to y{j + 1}", "lag (steps)", "coefficient", _lines(one.late, i, j))
            for i in shown
            for j in shown
        ],
        f"After {one.late.seen} steps. Rows are the predicted dimensions, columns the observed ones.",
        columns=len(shown),
    )


def _of_runs(found: Sequence[Inspected], runs: Sequence[Run]) -> Picture:
    panels = [
        Chart(
            f"{one.run.label(runs)}: {one.late.relative_error:.0%} off, {one.late.nonlinearity:.0%} nonlinear",
            "lag (steps)",
            "coefficient",
            _lines(one.late, 0, 0),
        )
        for one in found
    ]
    return Grid("Response of ŷ1 to y1, every run", panels, "The dashed line is exact.", columns=2)


def _probes(found: Sequence[Inspected], drawn: Sequence[int], runs: Sequence[Run]) -> Picture:
    depth = np.arange(len(found[0].probes.r2))
    lines = []
    for i in drawn:
        one = found[i].probes
        colour = shade(i, drawn)
        lines.append(Line(depth, np.array(one.r2), name=found[i].run.label(runs), shade=colour))
        for name, values, dash in (("untrained", one.untrained, "dash"), ("shuffled", one.shuffled, "dot")):
            told = name if i == drawn[0] else ""
            lines.append(Line(depth, np.array(values), name=told, shade=colour, dash=dash))  # type: ignore[arg-type]
    ticks: Mapping[float, str] = {float(d): "embedding" if d == 0 else f"layer {d}" for d in depth}
    return Chart(
        "Linear probes to the filter's state estimate",
        "residual stream after",
        "R² on held-out sequences",
        lines,
        "1: the state that the filter keeps can be read off linearly. What a model has before its first step, it need "
        "not have learnt.",
        x_ticks=ticks,
    )
