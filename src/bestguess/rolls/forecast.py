"""What comes next at one place of a file: the most probable values of each output head, and the source's."""

from __future__ import annotations

import heapq
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.rolls.model import RollsModel
from bestguess.rolls.task import About

_TUPLES, _JOINT = 5, 4
"""Joint guesses that are told, and of how many values."""


def forecast(model: RollsModel, about: About, index: int, top: int) -> dict[str, Any]:
    """Return the guesses of each head for the values from `index` on, and of the source, from the window before."""
    context = about.rolls.read(index - about.window, index)
    tokens = about.tokens
    logits = np.asarray(model(jnp.asarray(tokens.of_value)[context.astype(np.int32)])[-1], np.float32)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)[:, tokens.of_value] + tokens.log_within
    heads = [_guesses(one, top) for one in log_p]
    oracle = None
    if about.known:
        # The value at the end is not looked at: its own prediction does not depend on it.
        best = about.best(np.append(context, np.uint16(0))[None], np.asarray([index - about.window]))[0, -1]
        oracle = _guesses(best, top)
    return {
        "index": index,
        "context": context.tolist(),
        "heads": heads,
        "joint": _joint(heads),
        "oracle": oracle,
        "actual": about.rolls.read(index, min(about.rolls.n, index + len(heads))).tolist(),
    }


def _guesses(log_p: np.ndarray, top: int) -> list[dict[str, Any]]:
    order = np.argsort(-log_p, kind="stable")[:top]
    return [{"value": int(v), "probability": float(np.exp(log_p[v]))} for v in order if np.isfinite(log_p[v])]


def _joint(heads: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the most probable tuples of the next values, if the heads were independent: nothing says they are."""
    few = [head[:_TUPLES] for head in heads[:_JOINT]]
    every = (
        {"values": [one["value"] for one in each], "probability": float(np.prod([one["probability"] for one in each]))}
        for each in itertools.product(*few)
    )
    return {"how": "independent heads", "guesses": heapq.nlargest(_TUPLES, every, key=lambda one: one["probability"])}
