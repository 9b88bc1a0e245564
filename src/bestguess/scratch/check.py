"""Proof of the gradients: every operation, every layer and a whole GPT against central differences.

A gradient that merely exists proves nothing, and a loss that falls little more: half of a gradient
also goes downhill. So each parameter's gradient is compared with the numerical one in direction
(cosine) and size (ratio of norms), and what differences cannot see is checked apart: causality,
padding, the number of backward calls, the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.scratch import ops
from bestguess.scratch.data import PAD
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.nn import Kernels, layers
from bestguess.scratch.node import Array, no_grad, topological_order
from bestguess.scratch.ops import Tensor

LARGEST_ERROR = 1e-6
SMALLEST_COSINE = 1 - 1e-9
RATIO_WITHIN = 1e-6
STEP = 1e-5
"""Of a central difference, in float64: its error is of order STEP² by the function, 1e-16 / STEP by rounding."""

CONFIG = GPTConfig(vocab=7, d_model=6, layers=2, heads=2, positions=5)

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Gradient:
    """How a parameter's gradient compares with the numerical one; both are 1 where it is right."""

    cosine: float
    norm_ratio: float

    @property
    def right(self) -> bool:
        return self.cosine >= SMALLEST_COSINE and abs(self.norm_ratio - 1) <= RATIO_WITHIN


@dataclass(frozen=True)
class Report:
    """What `run` found."""

    operations: dict[str, float]
    """Largest relative error of each operation's and layer's gradients."""
    parameters: dict[str, Gradient]
    properties: dict[str, tuple[bool, str]]
    """Whether each property holds, and what was measured."""

    @property
    def faults(self) -> list[str]:
        """Names of what is wrong, in the order checked."""
        out = [name for name, error in self.operations.items() if not error <= LARGEST_ERROR]
        out += [name for name, gradient in self.parameters.items() if not gradient.right]
        return out + [name for name, (holds, _) in self.properties.items() if not holds]


def numerical(f: Callable[[], float], x: Array) -> Array:
    """Return df/dx for every element of `x` by central differences; `f` reads `x`, which is restored."""
    out = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + STEP
        above = f()
        x[i] = kept - STEP
        below = f()
        x[i] = kept
        out[i] = (above - below) / (2 * STEP)
    return out


def relative_error(f: Function, arguments: Sequence[Array], seed: int = 0) -> float:
    """Return the largest error of f's gradients over the largest gradient, the worst of all arguments.

    The value of `f` is weighed with random numbers, so that errors cannot cancel in a plain sum.
    """
    tensors = [Tensor(a, requires_grad=True) for a in arguments]
    with no_grad():
        weights = np.random.default_rng(seed).normal(size=f(*tensors).shape)

    def value() -> float:
        with no_grad():
            return float((f(*tensors).array * weights).sum())

    f(*tensors).backward(weights)
    worst = 0.0
    for t in tensors:
        true = numerical(value, t.array)
        given = np.zeros_like(true) if t.grad is None else t.grad
        scale = max(np.abs(true).max(), np.abs(given).max(), 1e-12)
        worst = max(worst, float(np.abs(given - true).max() / scale))
    return worst


def cases(seed: int = 0) -> dict[str, tuple[Function, list[Array]]]:
    """Return each operation and layer by name, with arguments to try it on."""
    rng = np.random.default_rng(seed)

    def n(*shape: int) -> Array:
        return rng.normal(size=shape)

    def positive(*shape: int) -> Array:
        return rng.uniform(0.5, 2, shape)

    table = rng.integers(0, 5, (2, 3))
    targets = np.array([[1, PAD, 4], [PAD, 2, 2]])
    out: dict[str, tuple[Function, list[Array]]] = {
        "add": (ops.add, [n(2, 3, 5), n(3, 1)]),
        "subtract": (ops.subtract, [n(3, 5), n(2, 1, 5)]),
        "multiply": (ops.multiply, [n(2, 3, 5), n(5)]),
        "divide": (ops.divide, [n(3, 5), positive(3, 1)]),
        "power": (lambda x: ops.power(x, 2.5), [positive(3, 5)]),
        "exp": (ops.exp, [n(3, 5)]),
        "log": (ops.log, [positive(3, 5)]),
        "sqrt": (ops.sqrt, [positive(3, 5)]),
        "tanh": (ops.tanh, [n(3, 5)]),
        "sum": (lambda x: ops.sum_(x, (0, 2)), [n(2, 3, 5)]),
        "mean": (lambda x: ops.mean(x, 1, keepdims=True), [n(2, 3, 5)]),
        "max": (lambda x: ops.max_(x, 1), [n(2, 3, 5)]),
        "matmul": (ops.matmul, [n(3, 5), n(5, 2)]),
        "matmul, batched": (ops.matmul, [n(2, 1, 3, 5), n(7, 5, 2)]),
        "reshape": (lambda x: ops.reshape(x, (5, 6)), [n(2, 3, 5)]),
        "transpose": (lambda x: ops.transpose(x, (1, 2, 0)), [n(2, 3, 5)]),
        "slice": (lambda x: ops.slice_(x, (slice(None, None, -1), 1)), [n(2, 3, 5)]),
        "slice, repeated": (lambda x: ops.slice_(x, np.array([1, 0, 1])), [n(2, 3)]),
        "concatenate": (lambda a, b: ops.concatenate([a, b, a], axis=1), [n(2, 3), n(2, 5)]),
        "embedding": (lambda t: ops.embedding(t, table), [n(5, 3)]),
        "where": (lambda a, b: ops.where(table > 2, a, b), [n(2, 3), n(3)]),
    }
    angle = rng.uniform(0, 6, (5, 1))
    rotation = (np.cos(angle), np.sin(angle))
    for kernels in ("fused", "primitive"):
        # Looked up when called, so that a bug switched on later is met.
        m = layers(kernels)
        out |= {
            f"linear ({kernels})": (lambda x, w, b, m=m: m.linear(x, w, b), [n(2, 3, 5), n(5, 7), n(7)]),
            f"linear onto a stream ({kernels})": (
                lambda x, w, b, s, m=m: m.linear(x, w, b, s),
                [n(2, 3, 5), n(5, 7), n(7), n(2, 3, 7)],
            ),
            f"layer norm ({kernels})": (lambda x, g, b, m=m: m.layer_norm(x, g, b), [n(2, 3, 7), n(7), n(7)]),
            f"RMS norm ({kernels})": (lambda x, g, m=m: m.rms_norm(x, g), [n(2, 3, 7), n(7)]),
            f"GELU ({kernels})": (lambda x, m=m: m.gelu(x), [2 * n(3, 5)]),
            f"feed-forward ({kernels})": (
                lambda x, u, b, v, c, s, m=m: m.feed_forward(x, u, b, v, c, s),
                [n(2, 3, 5), n(5, 7), n(7), n(7, 5), n(5), n(2, 3, 5)],
            ),
            f"attention ({kernels})": (lambda x, m=m: m.causal_attention(x, 3), [n(2, 5, 18)]),
            f"attention, rotary ({kernels})": (
                lambda x, m=m: m.causal_attention(x, 3, rotation),
                [n(2, 5, 18)],
            ),
            f"cross-entropy ({kernels})": (lambda z, m=m: m.cross_entropy(z, targets, PAD), [n(2, 3, 5)]),
            f"embedding ({kernels})": (lambda t, m=m: m.embedding(t, table), [n(5, 3)]),
            f"embedding and positions ({kernels})": (
                lambda t, p, m=m: m.embedding(t, table, p, 1),
                [n(5, 3), n(7, 3)],
            ),
        }
    return out


def parameters(config: GPTConfig = CONFIG, kernels: Kernels = "fused", seed: int = 0) -> dict[str, Gradient]:
    """Return, for each parameter of a GPT, its whole gradient against the numerical one."""
    model, inputs, targets = _small(config, kernels, seed)
    model.loss(inputs, targets, PAD).backward()

    def loss() -> float:
        with no_grad():
            return model.loss(inputs, targets, PAD).item()

    out = {}
    for name, p in model.named_parameters():
        true = numerical(loss, p.array).ravel()
        given = np.zeros_like(true) if p.grad is None else p.grad.ravel()
        norm, true_norm = float(np.linalg.norm(given)), float(np.linalg.norm(true))
        cosine = float(given @ true) / (norm * true_norm) if norm and true_norm else 0.0
        out[name] = Gradient(cosine, norm / true_norm if true_norm else float(norm == 0))
    return out


def properties(kernels: Kernels = "fused", seed: int = 0) -> dict[str, tuple[bool, str]]:
    """Return what central differences cannot see: whether each holds, and what was measured."""
    model, inputs, _ = _small(CONFIG, kernels, seed)
    T = inputs.shape[1]
    with no_grad():
        before = model(inputs).array
        leak = 0.0
        for t in range(1, T):
            later = inputs.copy()
            later[:, t:] = 1 + later[:, t:] % (CONFIG.vocab - 1)
            leak = max(leak, float(np.abs(model(later).array[:, :t] - before[:, :t]).max()))
        cache = model.empty_cache(len(inputs))
        steps = [model(inputs[:, t : t + 1], cache).array for t in range(T)]
        drift = float(np.abs(np.concatenate(steps, axis=1) - before).max())

    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(2, 3, 5)), np.array([[1, PAD, 4], [3, 2, PAD]])
    moved = np.where((targets == PAD)[..., None], rng.normal(size=logits.shape), logits)
    cross_entropy = layers(kernels).cross_entropy
    losses = [cross_entropy(Tensor(z), targets, PAD).item() for z in (logits, moved)]

    x = Tensor(np.array(0.3), requires_grad=True)
    y = x + 0.0
    for _ in range(10):
        y = y + y.tanh()
    nodes = len(topological_order(y))
    calls = y.backward()
    return {
        "no token reads a later one": (leak < 1e-12, f"largest change of an earlier logit {leak:.1e}"),
        "cached logits equal uncached ones": (drift < 1e-12, f"largest difference {drift:.1e}"),
        "padding is not scored": (
            losses[0] == losses[1],
            f"loss {losses[0]:.4f}, with other logits at the padding {losses[1]:.4f}",
        ),
        "backward calls each node once": (calls == nodes, f"{calls} calls for {nodes} nodes"),
    }


def run(seed: int = 0) -> Report:
    """Return the report on the engine as it is now (a bug that is switched on included)."""
    operations = {name: relative_error(f, arguments) for name, (f, arguments) in cases(seed).items()}
    return Report(operations, parameters(seed=seed), properties(seed=seed))


def _small(config: GPTConfig, kernels: Kernels, seed: int) -> tuple[GPT, np.ndarray, np.ndarray]:
    """Return a GPT in float64 whose norms and biases have left their start, and a batch with padding."""
    model = GPT(config, seed, kernels, np.float64)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = p.array + 0.2 * rng.normal(size=p.shape)
    inputs = rng.integers(1, config.vocab, (3, config.positions))
    targets = rng.integers(1, config.vocab, inputs.shape)
    targets[0, 3:] = PAD
    return model, inputs, targets
