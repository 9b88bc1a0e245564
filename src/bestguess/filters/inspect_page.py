"""`filters inspect`: what every run of a folder has learnt, as a table, a page and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from bestguess.report.charts import Chart, Dash, Grid, Line, Picture
from bestguess.report.progress import over_one, results_table, two_digits
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
            found.append(_figures(_look(training, i, flags.sequences)))
    results = plain({"runs": found, "sequences": flags.sequences, "self_test": missed})
    names, chosen = [run.label(training.runs) for run in training.runs], _chosen(training)
    console.print(results_table(*_table(results["runs"], names)))
    for table in heads_page.tables(results["runs"][chosen], names[chosen]):
        console.print(results_table(*table))
    page_story = story(results, names, training.drawn()[:MANY], chosen)
    for one in page_story.pictures():
        save_figures(one.picture, flags.run / FIGURES, one.name)
    page = make_page(page_story).write(flags.run / PAGE)
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
        "standard_error": one.score.loss.standard_error,
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


def _table(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[list[str], list[list[Any]], str]:
    columns = ["run", "normalised loss", "memory", "response error", "nonlinear", "change"]
    rows = []
    for one, name in zip(found, names, strict=True):
        response, heads = one["response"], one["all_heads"]
        shares = response["relative_error"], response["nonlinearity"], response["change"]["model"]
        rows.append(
            [
                name,
                over_one(one["normalised_loss"], one["standard_error"]),
                memory_page.memory(one["equivalent_memory"], one),
                *(f"{share:.1%}" for share in shares),
                two_digits(response["linear_excess"]),
                *(f"{one['probe_r2'][at]:.3f}" for at in (0, -1)),
                two_digits(heads["excess"] + heads["fixed"]["rise"]),
            ]
        )
    columns += ["mean response", "R² first", "R² last", "attention fixed"]
    return columns, rows, "What was learnt, beside the Kalman filter"


def _chosen(training: Training) -> int:
    """Return the run that is shown alone: at the largest λ, selected on validation data."""
    return training.shown(max((run.setting for run in training.runs), key=lambda setting: setting[0]))


def story(results: Mapping[str, Any], names: Sequence[str], drawn: Sequence[int], chosen: int) -> Story:
    """Return the page from what JSON has: of all runs by name, the pictures of those `drawn`, and of one alone."""
    found, sequences = results["runs"], results["sequences"]
    one, name = found[chosen], names[chosen]
    shown = [(names[i], found[i]) for i in drawn]
    columns, rows, title = _table(found, names)
    response = one["response"]
    stats = [
        Stat(
            f"{response['relative_error']:.1%}", "error of the response", f"{name}; relative to the filter's, all lags"
        ),
        Stat(f"{response['nonlinearity']:.1%}", "nonlinear", f"{name}; how much the response depends on the sequence"),
        Stat(f"{one['probe_r2'][-1]:.3f}", "R² of the last layer's probe", f"{name}; to the filter's state estimate"),
        self_test_stat(results["self_test"]),
    ]
    lead = (
        "The Kalman filter is linear: its coefficients are the same for every sequence and, after the first steps, at "
        "every step. How close transformers come to that, what their layers know of the filter's state and what their "
        f"heads read, on {sequences} sequences that they were not trained on."
    )
    sections = [
        Section("", [Rows(columns, rows, f"{title}; columns are explained at the end of the page")]),
        Section(
            "Response",
            [
                Words(
                    "∂ŷ/∂y at each lag: the derivative of the next prediction by an observation that many steps back. "
                    "Its mean over sequences, and one standard deviation around it. A model that were linear would "
                    "have no band."
                ),
                Drawn("inspect_response", _responses(response, name)),
                Drawn("inspect_response_error", _errors(shown)),
            ],
        ),
        Section(
            "What layers know of the state",
            [
                Words(
                    "The filter keeps an estimate of the hidden state. A linear probe is fitted to read that estimate "
                    "from the residual stream after each layer: an R² of 1 is all of it, 0 is nothing."
                ),
                Drawn("inspect_probes", _probes(found, names, drawn)),
            ],
        ),
        heads_page.section(shown, name, one),
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


def _responses(response: Mapping[str, Any], name: str) -> Picture:
    mean, spread, exact = (np.asarray(response[key], float) for key in ("model", "spread", "filter"))
    lags, shown = np.arange(len(mean)), range(min(2, mean.shape[1]))

    def lines(i: int, j: int) -> list[Line]:
        middle, around = mean[:, i, j], spread[:, i, j]
        return [
            Line(lags, middle, middle - around, middle + around, name="transformer, mean ± s.d.", role="model"),
            Line(lags, exact[:, i, j], name="Kalman filter", role="oracle"),
        ]

    return Grid(
        f"Response to single observations ({name})",
        [Chart(f"ŷ{i + 1} to y{j + 1}", "lag (steps)", "coefficient", lines(i, j)) for i in shown for j in shown],
        f"After {response['seen']} steps. Rows are the predicted dimensions, columns the observed ones.",
        columns=len(shown),
    )


def _errors(shown: Sequence[tuple[str, Mapping[str, Any]]]) -> Picture:
    """Return the picture of each run's errors by lag: those that curves on top of one another do not show."""
    panels, sizes = [], []
    for name, one in shown:
        response = one["response"]
        mean, spread, exact = (np.asarray(response[key], float) for key in ("model", "spread", "filter"))
        size = [np.linalg.norm(part, axis=(1, 2)) for part in (exact, mean - exact, spread)]
        sizes.append(size)
        lags = np.arange(len(mean))
        lines = [
            Line(lags, size[0], name="Kalman filter", role="oracle"),
            Line(lags, size[1], name="error of the transformer's mean", role="model"),
            Line(lags, size[2], name="its standard deviation over sequences", role="baseline"),
        ]
        told = f"{name}: {response['relative_error']:.1%} off, {response['nonlinearity']:.1%} nonlinear"
        panels.append(Chart(told, "lag (steps)", "norm of the coefficients", lines, log_y=True))
    errors = np.concatenate([part[part > 0] for size in sizes for part in size[1:]])
    top = max(size[0].max() for size in sizes)
    if errors.size and errors.min() < top:  # the filter's own become small without end
        panels = [
            replace(panel, y_range=(float(errors.min()) / 2, 2 * float(max(top, errors.max())))) for panel in panels
        ]
    return Grid(
        "Error of the response by lag, every run",
        panels,
        "Norms over predicted and observed dimensions. Where the error is as large as the filter's own coefficients, "
        "the model no longer follows them.",
        columns=2,
    )


def _probes(found: Sequence[Mapping[str, Any]], names: Sequence[str], drawn: Sequence[int]) -> Picture:
    depth = np.arange(len(found[0]["probe_r2"]))
    lines = [Line(depth, found[i]["probe_r2"], name=names[i], shade=shade(i, drawn)) for i in drawn]
    controls: tuple[tuple[str, Dash], ...] = (("untrained", "dash"), ("shuffled", "dot"))
    for control, dash in controls:
        for i in drawn:
            told = control if i == drawn[0] else ""
            lines.append(Line(depth, found[i][f"probe_r2_{control}"], name=told, shade=shade(i, drawn), dash=dash))
    ticks: Mapping[float, str] = {float(d): "embedding" if d == 0 else f"layer {d}" for d in depth}
    return Chart(
        "Linear probes to the filter's state estimate",
        "residual stream after",
        "R² on held-out sequences",
        lines,
        "Dashed: the same model before its first step, so what it had not to learn. Dotted: each sequence's stream "
        "with another sequence's state.",
        x_ticks=ticks,
    )
