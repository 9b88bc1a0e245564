"""The task: windows of a file's test part. With a known source it has an oracle; without one, nothing but samples."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key, UInt16

from bestguess.rolls.config import RollsConfig, RollsTaskConfig
from bestguess.rolls.tokens import Tokens, fit_tokens
from bestguess.rolls.values import Rolls, Split, rolls_of, split_of, windows_in
from bestguess.task import Categorical, OracleTask, Task


@dataclass(frozen=True, eq=False)
class About:
    """A run's values, their parts and tokens, on the host."""

    rolls: Rolls
    split: Split
    tokens: Tokens
    window: int

    @property
    def known(self) -> bool:
        """Whether the oracle is known at every position."""
        return self.rolls.source is not None and self.rolls.source.has_oracle

    def windows(self, part: tuple[int, int]) -> int:
        """Return how many disjoint windows a part holds; each predicts `window` values, from the second on."""
        return windows_in(part, self.window)

    def starts(self, part: tuple[int, int], most: int) -> np.ndarray:
        """Return where the first windows of a part start, at most so many, int64."""
        return part[0] + self.window * np.arange(min(most, self.windows(part)))

    def read(self, starts: np.ndarray) -> np.ndarray:
        """Return the windows from `starts`, uint16 [n, window + 1]."""
        return self.rolls.windows(starts, self.window + 1)

    def spread(self, part: tuple[int, int], most: int) -> np.ndarray:
        """Return windows spread evenly over a part, at most so many, uint16 [n, window + 1]."""
        there = self.windows(part)
        chosen = np.linspace(0, there - 1, min(most, there)).astype(np.int64)
        return self.read(part[0] + self.window * chosen)

    def best(self, windows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the oracle's ln p of every predicted value, from those before it in its window, [n, window, K]."""
        assert self.rolls.source is not None
        return self.rolls.source.predict_windows(windows, starts)[:, 1:]


class RollsTask(Task):
    """Windows of the test part: the first value is given, the others are predicted."""

    about: About = eqx.field(static=True)

    @property
    def predicted(self) -> slice:
        """All values of a window but the first."""
        return slice(1, None)

    def sample(self, key: Key[Array, ""]) -> UInt16[Array, "L"]:
        """Return a window of the test part, chosen at random."""
        about = self.about
        start, count = about.split.test[0], about.windows(about.split.test)
        place = jax.random.randint(key, (), 0, count)
        shape = jax.ShapeDtypeStruct((about.window + 1,), jnp.uint16)
        read = lambda i: about.read(np.asarray(start + about.window * int(i)).reshape(1))[0]  # noqa: E731
        return jax.pure_callback(read, shape, place, vmap_method="sequential")


class SourceTask(RollsTask, OracleTask):
    """Windows of values from a known source. The oracle knows its parameters, and the window's values so far."""

    def oracle(self, sequence: Integer[Array, "L"]) -> Categorical:
        """Return the source's prediction of every value from those before it in the window.

        Of a source whose law depends on the index, such as a deck, that of a window at index 0.
        """
        source = self.about.rolls.source
        assert source is not None
        shape = jax.ShapeDtypeStruct((self.about.window + 1, source.classes), jnp.float32)
        predict = lambda window: source.predict(np.asarray(window, np.uint16)).astype(np.float32)  # noqa: E731
        return Categorical(jax.pure_callback(predict, shape, sequence, vmap_method="sequential"))

    def constant(self) -> Categorical:
        """Return the smoothed marginal of the training part, whatever the window."""
        log_p = jnp.asarray(self.about.tokens.log_marginal, jnp.float32)
        return Categorical(jnp.tile(log_p[None], (self.about.window + 1, 1)))


def task_of(config: RollsConfig) -> RollsTask:
    """Return the task of a config of one run; the same object for the same values."""
    rolls = rolls_of(config)
    return _task(rolls, split_of(rolls.n, config), config.task)


@functools.lru_cache(maxsize=16)
def _task(rolls: Rolls, split: Split, config: RollsTaskConfig) -> RollsTask:
    about = About(rolls, split, fit_tokens(rolls.counts, config), config.window)
    return SourceTask(about) if about.known else RollsTask(about)
