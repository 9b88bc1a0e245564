"""Optimisers: what to do with the gradients. All parameters lie in one flat array, updated in place.

One array means a dozen NumPy calls a step however many parameters there are; each parameter is a
view of its stretch of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bestguess.scratch.node import Array
from bestguess.scratch.ops import Tensor


class Optimizer:
    """What all optimisers share: the flat parameters, their gradients, clipping.

    `lr` is the learning rate (may be changed between steps); `clip` the largest global norm of the
    gradient, beyond which it is scaled down (Pascanu et al., 2013); None clips nothing.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, clip: float | None = None):
        self.parameters = list(parameters)
        self.lr, self.clip = lr, clip
        self.steps = 0
        if not self.parameters:
            raise ValueError("optimiser: no parameters")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError("optimiser: a parameter is given twice")
        dtypes = {p.dtype for p in self.parameters}
        if len(dtypes) > 1:
            raise TypeError("optimiser: parameters of unequal dtype")
        self.flat = np.concatenate([p.array.ravel() for p in self.parameters])
        self.gradient = np.empty_like(self.flat)
        self.norm = math.nan  # of the last step's gradient before clipping, where `clip` is set
        start = 0
        for p in self.parameters:
            p.array = self.flat[start : start + p.size].reshape(p.shape)
            start += p.size

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward starts from none."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter once, by its `grad`."""
        self._gather()
        self.steps += 1
        self._update(self.gradient)
        for p in self.parameters:
            p._version += 1

    def _gather(self) -> None:
        parts = []
        for i, p in enumerate(self.parameters):
            if p.grad is None:
                raise ValueError(f"optimiser: parameter {i} of shape {p.shape} has no gradient; use it or leave it out")
            if p.array.base is not self.flat:
                raise ValueError(f"optimiser: parameter {i} now belongs to another optimiser")
            parts.append(p.grad)
        np.concatenate(parts, axis=None, out=self.gradient)
        if self.clip is not None:
            self.norm = math.sqrt(float(self.gradient @ self.gradient))
            if self.norm > self.clip:
                self.gradient *= self.clip / self.norm

    def _update(self, g: Array) -> None:
        """Change `self.flat` in place by the gradient `g`, which may be overwritten."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: v ← momentum · v + g; p ← p − lr · v."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, clip: float | None = None):
        super().__init__(parameters, lr, clip)
        self.momentum = momentum
        self.velocity = np.zeros_like(self.flat)

    def _update(self, g: Array) -> None:
        self.velocity *= self.momentum
        self.velocity += g
        self.flat -= self.lr * self.velocity


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015, algorithm 1); `weight_decay` adds weight_decay · p to the gradient."""

    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip: float | None = None,
    ):
        super().__init__(parameters, lr, clip)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.first, self.second = np.zeros_like(self.flat), np.zeros_like(self.flat)
        self._change = np.empty_like(self.flat)

    def _update(self, g: Array) -> None:
        b1, b2 = self.betas
        if self.weight_decay:
            if self.decoupled:
                self.flat *= 1 - self.lr * self.weight_decay
            else:
                g += self.weight_decay * self.flat
        # The running sums of g and g², first ← b1 first + g: what they lack to be the paper's averages
        # m̂ and √ŝ, 1 − b and the correction of the bias towards 0, are two numbers, kept for the end.
        self.first *= b1
        self.first += g
        g *= g
        self.second *= b2
        self.second += g
        to_mean = (1 - b1) / (1 - b1**self.steps)
        to_root = math.sqrt((1 - b2) / (1 - b2**self.steps))
        # p ← p − lr · m̂ / (√ŝ + eps), numerator and denominator both divided by `to_root`
        root = np.sqrt(self.second, g)
        root += self.eps / to_root
        change = np.divide(self.first, root, self._change)
        change *= self.lr * to_mean / to_root
        self.flat -= change


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← (1 − lr · weight_decay) p (Loshchilov & Hutter, 2019)."""

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        clip: float | None = None,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, clip)


def warmup_cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the factor of the learning rate at `step` of `steps`: up in a line, then down a half cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def warmup_linear(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the factor of the learning rate at `step` of `steps`: up in a line, then down in a line."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * (1 - done)
