"""An array that remembers what it was made from, and how to send a gradient back. `tensor` gives it operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Send = Callable[[Array], Sequence[Array]]

_recording = True


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this block results remember nothing, so no gradient can be sent back from them."""
    global _recording
    before, _recording = _recording, False
    try:
        yield
    finally:
        _recording = before


class Node:
    """An array `data` (float32 or float64) that can receive a gradient `grad` of the same shape.

    A leaf copies its numbers: as float32, unless they are a float64 array. The result of an operation remembers its
    `parents`, and `send`: from its gradient to theirs. Arrays are read-only, so that none changes between an
    operation and its derivative; to change a leaf, assign a new one: `p.data = p.data - lr * p.grad`.
    """

    __slots__ = ("__weakref__", "data", "grad", "name", "op", "parents", "requires_grad", "send")
    data: Array
    grad: Any  # an array, or None
    parents: tuple[Node, ...]

    def __init__(self, data: Any, requires_grad: bool = False, dtype: npt.DTypeLike | None = None):
        if dtype is None:
            dtype = np.float64 if isinstance(data, np.ndarray | Node) and data.dtype == np.float64 else np.float32
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"a tensor is float32 or float64, not {np.dtype(dtype)}")
        self._set(np.array(data, dtype), requires_grad, (), lambda g: (), "")

    def _set(self, data: Array, requires_grad: bool, parents: tuple[Node, ...], send: Send, op: str) -> None:
        data.flags.writeable = False
        self.data, self.grad, self.requires_grad = data, None, requires_grad
        self.parents, self.send, self.op, self.name = parents, send, op, ""

    @classmethod
    def result(cls, data: Array, parents: tuple[Node, ...], send: Send, op: str) -> Self:
        """Return the node of `data`, which `op` made of `parents`; it remembers them if one needs a gradient.

        `send` maps the result's gradient to one per parent, each of the parent's shape, and changes no array.
        """
        out = cls.__new__(cls)
        if not _recording or True not in [parent.requires_grad for parent in parents]:
            parents, send = (), lambda g: ()
        out._set(np.asarray(data), bool(parents), parents, send, op)
        return out

    def backward(self, gradient: Array | None = None) -> int:
        """Add d(self)/d(leaf) to every leaf's `grad`; return the number of results walked through, each once."""
        if not self.requires_grad:
            raise ValueError("backward: this tensor depends on no tensor with requires_grad=True")
        start = np.ones_like(self.data) if gradient is None else np.array(gradient, self.dtype)
        if start.shape != self.shape or (gradient is None and start.size != 1):
            raise ValueError(f"backward: a tensor of shape {self.shape} needs a gradient of that shape; or sum it")
        order = topological_order(self)
        for node in order:
            node.grad = None
        self._receive(start)
        for node in reversed(order):  # so each has all of its gradient before it sends it on
            for parent, part in zip(node.parents, node.send(node.grad)):
                if parent.requires_grad:
                    parent._receive(part)
        return len(order)

    def _receive(self, part: Array) -> None:
        part = np.asarray(part if self.grad is None else self.grad + part)
        part.flags.writeable = False  # it may be another node's gradient too
        self.grad = part

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.data.dtype


def topological_order(end: Node) -> list[Node]:
    """Return the results that `end` was made of, leaves left out: each after its parents, `end` last."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(end, False)]  # of our own, because Python's ends at a depth of about 1,000
    while stack:
        node, parents_are_done = stack.pop()
        if parents_are_done:
            order.append(node)
        elif node.parents and node not in seen:
            seen.add(node)
            stack += [(node, True), *[(parent, False) for parent in node.parents]]
    return order
