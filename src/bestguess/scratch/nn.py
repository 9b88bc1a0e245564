"""Modules: parameters with names, and the layers that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bestguess.scratch import fused, primitive
from bestguess.scratch.node import Array
from bestguess.scratch.ops import Tensor

Kernels = Literal["fused", "primitive"]


class Layers(Protocol):
    """What `fused` and `primitive` both offer; a model calls one of the two."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor: ...
    def layer_norm(self, x: Tensor, gain: Tensor, bias: Tensor, eps: float = ...) -> Tensor: ...
    def rms_norm(self, x: Tensor, gain: Tensor, eps: float = ...) -> Tensor: ...
    def gelu(self, x: Tensor) -> Tensor: ...
    def feed_forward(
        self, x: Tensor, up: Tensor, up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None, onto: Tensor
    ) -> Tensor: ...
    def causal_attention(self, qkv: Tensor, heads: int, rotation: Any = None) -> Tensor: ...
    def embedding(
        self, table: Tensor, index: npt.NDArray[np.integer], positions: Tensor | None = None, start: int = 0
    ) -> Tensor: ...
    def cross_entropy(self, logits: Tensor, targets: Any, ignore_index: int | None = None) -> Tensor: ...


def layers(kernels: Kernels) -> Layers:
    """Return the module that computes layers by the `kernels` named."""
    if kernels not in ("fused", "primitive"):
        raise ValueError(f"kernels: {kernels!r} is neither 'fused' nor 'primitive'")
    return fused if kernels == "fused" else primitive


class Module:
    """Anything with parameters: tensors that require a gradient, in its attributes or its modules'."""

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (name, parameter) in the order they were assigned, names dotted by where they stand."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.requires_grad:
                yield prefix + name, value
            for i, part in enumerate(value) if isinstance(value, list) else [("", value)]:
                if isinstance(part, Module):
                    yield from part.named_parameters(f"{prefix}{name}.{i}." if i != "" else f"{prefix}{name}.")

    def parameters(self) -> list[Tensor]:
        return [p for _, p in self.named_parameters()]

    def count(self) -> int:
        """Return the number of scalar parameters."""
        return sum(p.size for p in self.parameters())

    def state_dict(self) -> dict[str, Array]:
        """Return every parameter's name and a copy of its values."""
        return {name: p.array.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Overwrite every parameter; names and shapes must be exactly this module's (ValueError)."""
        own = dict(self.named_parameters())
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(f"load_state_dict: missing {missing}, unknown {unknown}")
        for name, p in own.items():
            if state[name].shape != p.shape:
                raise ValueError(f"load_state_dict: {name} has shape {state[name].shape}, wants {p.shape}")
        for name, p in own.items():
            p.data = state[name]


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: npt.DTypeLike) -> Tensor:
    """Return a parameter drawn from N(0, std²)."""
    return Tensor(rng.normal(0, std, shape), requires_grad=True, dtype=dtype)


class Linear(Module):
    """x W + b, with W (inputs, outputs) drawn from N(0, gain² / inputs); a call may add it onto a stream."""

    def __init__(
        self,
        rng: np.random.Generator,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        kernels: Kernels = "fused",
        dtype: npt.DTypeLike = np.float32,
    ):
        self.weight = normal(rng, (inputs, outputs), gain * inputs**-0.5, dtype)
        self.bias = Tensor(np.zeros(outputs), requires_grad=True, dtype=dtype) if bias else None
        self._layers = layers(kernels)

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        return self._layers.linear(x, self.weight, self.bias, onto)


class LayerNorm(Module):
    """Features with mean 0 and variance 1, times a gain, plus a bias."""

    def __init__(self, dim: int, *, kernels: Kernels = "fused", dtype: npt.DTypeLike = np.float32):
        self.gain = Tensor(np.ones(dim), requires_grad=True, dtype=dtype)
        self.bias = Tensor(np.zeros(dim), requires_grad=True, dtype=dtype)
        self._layers = layers(kernels)

    def __call__(self, x: Tensor) -> Tensor:
        return self._layers.layer_norm(x, self.gain, self.bias)


class RMSNorm(Module):
    """Features over their root mean square, times a gain."""

    def __init__(self, dim: int, *, kernels: Kernels = "fused", dtype: npt.DTypeLike = np.float32):
        self.gain = Tensor(np.ones(dim), requires_grad=True, dtype=dtype)
        self._layers = layers(kernels)

    def __call__(self, x: Tensor) -> Tensor:
        return self._layers.rms_norm(x, self.gain)
