"""Tensors and their operations, each beside its derivative: from a gradient `g` of the value to its arguments'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bestguess.scratch.engine.node import Array, Node

Axis = int | tuple[int, ...] | None


class Tensor(Node):
    """A node with operations. Numbers and plain arrays beside a tensor become constants of its dtype."""

    __slots__ = ()

    def __add__(self, other: Like) -> Tensor:
        a, b = pair(self, other)
        return Tensor.result(a.data + b.data, (a, b), lambda g: (summed(g, a.shape), summed(g, b.shape)), "+")

    def __sub__(self, other: Like) -> Tensor:
        a, b = pair(self, other)
        return Tensor.result(a.data - b.data, (a, b), lambda g: (summed(g, a.shape), summed(-g, b.shape)), "-")

    def __mul__(self, other: Like) -> Tensor:
        a, b = pair(self, other)
        x, y = a.data, b.data
        return Tensor.result(x * y, (a, b), lambda g: (summed(g * y, a.shape), summed(g * x, b.shape)), "×")

    def __truediv__(self, other: Like) -> Tensor:
        a, b = pair(self, other)
        y, z = b.data, a.data / b.data
        return Tensor.result(z, (a, b), lambda g: (summed(g / y, a.shape), summed(-g * z / y, b.shape)), "÷")

    def __pow__(self, exponent: float) -> Tensor:
        if not isinstance(exponent, int | float):
            raise TypeError(f"the exponent is a plain number, not {type(exponent).__name__}; else use exp(b * log(a))")
        x = self.data
        return Tensor.result(x**exponent, (self,), lambda g: (g * exponent * x ** (exponent - 1),), f"^{exponent:g}")

    def __matmul__(self, other: Like) -> Tensor:
        """Return the matrix product over the last two axes; leading axes broadcast."""
        a, b = pair(self, other)
        x, y = a.data, b.data
        if min(x.ndim, y.ndim) < 2:
            raise ValueError(f"matmul takes (…, n, k) and (…, k, m), not {x.shape} and {y.shape}; reshape a vector")

        def send(g: Array) -> tuple[Array, Array]:
            return summed(g @ y.swapaxes(-1, -2), a.shape), summed(x.swapaxes(-1, -2) @ g, b.shape)

        return Tensor.result(x @ y, (a, b), send, "matmul")

    def __abs__(self) -> Tensor:
        x = self.data
        return Tensor.result(abs(x), (self,), lambda g: (g * np.sign(x),), "abs")

    def exp(self) -> Tensor:
        y = np.exp(self.data)
        return Tensor.result(y, (self,), lambda g: (g * y,), "exp")

    def log(self) -> Tensor:
        x = self.data
        return Tensor.result(np.log(x), (self,), lambda g: (g / x,), "log")

    def sqrt(self) -> Tensor:
        y = np.sqrt(self.data)
        return Tensor.result(y, (self,), lambda g: (g / (2 * y),), "sqrt")

    def tanh(self) -> Tensor:
        y = np.tanh(self.data)
        return Tensor.result(y, (self,), lambda g: (g * (1 - y * y),), "tanh")

    def relu(self) -> Tensor:
        positive = self.data > 0
        return Tensor.result(self.data * positive, (self,), lambda g: (g * positive,), "relu")

    def softmax(self, axis: int = -1) -> Tensor:
        """Return exp(x) over its sum along `axis`; shifted by the largest, which changes nothing."""
        e = np.exp(self.data - self.data.max(axis, keepdims=True))
        y = e / e.sum(axis, keepdims=True)
        return Tensor.result(y, (self,), lambda g: (y * (g - (g * y).sum(axis, keepdims=True)),), "softmax")

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        y = self.data.sum(axis, keepdims=keepdims)
        return Tensor.result(y, (self,), lambda g: (spread(g, self.shape, axis, keepdims),), "sum")

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        y = np.asarray(self.data.mean(axis, keepdims=keepdims))
        each = y.size / self.data.size
        return Tensor.result(y, (self,), lambda g: (spread(g * each, self.shape, axis, keepdims),), "mean")

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        y = self.data.max(axis, keepdims=keepdims)
        largest = (self.data == spread(y, self.shape, axis, keepdims)).astype(self.dtype)
        fraction = largest / largest.sum(axis, keepdims=True)  # equal ones, if several are largest
        return Tensor.result(y, (self,), lambda g: (spread(g, self.shape, axis, keepdims) * fraction,), "max")

    def reshape(self, *shape: Any) -> Tensor:
        return Tensor.result(self.data.reshape(*shape), (self,), lambda g: (g.reshape(self.shape),), "reshape")

    def transpose(self, *axes: Any) -> Tensor:
        """Return the axes in the order `axes` (default: reversed)."""
        order = np.ravel(axes or range(self.data.ndim)[::-1]).astype(int)
        y = self.data.transpose(order)
        return Tensor.result(y, (self,), lambda g: (g.transpose(np.argsort(order)),), "transpose")

    def __getitem__(self, index: Any) -> Tensor:
        """Return `self[index]`, for anything that NumPy takes as an index; one taken twice gets both gradients."""

        def send(g: Array) -> tuple[Array]:
            out = np.zeros(self.shape, g.dtype)
            np.add.at(out, index, g)
            return (out,)

        return Tensor.result(self.data[index], (self,), send, "index")

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Tensor:
        return self * -1.0

    def __rsub__(self, other: Like) -> Tensor:
        return Tensor(other, dtype=self.dtype) - self

    def __rtruediv__(self, other: Like) -> Tensor:
        return Tensor(other, dtype=self.dtype) / self

    @property
    def T(self) -> Tensor:
        return self.transpose()

    def detach(self) -> Tensor:
        """Return a leaf with these values, which sends no gradient back."""
        return Tensor(self.data)

    def item(self) -> float:
        """Return the only value as a Python float."""
        return float(self.data.item())

    def __bool__(self) -> bool:
        return bool(self.data)  # of several values NumPy says that it is ambiguous

    def __len__(self) -> int:
        return len(self.data)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    __array_ufunc__ = None  # NumPy must leave `array * tensor` to the tensor

    def __repr__(self) -> str:
        return f"Tensor({np.array2string(self.data, precision=4, threshold=20)}, {self.dtype}, op={self.op!r})"


Like = Tensor | Array | float | int


def pair(a: Tensor, b: Like) -> tuple[Tensor, Tensor]:
    """Return both as tensors of one dtype; two tensors of unequal dtype are a TypeError."""
    b = b if isinstance(b, Tensor) else Tensor(b, dtype=a.dtype)
    if a.dtype != b.dtype:  # promotion would leave float32 for good, and say nothing
        raise TypeError(f"tensors of {a.dtype} and {b.dtype} in one operation; convert one")
    return a, b


def summed(g: Array, shape: tuple[int, ...]) -> Array:
    """Return `g` summed to `shape`: a value that was broadcast gets the sum of its copies' gradients."""
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def spread(g: Array, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Array:
    """Return `g`, the gradient of a sum over `axis`, in the shape of what was summed."""
    return np.broadcast_to(g if axis is None or keepdims else np.expand_dims(g, axis), shape)


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Return the tensors joined along `axis`; each gets its stretch of the gradient."""
    cuts = np.cumsum([t.shape[axis] for t in tensors])[:-1]
    y = np.concatenate([t.data for t in tensors], axis)
    return Tensor.result(y, tuple(tensors), lambda g: np.split(g, cuts, axis), "concatenate")


def where(condition: npt.NDArray[np.bool_], a: Tensor, b: Like) -> Tensor:
    """Return `a` where `condition` holds and `b` where not, by element; so `where(mask, x, -np.inf)` masks."""
    a, b = pair(a, b)

    def send(g: Array) -> tuple[Array, Array]:
        return summed(np.where(condition, g, 0), a.shape), summed(np.where(condition, 0, g), b.shape)

    return Tensor.result(np.where(condition, a.data, b.data), (a, b), send, "where")
