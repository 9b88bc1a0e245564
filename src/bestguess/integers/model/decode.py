"""Generation: how a model goes on with a sequence, term after term.

The model sees the last `length` terms, as many as it was trained on; beyond, the window slides. Three
ways to the same terms: `naive` runs the whole window for each new term; `cached` keeps keys and values
and runs one term, until the window slides and the cache must be filled anew; `parallel` guesses all new
terms at once and repeats until no guess changes (Jacobi iteration; Santilli et al., 2023, §3). Fixed
points of the last are what the other two find, since each term depends on those before it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bestguess.integers.config import CLASSES
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.sequences.sampler import PADDING
from bestguess.nn.decoder import DecoderCache

Method = Literal["cached", "naive", "parallel"]


@dataclass(frozen=True, eq=False)
class Generated:
    """A continuation."""

    terms: tuple[int, ...]
    log_probability: float
    """log p of the new terms, one after the other, nats."""
    probabilities: np.ndarray
    """The model's own p(next) before each new term, float64 [steps, 256]."""
    passes: int
    """How many times the model ran, one after the other."""


def generate(
    model: IntegerModel,
    terms: Sequence[int],
    steps: int,
    length: int,
    *,
    method: Method = "cached",
    temperature: float = 0.0,
    seed: int = 0,
) -> Generated:
    """Return `steps` terms after `terms`: the most probable each time, or drawn at a temperature above 0.

    length: the window (terms). temperature: what logits are divided by before drawing. The draw takes
    the largest of logits / temperature + Gumbel noise, and the noise of step i is a function of
    (seed, i), so that all methods draw alike.
    """
    noise = np.zeros((steps, CLASSES))
    if temperature > 0:
        noise = np.stack([np.random.default_rng([seed, i]).gumbel(size=CLASSES) for i in range(steps)])
    pick = lambda logits, i: int(np.argmax(logits / (temperature or 1.0) + noise[i]))  # noqa: E731
    found = list(terms)
    if method == "parallel":
        draft, passes = np.zeros(steps, int), 0
        while True:
            every = [*terms, *draft.tolist()]
            windows = np.stack([_window(every[: len(terms) + i], length) for i in range(steps)])
            logits = np.asarray(_after_windows(model, jnp.asarray(windows)), np.float64)
            passes += 1
            new = np.array([pick(logits[i], i) for i in range(steps)])
            if (new == draft).all():
                break
            draft = new
        found += new.tolist()
        rows = logits
    else:
        reader = _Cached(model, length) if method == "cached" else _Naive(model, length)
        rows = np.zeros((steps, CLASSES))
        for i in range(steps):
            rows[i] = reader.after(found)
            found.append(pick(rows[i], i))
        passes = steps
    log_p = _log_softmax(rows)
    new_terms = found[len(terms) :]
    return Generated(tuple(new_terms), float(log_p[np.arange(steps), new_terms].sum()), np.exp(log_p), passes)


def beam_search(
    model: IntegerModel, terms: Sequence[int], steps: int, length: int, beams: int, method: Method = "cached"
) -> list[Generated]:
    """Return the `beams` most probable continuations that a beam of that width finds, best first.

    Each step keeps the `beams` sequences of the largest log probability among all continuations of those
    kept before; `cached` takes each one's keys and values along.
    """
    readers: list[_Cached | _Naive] = [_Cached(model, length) if method == "cached" else _Naive(model, length)]
    kept = [(0.0, list(terms), np.zeros((0, CLASSES)))]
    for _ in range(steps):
        candidates = []
        for reader, (score, found, history) in zip(readers, kept):
            log_p = _log_softmax(reader.after(found)[None])[0]
            history = np.concatenate([history, np.exp(log_p)[None]])
            for value in np.argsort(-log_p, kind="stable")[:beams]:
                candidates.append((score + float(log_p[value]), reader, [*found, int(value)], history))
        candidates.sort(key=lambda one: -one[0])
        readers = [reader.copy() for _, reader, _, _ in candidates[:beams]]
        kept = [(score, found, history) for score, _, found, history in candidates[:beams]]
    return [Generated(tuple(found[len(terms) :]), score, history, steps) for score, found, history in kept]


class _Naive:
    """Runs the model on the whole window each time."""

    def __init__(self, model: IntegerModel, length: int):
        self.model, self.length = model, length

    def after(self, terms: list[int]) -> np.ndarray:
        return np.asarray(_after_windows(self.model, jnp.asarray(_window(terms, self.length)[None])))[0]

    def copy(self) -> _Naive:
        return self


class _Cached:
    """Runs the model on the terms that its cache does not hold yet."""

    def __init__(self, model: IntegerModel, length: int):
        self.model, self.length = model, length
        self.cache: DecoderCache | None = None

    def after(self, terms: list[int]) -> np.ndarray:
        cache: DecoderCache | None = self.cache
        new = terms[-1:]
        if cache is None or len(terms) > self.length:
            # The first time, or the window has slid: positions count from its new beginning.
            cache, new = self.model.empty_cache(self.length), terms[-self.length :]
        self.cache = cache
        for term in new:
            logits, self.cache = _after_one(self.model, jnp.asarray([term]), self.cache)
        return np.asarray(logits)

    def copy(self) -> _Cached:
        # Caches are values: what one copy adds is no part of the other.
        other = _Cached(self.model, self.length)
        other.cache = self.cache
        return other


def _window(terms: Sequence[int], length: int) -> np.ndarray:
    """The last `length` terms and padding behind them, [length]."""
    seen = list(terms[-length:])
    return np.array(seen + [PADDING] * (length - len(seen)), np.int32)


@eqx.filter_jit
def _after_windows(model: IntegerModel, windows: Int[Array, "n length"]) -> Float[Array, "n classes"]:
    """The logits of the term after each window's last one."""
    logits = jax.vmap(lambda one: model(one)[0])(windows)
    last = jnp.sum(windows != PADDING, axis=1) - 1
    return jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]


@eqx.filter_jit
def _after_one(model: IntegerModel, term: Int[Array, "1"], cache: DecoderCache):
    logits, longer = model(term, cache)
    return logits[0], longer


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
