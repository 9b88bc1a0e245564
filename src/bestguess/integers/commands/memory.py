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


AMD = (
    "AMD cards: nothing here was ever run on one. JAX has a ROCm build for Linux; AMD's list of supported cards does "
    "not name the RX 6600"
)
"""What is known of the original design's own card, the AMD Radeon RX 6600 with 8 GB."""


class Original(NamedTuple):
    """Bytes of one run by the original design's formula, line by line; float32 throughout."""

    embedding: int
    """num_embeddings · embedding_dim · 4."""
    layers: int
    """num_layers · (2 · (embedding_dim · num_heads · seq_length · 4) + feed_forward_dim · seq_length · 4)."""
    batch: int
    """batch_size · seq_length · embedding_dim · 4."""
    intermediate_low: int
    """2 times the forward pass, which is what layers and batch take."""
    intermediate_high: int
    """3 times the forward pass."""

    @property
    def total(self) -> int:
        """The sum, with the larger of the two factors."""
        return self.embedding + self.layers + self.batch + self.intermediate_high


def original(config: IntegersConfig) -> Original:
    """Return the bytes of one run by the original design's formula, whose letters are those of `Original`."""
    model, terms = config.model, config.task.length
    layer = 2 * (model.d_model * model.heads * terms * _BYTES) + model.hidden_dim * terms * _BYTES
    layers = model.layers * layer
    batch = config.train.batch_size * terms * model.d_model * _BYTES
    return Original(CLASSES * model.d_model * _BYTES, layers, batch, 2 * (layers + batch), 3 * (layers + batch))


class Formula(NamedTuple):
    """Bytes of one run by our formula, part by part; float32 throughout."""

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
    moments = {"adamw": 2, "adam": 2, "sgd": 1, "muon": 2}[config.train.optimizer]
    return Formula(
        _BYTES * parameters, _BYTES * parameters, moments * _BYTES * parameters, _BYTES * sequences * tokens * each
    )


def memory_flags(family: Family) -> type:
    """Return the flags of `integers memory`: the config's own."""
    help_text = "Estimate the memory of a training run, by a formula and as measured by XLA, compared with 8 GB."
    return config_flags(family, "MemoryFlags", help_text, FromConfig)


def memory(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Print the original formula line by line, ours, and XLA's figure for the compiled step; return them."""
    import jax

    from bestguess.config import runs as every_run
    from bestguess.files import plain
    from bestguess.report.progress import results_table
    from bestguess.train.memory import gigabytes, program_memory
    from bestguess.train.program import Program
    from bestguess.workflow.training import make_training

    config = flags.as_given()
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
    given = original(config)
    told = [
        ("original formula: embedding", runs * given.embedding),
        ("transformer layers", runs * given.layers),
        ("batch", runs * given.batch),
        ("intermediate activations, 2 times the forward pass", runs * given.intermediate_low),
        ("or 3 times", runs * given.intermediate_high),
        ("original formula, in all (3 times)", runs * given.total),
        ("our formula, in all", runs * paper.total),
        ("XLA, measured", measured),
        ("limit", LIMIT),
    ]
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
    shares = ", ".join(f"{name} {runs * value / 1e6:,.3f}" for name, value in paper._asdict().items())
    console.print(f"our formula, in MB: {shares}; the original's leaves out gradients and Adam's moments", style="dim")
    console.print(AMD, style="dim")
    parts = {name: runs * value for name, value in paper._asdict().items()}
    return plain(
        {
            "runs": runs,
            "parameters": parameters,
            "original": {name: runs * value for name, value in given._asdict().items()} | {"total": runs * given.total},
            "formula": parts | {"total": runs * paper.total},
            "measured": measured,
            "table": table,
            "limit": LIMIT,
            "fits": fits,
        }
    )
