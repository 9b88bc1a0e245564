"""A small zoo of classic bugs. Each can be switched on, runs without an error, and is caught by `check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bestguess.scratch.engine import layers as simple
from bestguess.scratch.engine.node import Array, Node
from bestguess.scratch.engine.optim import Optimizer
from bestguess.scratch.engine.tensor import Tensor, concatenate
from bestguess.scratch.fast import layers as fast

BUGS: dict[str, str] = {
    "detached-attention": "the gradient does not pass through the attention weights, only through the values",
    "inverted-mask": "each token reads itself and those after it, instead of those before",
    "frozen-norm": "LayerNorm's derivative gives its gain and bias zeros, so they never learn",
    "no-sort": "backward follows every path to a node instead of visiting each node once",
    "depth-first": "backward visits each node once, but sends its gradient on before all of it has come",
    "overwrite": "a gradient replaces the one before instead of being added to it (= for +=)",
    "no-zero-grad": "the gradients of earlier steps are never forgotten",
    "scored-padding": "the loss counts padding as if it were something to predict",
}
"""Name of each bug, and what is wrong."""


@contextmanager
def bug(name: str | None) -> Iterator[None]:
    """Within this block the engine has the bug `name` (None or "none": has none)."""
    changes = [] if name in (None, "none") else _changes(str(name))
    before = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in changes]
    for place, attribute, wrong in changes:
        setattr(place, attribute, wrong)
    try:
        yield
    finally:
        for place, attribute, right in before:
            setattr(place, attribute, right)


def _changes(name: str) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Return (where, which function, what to put there) for a bug."""
    match name:
        case "no-sort":
            return [(Node, "backward", _backward_along_every_path)]
        case "depth-first":
            return [(Node, "backward", _backward_depth_first)]
        case "overwrite":
            return [(Node, "_receive", _overwrite)]
        case "no-zero-grad":
            return [(Optimizer, "zero_grad", lambda self: None)]
    layers = {
        "detached-attention": ("causal_attention", _detached_attention),
        "inverted-mask": ("causal_attention", _inverted_mask),
        "frozen-norm": ("layer_norm", _frozen_norm),
        "scored-padding": ("cross_entropy", _scored_padding),
    }
    if name not in layers:
        raise ValueError(f"no bug is called {name!r}; there are {', '.join(BUGS)}")
    function, wrong = layers[name]
    return [(module, function, wrong(getattr(module, function))) for module in (fast, simple)]


def _detached_attention(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(qkv: Tensor, heads: int) -> Tensor:
        values_from = qkv.shape[-1] // 3 * 2
        return right(concatenate([qkv[..., :values_from].detach(), qkv[..., values_from:]], axis=-1), heads)

    return wrong


def _inverted_mask(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(qkv: Tensor, heads: int) -> Tensor:
        return right(qkv[:, ::-1], heads)[:, ::-1]

    return wrong


def _frozen_norm(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def frozen(t: Tensor) -> Tensor:
        return Tensor.result(t.data.view(), (t,), lambda g: (np.zeros_like(g),), "frozen")

    def wrong(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        return right(x, frozen(gain), frozen(bias), eps)

    return wrong


def _scored_padding(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(logits: Tensor, targets: Any, ignore_index: int | None = None) -> Tensor:
        return right(logits, targets, None)

    return wrong


def _overwrite(self: Node, part: Array) -> None:
    self.grad = np.asarray(part)


def _start(end: Node, gradient: Array | None) -> Array:
    return np.ones_like(end.data) if gradient is None else np.array(gradient, end.dtype)


def _backward_along_every_path(self: Node, gradient: Array | None = None) -> int:
    """Send gradients back by recursion. The gradients are right; the calls are as many as paths."""
    calls = 0

    def walk(node: Node, g: Array) -> None:
        nonlocal calls
        if not node.parents:
            node._receive(g)
            return
        calls += 1
        for parent, part in zip(node.parents, node.send(g)):
            if parent.requires_grad:
                walk(parent, np.asarray(part))

    walk(self, _start(self, gradient))
    return calls


def _backward_depth_first(self: Node, gradient: Array | None = None) -> int:
    """Send gradients back in the order in which a search from the end first meets the nodes."""
    order: dict[Node, None] = {}
    stack = [self]
    while stack:
        node = stack.pop()
        if node.parents and node not in order:
            order[node] = node.grad = None
            stack += node.parents
    self._receive(_start(self, gradient))
    for node in order:
        for parent, part in zip(node.parents, node.send(node.grad)):
            if parent.requires_grad:
                parent._receive(part)
    return len(order)
