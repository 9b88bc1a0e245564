"""A small zoo of classic bugs. Each can be switched on, runs without an error, and is caught by `check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bestguess.scratch import fused, ops, primitive
from bestguess.scratch.node import Array, GraphError, Node
from bestguess.scratch.ops import Tensor

BUGS: dict[str, str] = {
    "detached-attention": "the gradient does not pass through the attention weights, only through the values",
    "inverted-mask": "each token reads itself and those after it, instead of those before",
    "frozen-norm": "LayerNorm uses its gain and bias but sends them no gradient, so they never learn",
    "no-sort": "backward follows every path to a node instead of visiting each node once",
    "scored-padding": "the loss counts padding as if it were something to predict",
}
"""Name of each bug, and what is wrong."""


@contextmanager
def bug(name: str | None) -> Iterator[None]:
    """Within this block the engine has the bug `name` (None: has none)."""
    if name is None:
        yield
        return
    if name not in BUGS:
        raise ValueError(f"no bug is called {name!r}; there are {', '.join(BUGS)}")
    changes = _changes(name)
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
    if name == "no-sort":
        return [(Node, "backward", _backward_along_every_path)]
    function, wrong = {
        "detached-attention": ("causal_attention", _detached_attention),
        "inverted-mask": ("causal_attention", _inverted_mask),
        "frozen-norm": ("layer_norm", _frozen_norm),
        "scored-padding": ("cross_entropy", _scored_padding),
    }[name]
    return [(module, function, wrong(getattr(module, function))) for module in (fused, primitive)]


def _detached_attention(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(qkv: Tensor, heads: int, rotation: Any = None) -> Tensor:
        values_from = qkv.shape[-1] // 3 * 2
        queries_keys = qkv[..., :values_from].detach()
        return right(ops.concatenate([queries_keys, qkv[..., values_from:]], axis=-1), heads, rotation)

    return wrong


def _inverted_mask(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(qkv: Tensor, heads: int, rotation: Any = None) -> Tensor:
        return right(qkv[:, ::-1], heads, rotation)[:, ::-1]

    return wrong


def _frozen_norm(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        return right(x, gain.detach(), bias.detach(), eps)

    return wrong


def _scored_padding(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(logits: Tensor, targets: Any, ignore_index: int | None = None) -> Tensor:
        return right(logits, targets, None)

    return wrong


def _backward_along_every_path(self: Node, gradient: Array | None = None, keep_graph: bool = False) -> int:
    """Send gradients back by recursion. The gradients are right; the calls are as many as paths."""
    calls = 0

    def walk(node: Node, g: Array) -> None:
        nonlocal calls
        if node._backward is None:
            node.grad = g.copy() if node.grad is None else node.grad + g
            return
        calls += 1
        for parent, part in zip(node._parents, node._backward(g)):
            if part is not None and parent.requires_grad:
                walk(parent, part)

    if gradient is None:
        gradient = self.array * 0 + 1
    try:
        walk(self, gradient)
    except RecursionError:
        raise GraphError("backward: the recursion went deeper than Python's stack") from None
    return calls
