"""Writing with a GPT: choose a token from the logits, append it, ask again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.engine.node import Array, no_grad
from bestguess.scratch.fast.gpt import FastGPT


def distribution(
    logits: Array, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Return the probabilities (vocab,) that a token is drawn with, in float64.

    `temperature` divides the logits: towards 0 the best token takes all, above 1 the odds level
    (0 itself is greedy). `top_k` keeps the k best tokens, `top_p` the fewest best whose
    probabilities reach p (Holtzman et al., 2020, §3.1); both may be given, then both hold.
    """
    if temperature < 0:
        raise ValueError(f"temperature {temperature}: must be 0 (greedy) or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k}: must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p {top_p}: must be above 0 and at most 1")
    if temperature == 0:
        p = np.zeros(len(logits))
        p[int(np.argmax(logits))] = 1
        return p
    z = np.asarray(logits, np.float64)
    z = (z - z.max()) / temperature
    p = np.exp(z)
    p /= p.sum()
    best_first = np.argsort(-p, kind="stable")
    keep = np.ones(len(p), bool)
    if top_k is not None:
        keep[best_first[top_k:]] = False
    if top_p is not None:
        before = np.cumsum(p[best_first]) - p[best_first]
        keep[best_first[before >= top_p]] = False
    p = np.where(keep, p, 0)
    return p / p.sum()


def generate(
    model: GPT,
    prompt: Sequence[int],
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[int]:
    """Return at most `new_tokens` tokens that follow `prompt`, ending before `stop` where it comes.

    The prompt and the new tokens together may fill the model's positions, no more (ValueError).
    Sampling (temperature above 0) draws from `rng`, which it then needs.
    """
    if temperature > 0 and rng is None:
        raise ValueError("generate: temperature above 0 needs an rng")
    if not len(prompt):
        raise ValueError("generate: the prompt is empty; a GPT needs one token to follow")
    if len(prompt) + new_tokens > model.config.positions + 1:
        raise ValueError(f"generate: {len(prompt)} + {new_tokens} tokens exceed the {model.config.positions} positions")
    cache = model.empty_cache() if isinstance(model, FastGPT) else None
    fresh = list(prompt)
    out: list[int] = []
    while len(out) < new_tokens:
        if isinstance(model, FastGPT):
            logits = model(np.array([fresh]), cache).data[0, -1]
        else:  # without a cache, all again
            with no_grad():
                logits = model(np.array([[*prompt, *out]])).data[0, -1]
        p = distribution(logits, temperature, top_k, top_p)
        token = int(np.argmax(p)) if temperature == 0 or rng is None else int(rng.choice(len(p), p=p))
        if token == stop:
            break
        out.append(token)
        fresh = [token]
    return out
