"""Tensors and their primitive operations, each beside its derivative.

Every function here computes a value and says how a gradient `g` of that value (same shape) turns
into gradients of its arguments: the chain rule, one link at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bestguess.scratch.node import Array, Gradients, Node

Axis = int | tuple[int, ...] | None


class Tensor(Node):
    """An array of float32 or float64 that can receive a gradient, with its operations as operators and methods."""

    __slots__ = ()

    def __add__(self, other: Like) -> Tensor:
        return add(self, other)

    def __radd__(self, other: Like) -> Tensor:
        return add(other, self)

    def __sub__(self, other: Like) -> Tensor:
        return subtract(self, other)

    def __rsub__(self, other: Like) -> Tensor:
        return subtract(other, self)

    def __mul__(self, other: Like) -> Tensor:
        return multiply(self, other)

    def __rmul__(self, other: Like) -> Tensor:
        return multiply(other, self)

    def __truediv__(self, other: Like) -> Tensor:
        return divide(self, other)

    def __rtruediv__(self, other: Like) -> Tensor:
        return divide(other, self)

    def __neg__(self) -> Tensor:
        return multiply(self, -1.0)

    def __pow__(self, exponent: float) -> Tensor:
        return power(self, exponent)

    def __matmul__(self, other: Like) -> Tensor:
        return matmul(self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return slice_(self, index)

    def exp(self) -> Tensor:
        return exp(self)

    def log(self) -> Tensor:
        return log(self)

    def sqrt(self) -> Tensor:
        return sqrt(self)

    def tanh(self) -> Tensor:
        return tanh(self)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return sum_(self, axis, keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return mean(self, axis, keepdims)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return max_(self, axis, keepdims)

    def reshape(self, *shape: int) -> Tensor:
        return reshape(self, shape)

    def transpose(self, *axes: int) -> Tensor:
        return transpose(self, axes or None)

    # NumPy must not unpack a tensor on its left into an array of tensors.
    __array_ufunc__ = None


Like = Tensor | Array | float | int
result = Tensor.result


def as_tensors(*values: Like) -> tuple[Tensor, ...]:
    """Return the values as tensors of one dtype; numbers and plain arrays take the tensors' own.

    Two tensors of unequal dtype are a TypeError: silent promotion would leave float32 for good.
    """
    dtypes = {v.array.dtype for v in values if isinstance(v, Tensor)}
    if len(dtypes) > 1:
        raise TypeError(f"tensors of {' and '.join(sorted(map(str, dtypes)))} in one operation; convert one")
    dtype = dtypes.pop() if dtypes else None
    return tuple([v if isinstance(v, Tensor) else Tensor(v, dtype=dtype) for v in values])


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Return `g` summed to `shape`: a value that was broadcast gets the sum of its copies' gradients."""
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=ones, keepdims=True) if ones else g


def _broadcast(name: str, a: Tensor, b: Tensor) -> None:
    if a.array.shape == b.array.shape:
        return
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast") from None


def add(a: Like, b: Like) -> Tensor:
    a, b = as_tensors(a, b)
    _broadcast("add", a, b)

    def backward(g: Array) -> Gradients:
        return unbroadcast(g, a.shape), unbroadcast(g, b.shape)

    return result(a.array + b.array, (a, b), backward, "+")


def subtract(a: Like, b: Like) -> Tensor:
    a, b = as_tensors(a, b)
    _broadcast("subtract", a, b)

    def backward(g: Array) -> Gradients:
        return unbroadcast(g, a.shape), unbroadcast(-g, b.shape)

    return result(a.array - b.array, (a, b), backward, "-")


def multiply(a: Like, b: Like) -> Tensor:
    a, b = as_tensors(a, b)
    _broadcast("multiply", a, b)

    def backward(g: Array) -> Gradients:
        return unbroadcast(g * b.array, a.shape), unbroadcast(g * a.array, b.shape)

    return result(a.array * b.array, (a, b), backward, "×", saved=(a, b))


def divide(a: Like, b: Like) -> Tensor:
    a, b = as_tensors(a, b)
    _broadcast("divide", a, b)
    quotient = a.array / b.array

    def backward(g: Array) -> Gradients:
        g_a = g / b.array
        return unbroadcast(g_a, a.shape), unbroadcast(-g_a * quotient, b.shape)

    return result(quotient, (a, b), backward, "÷", saved=(b,), saves_itself=True)


def power(a: Like, exponent: float) -> Tensor:
    """Return `a` to the power of a plain number; for a tensor as exponent, write exp(b · log(a))."""
    if not isinstance(exponent, int | float):
        raise TypeError(f"power: the exponent is a plain number, not {type(exponent).__name__}")
    (a,) = as_tensors(a)

    def backward(g: Array) -> Gradients:
        return (g * exponent * a.array ** (exponent - 1),)

    return result(a.array**exponent, (a,), backward, f"^{exponent:g}", saved=(a,))


def exp(a: Like) -> Tensor:
    (a,) = as_tensors(a)
    y = np.exp(a.array)
    return result(y, (a,), lambda g: (g * y,), "exp", saves_itself=True)


def log(a: Like) -> Tensor:
    (a,) = as_tensors(a)
    return result(np.log(a.array), (a,), lambda g: (g / a.array,), "log", saved=(a,))


def sqrt(a: Like) -> Tensor:
    (a,) = as_tensors(a)
    y = np.sqrt(a.array)
    return result(y, (a,), lambda g: (g / (2 * y),), "sqrt", saves_itself=True)


def tanh(a: Like) -> Tensor:
    (a,) = as_tensors(a)
    y = np.tanh(a.array)
    return result(y, (a,), lambda g: (g * (1 - y * y),), "tanh", saves_itself=True)


def _spread(g: Array, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Array:
    """Return `g`, the gradient of a reduction, as a view in the shape of what was reduced."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


def sum_(a: Like, axis: Axis = None, keepdims: bool = False) -> Tensor:
    (a,) = as_tensors(a)

    def backward(g: Array) -> Gradients:
        return (_spread(g, a.shape, axis, keepdims),)

    return result(np.asarray(a.array.sum(axis=axis, keepdims=keepdims)), (a,), backward, "sum")


def mean(a: Like, axis: Axis = None, keepdims: bool = False) -> Tensor:
    (a,) = as_tensors(a)
    y = np.asarray(a.array.mean(axis=axis, keepdims=keepdims))

    def backward(g: Array) -> Gradients:
        return (_spread(g * (y.size / a.size), a.shape, axis, keepdims),)

    return result(y, (a,), backward, "mean")


def max_(a: Like, axis: Axis = None, keepdims: bool = False) -> Tensor:
    (a,) = as_tensors(a)
    y = np.asarray(a.array.max(axis=axis, keepdims=keepdims))

    def backward(g: Array) -> Gradients:
        at_peak = (a.array == _spread(y, a.shape, axis, keepdims)).astype(a.dtype)
        at_peak /= at_peak.sum(axis=axis, keepdims=True)  # equal fractions if several are largest
        return (at_peak * _spread(g, a.shape, axis, keepdims),)

    return result(y, (a,), backward, "max", saved=(a,), saves_itself=True)


def matmul(a: Like, b: Like) -> Tensor:
    """Return the matrix product over the last two axes; leading axes broadcast."""
    a, b = as_tensors(a, b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit; it takes (…, n, k) and (…, k, m)")

    def backward(g: Array) -> Gradients:
        g_a = unbroadcast(g @ b.array.swapaxes(-1, -2), a.shape)
        return g_a, unbroadcast(a.array.swapaxes(-1, -2) @ g, b.shape)

    return result(a.array @ b.array, (a, b), backward, "matmul", saved=(a, b))


def reshape(a: Like, shape: Sequence[int]) -> Tensor:
    (a,) = as_tensors(a)
    try:
        y = a.array.reshape(tuple(shape))
    except ValueError:
        raise ValueError(f"reshape: {a.shape} does not fill {tuple(shape)}") from None
    # A copy, not a view: changing the one in place must not change the other unseen.
    return result(y.copy(), (a,), lambda g: (g.reshape(a.shape),), "reshape")


def transpose(a: Like, axes: Sequence[int] | None = None) -> Tensor:
    """Return the axes in the order `axes` (default: reversed)."""
    (a,) = as_tensors(a)
    order = tuple(range(a.ndim))[::-1] if axes is None else tuple(axes)
    if sorted(order) != list(range(a.ndim)):
        raise ValueError(f"transpose: {order} is no order of the {a.ndim} axes of {a.shape}")
    back = np.argsort(order)
    y = np.ascontiguousarray(a.array.transpose(order))
    return result(y if y.base is None else y.copy(), (a,), lambda g: (g.transpose(back),), "transpose")


def slice_(a: Like, index: Any) -> Tensor:
    """Return `a[index]`, for anything that NumPy takes as an index; one taken twice gets both gradients."""
    (a,) = as_tensors(a)
    try:
        y = np.array(a.array[index])
    except IndexError as error:
        raise IndexError(f"slice of a tensor of shape {a.shape}: {error}") from None
    parts = index if isinstance(index, tuple) else (index,)
    basic = all(isinstance(p, int | slice) or p is None or p is Ellipsis for p in parts)

    def backward(g: Array) -> Gradients:
        g_a = np.zeros(a.shape, a.dtype)
        if basic:  # then no element is taken twice
            g_a[index] = g
        else:
            np.add.at(g_a, index, g)
        return (g_a,)

    return result(y, (a,), backward, "slice")


def concatenate(tensors: Sequence[Like], axis: int = 0) -> Tensor:
    parts = as_tensors(*tensors)
    try:
        y = np.concatenate([t.array for t in parts], axis=axis)
    except ValueError:
        shapes = ", ".join(str(t.shape) for t in parts)
        raise ValueError(f"concatenate along axis {axis}: shapes {shapes} do not fit") from None
    cuts = np.cumsum([t.shape[axis] for t in parts])[:-1].tolist()
    return result(y, parts, lambda g: np.split(g, cuts, axis=axis), "concatenate")


def check_index(name: str, index: npt.NDArray[np.integer], size: int) -> None:
    """Raise unless every integer of `index` is one of 0 … size − 1."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices are integers, not {index.dtype}")
    # As unsigned numbers, negative ones are the largest: one search tells both ends.
    unsigned = index.astype(np.int64, copy=False).view(np.uint64).ravel()
    if index.size and unsigned.item(unsigned.argmax()) >= size:
        raise IndexError(f"{name}: indices from {index.min()} to {index.max()} into {size} rows")


def embedding(table: Tensor, index: npt.NDArray[np.integer]) -> Tensor:
    """Return rows of `table`: shape of `index`, then the row's. A row's gradient sums over its uses."""
    index = np.asarray(index)
    check_index("embedding", index, len(table))

    def backward(g: Array) -> Gradients:
        g_table = np.zeros_like(table.array)
        np.add.at(g_table, index, g)
        return (g_table,)

    return result(table.array[index], (table,), backward, "embedding")


def where(condition: npt.NDArray[np.bool_], a: Like, b: Like) -> Tensor:
    """Return `a` if `condition` holds and `b` if not, by element; so `where(mask, x, -inf)` masks."""
    condition = np.asarray(condition, bool)
    a, b = as_tensors(a, b)
    _broadcast("where", a, b)

    def backward(g: Array) -> Gradients:
        return unbroadcast(np.where(condition, g, 0), a.shape), unbroadcast(np.where(condition, 0, g), b.shape)

    return result(np.where(condition, a.array, b.array), (a, b), backward, "where")
