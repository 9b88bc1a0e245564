"""The memory of a training run: a formula, compared with what XLA reports for the compiled program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bestguess.family import Family
from bestguess.integers.config import CLASSES, IntegersConfig
from bestguess.workflow.flags import FromConfig, config_flags

if TYPE_CHECKING:
    from rich.console import Console

LIMIT = 8 * 10**9
"""Memory of the GPU that the original design names (docs/decisions.md)."""
_BYTES = 4


class Formula(NamedTuple):
    """Bytes of one run by the formula, part by part; float32 throughout."""

    parameters: int
    gradients: int
    moments: int
    """Adam's two, of every parameter."""
    activations: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(self)


def formula(config: IntegersConfig, parameters: int) -> Formula:
    """Return the bytes that one run of `config` needs, counted on paper.

    Parameters, gradients and Adam's two moments take 4 bytes each: 16 P in all. Of every token the
    backward pass needs the inputs of each block's products: with width D, hidden width F and context T,
    per head H,

        layers · (8 D + 2 F + 2 H T) + D + 2 · 256

    numbers: two normalised streams, the stream twice, q, k, v and what attention reads (8 D), the hidden
    layer before and after its nonlinearity (2 F), scores and weights (2 H T); then the last stream, the
    logits and their softmax. Times the T tokens of each of the sequences of a (micro-)batch.
    """
    model, tokens = config.model, config.task.length
    each = model.layers * (8 * model.d_model + 2 * model.hidden_dim + 2 * model.heads * tokens)
    each += model.d_model + 2 * CLASSES
    sequences = config.train.batch_size // config.train.accumulate
    moments = {"adamw": 2, "adam": 2, "sgd": 1}[config.train.optimizer]
    return Formula(
        _BYTES * parameters, _BYTES * parameters, moments * _BYTES * parameters, _BYTES * sequences * tokens * each
    )


def memory_flags(family: Family) -> type:
    """Return the flags of `integers memory`: the config's own."""
    help_text = "Estimate the memory of a training run, by a formula and as measured by XLA, compared with 8 GB."
    return config_flags(family, "MemoryFlags", help_text, FromConfig)


def memory(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Print the formula's parts beside XLA's figure for the compiled step, and whether they fit; return them."""
    import jax

    from bestguess.config import runs as every_run
    from bestguess.files import plain
    from bestguess.report.progress import results_table
    from bestguess.train.memory import gigabytes, program_memory
    from bestguess.train.program import Program
    from bestguess.workflow.training import make_training

    config = flags.config()
    config.check()
    training = make_training(family, Path(), every_run(config))
    problem, members, runs = training.problem, training.members, len(training.runs)
    one = jax.eval_shape(lambda: problem.init(jax.tree.map(lambda leaf: leaf[0], members.task), jax.random.key(0)))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(one))
    paper = formula(config, parameters)
    with console.status("compiling"):
        steps = min(config.train.validate_every, config.train.steps)
        measured = program_memory(Program(problem, config.train, members).compile(steps))
    table = sum(leaf.nbytes for leaf in jax.tree.leaves(problem))
    told = [(name, runs * getattr(paper, name)) for name in paper._fields]
    told += [("formula, in all", runs * paper.total), ("XLA, measured", measured)]
    console.print(
        f"{runs} run{'s' * (runs > 1)} of {parameters:,} parameters, batches of {config.train.batch_size} sequences"
    )
    console.print(results_table(["part", "MB"], [[name, f"{count / 1e6:,.3f}"] for name, count in told]))
    averaged = ", their average" * bool(config.train.average)
    fits = max(measured, runs * paper.total) <= LIMIT
    console.print(
        f"{'fits' if fits else 'does not fit'} into {gigabytes(LIMIT)}; XLA's figure holds the table of sequences "
        f"({gigabytes(table)}), the best weights so far{averaged}, the draws and the validation too, which the formula "
        "leaves out"
    )
    parts = {name: runs * value for name, value in paper._asdict().items()}
    return plain(
        {
            "runs": runs,
            "parameters": parameters,
            "formula": parts | {"total": runs * paper.total},
            "measured": measured,
            "table": table,
            "limit": LIMIT,
            "fits": fits,
        }
    )
