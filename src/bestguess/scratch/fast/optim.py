"""Optimisers made fast: all parameters lie in one flat array, so a step takes a dozen NumPy calls however many."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bestguess.scratch.engine import optim
from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor


class Flat(optim.Optimizer):
    """An optimiser whose parameters are views of `flat`; each step makes a new array of it."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, clip: float = math.inf):
        super().__init__(parameters, lr, clip)
        if len({p.dtype for p in self.parameters}) > 1:
            raise TypeError("optimiser: parameters of unequal dtype")
        self.norm = math.nan  # of the last step's gradient before clipping, where `clip` is set
        self._ends = np.cumsum([0, *(p.data.size for p in self.parameters)]).tolist()
        self._become(np.concatenate([p.data.ravel() for p in self.parameters]))
        self._gradient = np.empty_like(self.flat)

    def _become(self, flat: Array) -> None:
        flat.flags.writeable = False
        self.flat = flat
        for p, start, end in zip(self.parameters, self._ends, self._ends[1:]):
            p.data = flat[start:end].reshape(p.data.shape)

    def step(self) -> None:
        """Change every parameter once, by its `grad`."""
        g = self._gathered()
        if self.clip < math.inf:
            self.norm = math.sqrt(float(g @ g))
            if self.norm > self.clip:
                g *= self.clip / self.norm
        self.steps += 1
        self._become(self._stepped_flat(g))

    def _gathered(self) -> Array:
        """Return all gradients in one array, which may be written to; ValueError where one is missing."""
        for i, p in enumerate(self.parameters):
            if p.grad is None:
                raise ValueError(f"optimiser: parameter {i} of shape {p.shape} has no gradient; use it or leave it out")
            if p.data.base is not self.flat:
                raise ValueError(f"optimiser: parameter {i} has been changed from outside, or has another optimiser")
        return np.concatenate([p.grad for p in self.parameters], axis=None, out=self._gradient)

    def _stepped_flat(self, g: Array) -> Array:
        """Return a new `flat` after a step by the gradient `g`, which may be overwritten."""
        raise NotImplementedError


class SGD(Flat):
    """Stochastic gradient descent: v ← momentum · v + g; p ← p − lr · v."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, clip: float = math.inf):
        super().__init__(parameters, lr, clip)
        self.momentum, self.velocity = momentum, np.zeros_like(self.flat)

    def _stepped_flat(self, g: Array) -> Array:
        self.velocity *= self.momentum
        self.velocity += g
        return self.flat - self.lr * self.velocity


class Adam(Flat):
    """Adam (Kingma & Ba, 2015, algorithm 1); `weight_decay` adds weight_decay · p to the gradient."""

    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip: float = math.inf,
    ):
        super().__init__(parameters, lr, clip)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.first, self.second = np.zeros_like(self.flat), np.zeros_like(self.flat)

    def _stepped_flat(self, g: Array) -> Array:
        b1, b2 = self.betas
        flat = self.flat
        if self.weight_decay and self.decoupled:
            flat = flat * (1 - self.lr * self.weight_decay)
        elif self.weight_decay:
            g += self.weight_decay * flat
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
        change = self.first / root
        change *= self.lr * to_mean / to_root
        return np.subtract(flat, change, change)


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
        clip: float = math.inf,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, clip)
