"""An array that remembers: what it was computed from, and how to send a gradient back. `ops` gives it operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bestguess.scratch import pool

Array = npt.NDArray[np.floating]
Gradients = Sequence[Array | None]
Backward = Callable[[Array], Gradients]

_recording = True
_CHANGED = (
    "backward: a tensor of shape {shape} that '{op}' saved has been changed in place since; run the forward pass again"
)


class GraphError(RuntimeError):
    """The graph cannot send gradients back: released, changed in place, or without a gradient to send."""


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this block, results remember nothing (and tensors may be changed in place)."""
    global _recording
    before, _recording = _recording, False
    try:
        yield
    finally:
        _recording = before


class Node:
    """An array of float32 or float64 that can receive a gradient: the graph's part of a `Tensor`.

    `data` may be a list, a number or an array, and is copied; anything but float64 becomes float32.
    A result of an operation remembers its parents and a function from its gradient to theirs.
    """

    __slots__ = (
        "__weakref__",
        "_backward",
        "_parents",
        "_saved",
        "_saves_itself",
        "_version",
        "array",
        "grad",
        "op",
        "requires_grad",
    )
    array: Array  # the engine's own handle: writing to it goes unnoticed, so the world uses `data`
    grad: Array | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: npt.DTypeLike | None = None):
        array = np.asarray(data)
        if dtype is None:
            dtype = np.float64 if array.dtype == np.float64 and isinstance(data, np.ndarray) else np.float32
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"a tensor is float32 or float64, not {np.dtype(dtype)}")
        self._set(np.array(array, dtype), requires_grad)

    def _set(self, array: Array, requires_grad: bool) -> None:
        self.array, self.grad, self.requires_grad, self.op = array, None, requires_grad, ""
        self._backward: Backward | None = None
        self._parents: tuple[Node, ...] = ()
        self._saved: tuple[tuple[Node, int], ...] = ()
        self._saves_itself, self._version = False, 0

    @classmethod
    def result(
        cls,
        array: Array,
        parents: tuple[Self, ...],
        backward: Backward,
        op: str,
        saved: tuple[Self, ...] = (),
        saves_itself: bool = False,
    ) -> Self:
        """Return the node of `array`, which an operation made; it remembers if any parent needs a gradient.

        `backward` maps the result's gradient to one gradient (or None) per parent; it must not write to
        it, nor keep, nor give to two parents, an array that it made. `saved` are the parents whose values
        it will read: changing them before then is an error.
        """
        out = cls.__new__(cls)
        out._set(array, False)
        out.op = op
        if _recording:
            for parent in parents:
                if parent.requires_grad:
                    out.requires_grad = True
                    out._parents, out._backward, out._saves_itself = parents, backward, saves_itself
                    if saved:
                        out._saved = tuple([(t, t._version) for t in saved])
                    break
        return out

    # What it holds

    @property
    def data(self) -> Array:
        """The values, to read. To change them: `with no_grad(): t[...] = values`."""
        view = self.array.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, values: Any) -> None:
        with no_grad():
            self[...] = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.array.dtype

    @property
    def parents(self) -> tuple[Node, ...]:
        """The tensors that this one was computed from; empty for a leaf or once released."""
        return self._parents

    def item(self) -> float:
        """Return the only value as a Python float."""
        return float(self.array.item())

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        of = f", op={self.op!r}" if self.op else ""
        return f"{type(self).__name__}({np.array2string(self.array, precision=4, threshold=20)}, {self.dtype}{of})"

    def detach(self) -> Self:
        """Return a leaf with a copy of these values, which sends no gradient back."""
        return type(self)(self.array)

    def __setitem__(self, index: Any, values: Any) -> None:
        if _recording and self.requires_grad:
            raise GraphError("in-place change of a tensor that requires a gradient; do it inside `with no_grad():`")
        self.array[index] = values.array if isinstance(values, Node) else values
        self._version += 1

    # Sending gradients back

    def backward(self, gradient: Array | None = None, keep_graph: bool = False) -> int:
        """Add d(self)/d(leaf) to every leaf's `grad`; return the number of backward calls made.

        Each node's backward function is called exactly once, after all that use the node
        (reverse-mode differentiation, Linnainmaa 1970). Afterwards the graph is released, unless
        `keep_graph`, which also leaves every node's gradient in its `grad`, to look at.
        A tensor with more than one value needs the `gradient` to start from (its own shape).
        """
        if not self.requires_grad:
            raise GraphError("backward: this tensor depends on no tensor with requires_grad=True")
        if gradient is None:
            if self.size != 1:
                raise GraphError(
                    f"backward: a tensor of shape {self.shape} is no single number; pass `gradient` or sum it"
                )
            gradient = np.ones(self.shape, self.dtype)
        elif np.shape(gradient) != self.shape:
            raise ValueError(f"backward: gradient of shape {np.shape(gradient)} for a tensor of shape {self.shape}")
        if self._backward is None:
            self.grad = gradient.copy() if self.grad is None else self.grad + gradient
            return 0
        waiting: dict[Node, Array] = {self: gradient}
        summed: set[Node] = set()  # whose array in `waiting` is ours to add to
        calls = 0
        for node in reversed(topological_order(self)):
            g = waiting.pop(node, None)
            backward = node._backward
            if g is None or backward is None:  # nothing reached it
                continue
            for t, version in node._saved:
                if t._version != version:
                    raise GraphError(_CHANGED.format(shape=t.shape, op=node.op))
            if node._saves_itself and node._version:
                raise GraphError(_CHANGED.format(shape=node.shape, op=node.op))
            calls += 1
            for parent, part in zip(node._parents, backward(g)):
                if part is None or not parent.requires_grad:
                    continue
                if parent._backward is None:
                    if parent.grad is not None:
                        parent.grad = parent.grad + part
                    else:  # a view, or the gradient passed on as it is, may be another node's too
                        parent.grad = part if part.base is None and part is not g else part.copy()
                elif parent not in waiting:
                    waiting[parent] = part
                elif parent in summed:
                    waiting[parent] += part
                else:  # the array may be another node's too
                    waiting[parent] = np.add(waiting[parent], part, pool.out(part.shape, part.dtype))
                    summed.add(parent)
            if keep_graph:
                node.grad = g
            else:
                node._parents, node._backward, node._saved = (), _released, ()
        return calls


def _released(_: Array) -> Gradients:
    raise GraphError(
        "second backward through a graph that is released after use; run the forward pass again, "
        "or pass keep_graph=True the first time"
    )


def topological_order(root: Node) -> list[Node]:
    """Return the nodes (leaves left out) that `root` depends on, each after all that it depends on.

    Iterative, because Python's own stack ends at a depth of about 1,000 nodes.
    """
    order: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        if node not in seen:  # first seen: what it depends on goes on top of it
            seen.add(node)
            for parent in node._parents:
                if parent._backward is not None and parent not in seen:
                    stack.append(parent)
        else:  # back at it: all that is done (and if it already has an index, it keeps it)
            order[stack.pop()] = None
    return list(order)
