"""A problem small enough to compile in a second, on which a test can set the loss, the counts and the scores."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from bestguess.task import Categorical, Task
from bestguess.train.config import TrainConfig
from bestguess.train.problem import Member, Problem, Purpose, member_key
from bestguess.train.program import Program

T, D, F = 7, 3, 5
NO_KEY = np.zeros(2, np.uint32)


class Line(Task):
    """Targets are a fixed map of random inputs; sequences differ in how many of their targets count."""

    map: Float[Array, "D F"]
    nan_loss_at: UInt32[Array, "2"]
    """The key of the one sequence whose loss is NaN."""
    nan_gradient_at: UInt32[Array, "2"]
    """The key of the one sequence whose gradient is NaN, though its loss is not."""

    def sample(self, key):
        return jax.random.normal(key, (T, D))

    def oracle(self, sequence):
        return Categorical(sequence)

    def constant(self):
        return Categorical(jnp.zeros((T, F)))


class Net(eqx.Module):
    """Two layers: gradients of one depend on the other's weights."""

    first: Float[Array, "D D"]
    bias: Float[Array, "D"]
    second: Float[Array, "D F"]


class ToyProblem(Problem):
    """Regression with a count of targets that differs from sequence to sequence (1 to T)."""

    def init(self, task: Line, key: Key[Array, ""]) -> Net:
        a, b = jax.random.split(key)
        return Net(jax.random.normal(a, (D, D)), jnp.zeros(D), jax.random.normal(b, (D, F)))

    def errors(self, model: Net, task: Line, key: Key[Array, ""]) -> Float[Array, "T"]:
        x = task.sample(key)
        guess = jnp.tanh(x @ model.first + model.bias[None]) @ model.second
        return jnp.sum((guess - x @ task.map) ** 2, axis=-1)

    def loss(self, model, task, key):
        count = jax.random.randint(jax.random.fold_in(key, 1), (), 1, T + 1)
        total = jnp.sum(jnp.where(jnp.arange(T) < count, self.errors(model, task, key), 0.0))
        this = jax.random.key_data(key)
        total = jnp.where(jnp.all(this == task.nan_loss_at), jnp.nan, total)
        # A square root at 0: the value is 0, its gradient ∞ · 0.
        zero = jnp.sum((model.bias - jax.lax.stop_gradient(model.bias)) ** 2)
        kink = jnp.sqrt(jnp.where(jnp.all(this == task.nan_gradient_at), zero, 1.0))
        return total + kink, count.astype(jnp.float32)

    def validate(self, model, task, key):
        return {"score": jnp.mean(jax.vmap(lambda k: self.errors(model, task, k))(key))}


def members(rates=(0.03, 0.01, 0.02), seeds=(5, 6, 7), **tasks: np.ndarray) -> Member:
    """Return runs, one for each rate and seed, each with a map of its own."""
    count = len(rates)
    maps = np.stack([np.random.default_rng(seed).normal(size=(D, F)) for seed in seeds]).astype(np.float32)
    default = {"nan_loss_at": np.stack([NO_KEY] * count), "nan_gradient_at": np.stack([NO_KEY] * count)}
    return Member(
        task=Line(*(jnp.asarray(leaf) for leaf in ({"map": maps} | default | tasks).values())),
        learning_rate=np.asarray(rates, np.float32),
        seed=np.asarray(seeds, np.int32),
    )


def config(**changes) -> TrainConfig:
    """Return a config of a few steps."""
    tiny = TrainConfig(
        steps=20, batch_size=8, learning_rate=(0.01,), warmup_steps=3, validate_every=5, validation_sequences=4
    )
    return dataclasses.replace(tiny, **changes)


def batch_keys(seed: int, step: int, count: int) -> Key[Array, "count"]:
    """Return the keys of a batch, derived by hand: batch = f(seed, step)."""
    return jax.random.split(jax.random.fold_in(member_key(jnp.asarray(seed), Purpose.TRAIN), step), count)


def key_of(seed: int, step: int, sequence: int) -> np.ndarray:
    """Return the key of one sequence of a batch of `config()`, as numbers."""
    return np.asarray(jax.random.key_data(batch_keys(seed, step, 8)[sequence]))


def run_chunks(program: Program):
    """Return the last state and every chunk's metrics, straight from the compiled program."""
    every, steps = program.config.validate_every, program.config.steps
    state, metrics = program.start(), []
    for first in range(0, steps, every):
        state, told = program.chunk(state, first, every)
        metrics.append(jax.device_get(told))
    return jax.device_get(state), metrics


def run_of(tree, run: int):
    """Return one run of a tree with a leading run axis."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[run], tree)


def same(a, b) -> None:
    """Assert that two trees hold the very same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes(), np.abs(x - y).max()


def close(a, b, tolerance: float = 1e-6) -> None:
    """Assert that two trees differ by less than `tolerance`, in units of each leaf's largest entry (or 1)."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert x.shape == y.shape
        assert np.abs(x - y).max(initial=0) <= tolerance * max(1.0, np.abs(y).max(initial=0)), np.abs(x - y).max()
