"""Optimisers: what to do with the gradients. Each step gives every parameter a new array."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor


class Optimizer:
    """What all optimisers share. `lr`, the learning rate, may be changed between steps.

    `clip` is the largest global norm of the gradient, beyond which it is scaled down (Pascanu et al., 2013).
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, clip: float = math.inf):
        self.parameters, self.lr, self.clip, self.steps = list(parameters), lr, clip, 0
        if not self.parameters or len(set(self.parameters)) < len(self.parameters):
            raise ValueError("optimiser: no parameters, or one that is given twice")

    def zero_grad(self) -> None:
        """Forget the gradients; without this, the next backward would add to them."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter once, by its `grad`."""
        for i, p in enumerate(self.parameters):
            if p.grad is None:
                raise ValueError(f"optimiser: parameter {i} of shape {p.shape} has no gradient; use it or leave it out")
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
        scale, self.steps = self.clip / norm if norm > self.clip else 1.0, self.steps + 1
        for i, (p, g) in enumerate(zip(self.parameters, gradients)):
            p.data = self._stepped(i, p.data, g * scale)
            p.data.flags.writeable = False

    def _stepped(self, i: int, p: Array, g: Array) -> Array:
        """Return the values of parameter `i`, which are `p` now, after a step by the gradient `g`."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: p ← p − lr · g."""

    def _stepped(self, i: int, p: Array, g: Array) -> Array:
        return p - self.lr * g


class AdamW(Optimizer):
    """Adam (Kingma & Ba, 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    betas, eps = (0.9, 0.99), 1e-8

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.01, clip: float = math.inf):
        super().__init__(parameters, lr, clip)
        self.mean, self.square = [0.0 * p.data for p in self.parameters], [0.0 * p.data for p in self.parameters]
        self.weight_decay = weight_decay

    def _stepped(self, i: int, p: Array, g: Array) -> Array:
        (b1, b2), n = self.betas, self.steps
        self.mean[i] = b1 * self.mean[i] + (1 - b1) * g
        self.square[i] = b2 * self.square[i] + (1 - b2) * g * g
        change = self.mean[i] / (1 - b1**n) / (np.sqrt(self.square[i] / (1 - b2**n)) + self.eps)
        return p * (1 - self.lr * self.weight_decay) - self.lr * change
