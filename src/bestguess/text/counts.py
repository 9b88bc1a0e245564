"""Counts of order k: the prediction of a token from the k before it, as they stand in the training part.

Interpolated Kneser–Ney smoothing (Kneser & Ney 1995; in the form of Chen & Goodman 1999, one discount an order):

    p_k(x | c) = (a(c, x) − D_k) / a(c) + D_k · t(c) / a(c) · p_{k−1}(x | c′),    p_{−1}(x) = 1 / V

with a(c) = Σ_x a(c, x), t(c) how many tokens were seen behind c, c′ the context c without its first token, and
D_k = n₁ / (n₁ + 2 n₂) from the numbers of entries that have a count of 1 and of 2. At the highest order, and where the
context begins a sequence, a(c, x) is how often x follows c; below it is how many different tokens stand before c x.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from bestguess.task import Categorical
from bestguess.text.evaluate import Evaluation, evaluate
from bestguess.text.pairs import Pairs
from bestguess.text.task import About

HIGHEST = 8
"""Orders are tried up to this one, while validation documents are predicted better."""
MOST = 8_000_000
"""Tokens of the training part that are counted, the first ones."""


@dataclass(frozen=True, eq=False)
class Level:
    """The entries (context, next token) of one order, sorted; contexts are numbered, 0 begins a sequence."""

    keys: Integer[np.ndarray, " e"]
    """context · V + token."""
    first: Integer[np.ndarray, " c"]
    """Where each context's entries begin; one more than there are contexts."""
    seen: Integer[np.ndarray, " e"]
    """How often the token follows."""
    begins: np.ndarray
    """Whether the context begins a sequence, bool [e]."""
    before: Integer[np.ndarray, " e"] | None = None
    """How many different tokens stand before context and token; None: no higher order was counted."""


@dataclass(frozen=True, eq=False)
class Counts:
    """A predictor of bounded memory, fitted on a training part."""

    levels: tuple[Level, ...]
    """From order 0 on."""
    vocab: int
    continued: bool
    """Whether the source stands before the target as its context; else the target begins the sequence."""
    marked: bool
    """Whether the first token of a pair begins a sequence; that of a window stands somewhere in a text."""
    tokens: int
    """How many were counted."""

    @property
    def order(self) -> int:
        """k, the tokens that a prediction depends on."""
        return len(self.levels) - 1

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return the predictions of every token of the targets, [n, U, V]."""
        p = np.full((pairs.target.size, self.vocab), 1 / self.vocab)
        for level, context, shares, rest in self._at(pairs):
            at = np.flatnonzero(context >= 0)
            own = context[at]
            p[at] *= rest[own, None]
            first, count = level.first[own], level.first[own + 1] - level.first[own]
            entry = np.repeat(first - np.cumsum(count) + count, count) + np.arange(int(count.sum()))
            p[np.repeat(at, count), level.keys[entry] % self.vocab] += shares[entry]
        return Categorical(jnp.log(jnp.asarray(p.reshape(*pairs.target.shape, self.vocab), jnp.float32)))

    def nats(self, pairs: Pairs) -> Float[np.ndarray, "n U"]:
        """Return −ln of the probability of each token of the targets, 0 behind their ends; without the others' ones."""
        p = np.full(pairs.target.size, 1 / self.vocab)
        token = pairs.target.reshape(-1).astype(np.int64)
        for level, context, shares, rest in self._at(pairs):
            entry = _entries(level, context, token, self.vocab)
            p = np.where(context >= 0, rest[context] * p + np.where(entry >= 0, shares[entry], 0.0), p)
        there = np.arange(pairs.target.shape[1])[None] < pairs.target_length[:, None]
        return np.where(there, -np.log(p.reshape(pairs.target.shape)), 0.0)

    def _at(self, pairs: Pairs) -> Iterator[tuple[Level, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each order's entries, the context of every place of the targets, and the shares of `_shares`."""
        for k, (level, context) in enumerate(zip(self.levels, self._contexts(pairs))):
            yield level, context, *_shares(level, highest=k == self.order)

    def _contexts(self, pairs: Pairs) -> list[np.ndarray]:
        """The context of every place of the targets at each order, [n · U]; −1 of those never seen."""
        n, U = pairs.target.shape
        width = pairs.source.shape[1] if self.continued else 0
        tokens = np.concatenate([pairs.source[:, :width], pairs.target], axis=1).astype(np.int64)
        length = pairs.source_length.astype(np.int64) if self.continued else np.zeros(n, np.int64)
        # The source moves to the right, against its target, so that all targets begin at the same place.
        place = np.arange(width)[None] - (width - length[:, None])
        inside = np.concatenate([place >= 0, np.ones((n, U), bool)], axis=1)
        if width:
            tokens[:, :width] = np.take_along_axis(tokens[:, :width], np.maximum(place, 0), axis=1)
        starts = np.concatenate([place == 0, np.zeros((n, U), bool)], axis=1)
        starts[length == 0, width] = True
        context = np.where(inside, 0, -1)
        found = [context[:, width:].reshape(-1)]
        for level in self.levels[:-1]:
            entry = _entries(level, context, tokens, self.vocab)
            known = np.where(entry >= 0, entry + 1, -1)
            context = np.concatenate([np.full((n, 1), -1), known[:, :-1]], axis=1)
            context[starts] = 0 if self.marked else -1
            found.append(context[:, width:].reshape(-1))
        return found


def _entries(level: Level, context: np.ndarray, token: np.ndarray, vocab: int) -> np.ndarray:
    """Return the entry of each context and token, of the same shape; −1 where there is none."""
    key = context * vocab + token
    at = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
    return np.where((context >= 0) & (level.keys[at] == key), at, -1)


def _shares(level: Level, highest: bool) -> tuple[Float[np.ndarray, " e"], Float[np.ndarray, " c"]]:
    """Return each entry's (a − D) / a(c), and each context's D · t(c) / a(c), which the order below shares out."""
    counts = level.seen if highest or level.before is None else np.where(level.begins, level.seen, level.before)
    ones, twos = (int((counts == n).sum()) for n in (1, 2))
    discount = ones / (ones + 2 * twos) if ones else 0.5
    contexts = np.repeat(np.arange(len(level.first) - 1), np.diff(level.first))
    total = np.bincount(contexts, counts, len(level.first) - 1)
    kinds = np.diff(level.first)
    whole = np.maximum(total, 1)
    rest = np.where(kinds > 0, discount * kinds / whole, 1.0)
    return (counts - discount) / whole[contexts], rest


class Counting:
    """Counts of a training part, an order at a time."""

    def __init__(self, about: About):
        """about: `text` or `training` is counted, `continued` says what begins a sequence."""
        self.vocab, self.continued, self.marked = about.vocab, about.continued, about.marked
        self._tokens, self._starts = _sequences(about)
        self._context = np.zeros(len(self._tokens), np.int64)
        self._begun = np.zeros(len(self._tokens), bool)
        self._contexts = 1
        self._entry: np.ndarray | None = None
        self._levels: list[Level] = []

    def next(self) -> Counts:
        """Return the predictor of the next order; the first is of order 0."""
        keys, first, entry, seen = np.unique(
            self._context * self.vocab + self._tokens, return_index=True, return_inverse=True, return_counts=True
        )
        if self._entry is not None:
            # Every entry has one token more before it than its entry in the order below.
            below = self._levels[-1]
            before = np.bincount(self._entry[first], minlength=len(below.keys))
            self._levels[-1] = dataclasses.replace(below, before=before)
        bounds = np.searchsorted(keys, np.arange(self._contexts + 1) * self.vocab)
        self._levels.append(Level(keys, bounds, seen, self._begun[first]))
        self._entry = entry.reshape(-1)
        self._context = np.concatenate([[0], self._entry[:-1] + 1])
        self._begun = np.concatenate([[True], self._begun[:-1]]) | self._starts
        self._context[self._starts] = 0
        self._contexts = len(keys) + 1
        return Counts(tuple(self._levels), self.vocab, self.continued, self.marked, len(self._tokens))


def _sequences(about: About) -> tuple[np.ndarray, np.ndarray]:
    """Return the training part's first tokens, int64 [N], and which of them begin a sequence, bool [N]."""
    if about.text is not None:
        tokens = about.text[:MOST].astype(np.int64)
        return tokens, np.arange(len(tokens)) == 0
    pairs = about.training
    lengths = pairs.target_length.astype(np.int64) + about.continued * pairs.source_length.astype(np.int64)
    kept = int(np.searchsorted(np.cumsum(lengths), MOST, side="right"))
    pairs, lengths = pairs[: max(1, kept)], lengths[: max(1, kept)]
    parts = [(pairs.source, pairs.source_length)] * about.continued + [(pairs.target, pairs.target_length)]
    rows = np.concatenate([rows for rows, _ in parts], axis=1)
    there = np.concatenate([np.arange(rows.shape[1])[None] < length[:, None] for rows, length in parts], axis=1)
    starts = np.zeros(int(lengths.sum()), bool)
    starts[np.cumsum(lengths) - lengths] = True
    return rows[there].astype(np.int64), starts


@functools.lru_cache(maxsize=4)
def best_counts(about: About) -> Counts:
    """Return the counts of the order that predicts the validation documents best; orders rise while that improves."""
    counting, best, least = Counting(about), None, math.inf
    for _ in range(HIGHEST + 1):
        found = counting.next()
        loss = float(found.nats(about.validation).sum())
        if loss >= least:
            break
        best, least = found, loss
    assert best is not None
    return best


def beside(about: About, losses: Evaluation) -> dict[str, Any]:
    """Return what the best order of counts comes to on the very documents of an evaluation.

    nats_per_document, bits_per_byte, perplexity; regret_per_document (nats) where the oracle is known, else None.
    """
    counts, regret = best_counts(about), None
    nats = counts.nats(losses.pairs)
    if about.known is not None:
        found = evaluate(about, counts, len(losses.pairs))
        assert found.regret is not None
        regret = float(found.regret.sum(axis=1).mean())
    of_bytes = float(about.test_bytes[: len(losses.pairs)].sum())
    return {
        "order": counts.order,
        "smoothing": "interpolated Kneser-Ney",
        "counted_tokens": counts.tokens,
        "nats_per_document": float(nats.sum()) / len(losses.pairs),
        "regret_per_document": regret,
        "bits_per_byte": float(nats.sum()) / (math.log(2) * of_bytes),
        "perplexity": math.exp(float(nats.sum()) / losses.tokens),
    }
