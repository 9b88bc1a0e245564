"""What the trainer is given and what it keeps: a family's problem, the members of a batch of runs, their states.

Inside a `Problem` no array has a run axis, and `loss` takes one sequence: `vmap` adds both. Outside, in a batch of
runs, every array of a `Member` and of a `State` has a leading run axis.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from bestguess.train.config import TrainConfig

TaskT = TypeVar("TaskT")
ModelT = TypeVar("ModelT")


class Turn(NamedTuple):
    """The turn of one sequence in the course of a training: what `Problem.draw` draws it by."""

    key: Key[Array, ""]
    """Its random key, a function of seed and number."""
    progress: Float[Array, ""]
    """The step over all steps, from 0 to 1."""
    number: Int[Array, ""]
    """How many sequences were drawn before it: step · batch + place in the batch."""
    fed: Any = None
    """What the host read for it, of a problem that is fed."""


class Problem(eqx.Module, Generic[TaskT, ModelT]):
    """What a family gives the trainer: a model, a loss of one sequence, a validation.

    Its arrays are shared by all runs (a table that they draw from); what differs between runs is in their tasks.
    """

    packed: ClassVar[bool] = False
    """Whether the model is so small, and its arrays so many, that an operation's overhead outweighs its work. Steps
    then keep the weights in two flat arrays, which must all be float32, and a GPU's compiler may take Triton for
    products, which saves operations. Where arrays are large, unpacking them costs more than it saves. The gradient's
    norm is then summed in another order."""

    judged_at_start: ClassVar[bool] = False
    """Whether the initial weights may be the best: where an untrained model is a good predictor already."""

    @abc.abstractmethod
    def init(self, task: TaskT, key: Key[Array, ""]) -> ModelT:
        """Return the initial model of one run."""

    def draw(self, task: TaskT, turn: Turn) -> Any:
        """Return what `loss` is given of one sequence: by default the key, for `loss` to draw the sequence itself.

        A chunk's sequences are drawn before its steps, all at once: so this is the place for small things that
        take many random numbers, such as a row's place in a table, and for what depends on the training's
        progress, such as a curriculum. Large sequences belong in `loss`.
        """
        return turn.key

    def feed(self, seeds: Sequence[int], first: int, count: int) -> PyTree | None:
        """Return what the host reads for sequences `first` to `first + count` of every run, or None: nothing.

        NumPy arrays [run, count, …], a function of seed and number alone. This is the place for data that do not fit
        into the device's memory. While the device computes, the host reads for the steps that follow.
        """
        return None

    fed_bytes: ClassVar[int] = 0
    """Bytes that `feed` returns for a sequence, or 0: this problem is not fed."""

    @abc.abstractmethod
    def loss(self, model: ModelT, task: TaskT, drawn: Any) -> tuple[Any, ...]:
        """Return the summed loss of one sequence and its count of targets; `drawn` is what `draw` returned.

        A third value, a pytree of what is to be summed over the batch, is handed to `note`.
        """

    def keep(self, task: TaskT) -> PyTree:
        """Return what a run keeps of what `loss` notes, before the first step. It is part of every checkpoint."""
        return ()

    def note(self, kept: PyTree, noted: PyTree) -> PyTree:
        """Return what a run keeps after a step, from the sums over the step's batch."""
        return kept

    def held(self, before: ModelT, after: ModelT) -> ModelT:
        """Return the model after a step with what is not trained as it was before the step; not of a packed problem.

        A gradient of 0 alone does not hold a weight: decay moves it.
        """
        return after

    def hidden(self, model: ModelT) -> PyTree:
        """Return which leaves of a model are hidden matrices, that Muon orthogonalises: those of its `blocks`.

        An embedding and a head are not: their rows or columns stand for single tokens.
        """

        def is_hidden(path: tuple[Any, ...], leaf: Any) -> bool:
            return leaf.ndim == 2 and any(getattr(part, "name", None) == "blocks" for part in path)

        return jax.tree_util.tree_map_with_path(is_hidden, model)

    def kept_measures(self, kept: PyTree) -> dict[str, Float[Array, ""]]:
        """Return the measures of what is kept that are logged with every validation."""
        return {}

    def remedies(self, config: TrainConfig) -> tuple[str, str]:
        """Return the flag that makes a program large, with its value, and how to make one small, in words."""
        return f"--batch-size {config.batch_size}", "lower --batch-size or raise --accumulate"

    @abc.abstractmethod
    def validate(self, model: ModelT, task: TaskT, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return measures over the sequences drawn with the n keys; `score`, to be made small, is one of them."""


class Member(eqx.Module):
    """What sets one run apart: its task, its peak learning rate, its seed."""

    task: PyTree
    """A `Task`, or of a task that the problem holds for all runs, the arrays in which this run differs."""
    learning_rate: Float[Array | np.ndarray, "*run"]
    seed: Int[Array | np.ndarray, "*run"]


class State(eqx.Module):
    """Where one run stands. With the config and the member, it determines all that follows."""

    model: PyTree
    optimizer: PyTree
    best: PyTree
    best_score: Float[Array, "*run"]
    best_step: Int[Array, "*run"]
    stale: Int[Array, "*run"]
    stopped: Bool[Array, "*run"]
    fault_step: Int[Array, "*run"]
    """The step whose loss or gradient was not finite, or −1."""
    kept: PyTree = ()
    """What the problem keeps of its notes, such as the evidence gathered so far."""
    average: PyTree = ()
    """The moving average of the weights; nothing where there is none."""

    @property
    def judged(self) -> PyTree:
        """The weights that are validated, and of which the best are kept: averaged ones where there are any."""
        return self.average if jax.tree.leaves(self.average) else self.model


class Purpose(enum.IntEnum):
    """What random numbers are drawn for: no two purposes of one training share any. The values are never to change."""

    INIT = 0
    """Initial weights."""
    TRAIN = 1
    """Batches of training."""
    VALIDATE = 2
    """Sequences that select weights and rates."""
    TEST = 16
    """Sequences that are reported on."""
    ROLLOUT = 17
    """Sequences that are continued and reported on."""
    PICTURE = 18
    """Sequences shown in figures."""
    OUTSIDE = 19
    """Sequences that a predictor from outside the package is trained on."""
    HELD_OUT = 20
    """Sequences of systems that are held out, reported on."""
    LESSON = 16
    """Sequences that teachers continue for a student. Its value is TEST's, so it is for a family that tests on a whole
    table and draws nothing for it."""


def member_key(seed: Int[Array | np.ndarray, ""], purpose: Purpose | int) -> Key[Array, ""]:
    """Return the key of `seed` for one purpose; a task outside this package may number its own, from 64 on."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))


def sequence_keys(
    seed: Int[Array | np.ndarray, ""], purpose: Purpose | int, step: Int[Array, ""], count: int
) -> Key[Array, " n"]:
    """Return the keys of a step's sequences: a function of seed, purpose and step, and of nothing else."""
    return jax.random.split(jax.random.fold_in(member_key(seed, purpose), step), count)
