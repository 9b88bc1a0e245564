"""The forward algorithm: the exact prediction of the next token under a grammar. Slow, and what all else is held to.

What is hidden is the topic z and where in the grammar the text is. A hypothesis is (state, the rest of its phrase that
is unspoken), with its joint probability with what was seen, for each z:

    α(h, z) = P(z) P(tokens so far, h | z),      p(next = x | past) = Σ_{h starts with x} Σ_z α(h, z) / Σ_h Σ_z α(h, z)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from bestguess.text.errands.grammar import Grammar

Belief = dict[tuple[Any, tuple[int, ...]], np.ndarray]
"""α by (state behind the phrase, unspoken rest of the phrase), float64 [topics]."""


def start(grammar: Grammar) -> Belief:
    """Return the belief before the first token: topics are equally likely."""
    return _opened(grammar, {(grammar.start, ()): np.full(grammar.topics, 1 / grammar.topics)})


def _opened(grammar: Grammar, belief: Belief) -> Belief:
    """Return the belief with a phrase ahead in every hypothesis but those at the end."""
    opened: Belief = {}
    waiting = list(belief.items())
    while waiting:
        (state, rest), alpha = waiting.pop()
        if rest or state is None:
            opened[state, rest] = opened.get((state, rest), 0) + alpha
            continue
        waiting += [((after, phrase), alpha * weight) for weight, phrase, after in grammar.following(state)]
    return opened


def predict(grammar: Grammar, belief: Belief) -> Float64[np.ndarray, " V"]:
    """Return the probability of every token as the next."""
    p = np.zeros(len(grammar.vocabulary))
    for (_, rest), alpha in belief.items():
        if rest:
            p[rest[0]] += alpha.sum()
    return p / max(sum(alpha.sum() for alpha in belief.values()), 1e-300)


def advance(grammar: Grammar, belief: Belief, token: int) -> Belief:
    """Return the belief once `token` was seen, α normalised; empty where the grammar cannot say it."""
    kept: Belief = {}
    for (state, rest), alpha in belief.items():
        if rest and rest[0] == token and alpha.any():
            kept[state, rest[1:]] = kept.get((state, rest[1:]), 0) + alpha
    total = sum(alpha.sum() for alpha in kept.values())
    return _opened(grammar, {key: alpha / total for key, alpha in kept.items()})


def predictions(grammar: Grammar, tokens: Sequence[int]) -> Float64[np.ndarray, "T V"]:
    """Return the probability of every token at each position of a text, given the tokens before it."""
    belief, found = start(grammar), []
    for token in tokens:
        found.append(predict(grammar, belief))
        belief = advance(grammar, belief, int(token))
    return np.array(found).reshape(-1, len(grammar.vocabulary))


def log_p(grammar: Grammar, tokens: Sequence[int]) -> Float64[np.ndarray, " T"]:
    """Return ln p of each token of a text, given the tokens before it; -inf for what the grammar cannot say."""
    p = predictions(grammar, tokens)[np.arange(len(tokens)), np.asarray(tokens, int)]
    with np.errstate(divide="ignore"):
        return np.log(p)


def first_impossible(grammar: Grammar, tokens: Sequence[int]) -> int | None:
    """Return the index of the first token that the grammar cannot say there; None if it can say all of them."""
    belief = start(grammar)
    for index, token in enumerate(tokens):
        belief = advance(grammar, belief, int(token))
        if not belief:
            return index
    return None


def every_text(grammar: Grammar) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield each way to say a text, with its probability; for tiny grammars."""
    waiting: list[tuple[Any, tuple[int, ...], np.ndarray]] = [
        (grammar.start, (), np.full(grammar.topics, 1 / grammar.topics))
    ]
    while waiting:
        state, said, alpha = waiting.pop()
        if state is None:
            yield said, float(alpha.sum())
            continue
        for weight, phrase, after in grammar.following(state):
            if np.any(weight):
                waiting.append((after, said + phrase, alpha * weight))
