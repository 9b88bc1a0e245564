"""What the trainer is given and what it keeps: a family's problem, the members of a batch of runs, their states.

Inside a `Problem` no array has a run axis, and `loss` takes one sequence: `vmap` adds both. Outside, in a batch of
runs, every array of a `Member` and of a `State` has a leading run axis.
"""

from __future__ import annotations

import abc
import enum
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

TaskT = TypeVar("TaskT")
ModelT = TypeVar("ModelT")


class Problem(eqx.Module, Generic[TaskT, ModelT]):
    """What a family gives the trainer: a model, a loss of one sequence, a validation.

    Its arrays are shared by all runs (a table that they draw from); what differs between runs is in their tasks.
    """

    packed: ClassVar[bool] = False
    """Whether the model is so small, and its arrays so many, that an operation's overhead outweighs its work. Steps
    then keep the weights in two flat arrays, which must all be float32, and a GPU's compiler may take Triton for
    products, which saves operations. Where arrays are large, unpacking them costs more than it saves. The gradient's
    norm is then summed in another order."""

    @abc.abstractmethod
    def init(self, task: TaskT, key: Key[Array, ""]) -> ModelT:
        """Return the initial model of one run."""

    def draw(self, task: TaskT, key: Key[Array, ""], progress: Float[Array, ""]) -> Any:
        """Return what `loss` is given of one sequence: by default the key, for `loss` to draw the sequence itself.

        A chunk's sequences are drawn before its steps, all at once: so this is the place for small things that
        take many random numbers, such as a row's place in a table, and for what depends on the training's
        progress (the step over all steps, from 0 to 1), such as a curriculum. Large sequences belong in `loss`.
        """
        return key

    @abc.abstractmethod
    def loss(self, model: ModelT, task: TaskT, drawn: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the summed loss of one sequence and its count of targets; `drawn` is what `draw` returned."""

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
    LESSON = 16
    """Sequences that teachers continue for a student. Its value is TEST's, so it is for a family that tests on a whole
    table and draws nothing for it."""


def member_key(seed: Int[Array | np.ndarray, ""], purpose: Purpose | int) -> Key[Array, ""]:
    """Return the key of `seed` for one purpose; a task outside this package may number its own, from 64 on."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))
