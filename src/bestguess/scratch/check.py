"""Proof of the gradients: every operation, every layer and two whole GPTs against central differences.

One GPT is made of the engine's operations, the other of the fast ones.

A gradient that merely exists proves nothing, and a loss that falls little more: half of a gradient
also goes downhill. So each parameter's gradient is compared with the numerical one in direction
(cosine) and size (ratio of norms), and what differences cannot see is checked apart: causality,
padding, the number of backward calls, the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.scratch import bugs
from bestguess.scratch.demos import decoder
from bestguess.scratch.demos.data import PAD
from bestguess.scratch.engine import layers as simple
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import Array, no_grad, topological_order
from bestguess.scratch.engine.optim import SGD
from bestguess.scratch.engine.tensor import Tensor, concatenate, where
from bestguess.scratch.fast import layers as fast
from bestguess.scratch.fast.gpt import FastGPT

LARGEST_ERROR = 1e-6
SMALLEST_COSINE = 1 - 1e-9
RATIO_WITHIN = 1e-6
STEP = 1e-5
"""Of a central difference, in float64: its error is of order STEP² by the function, 1e-16 / STEP by rounding."""

CONFIG = GPTConfig(vocab=5, d_model=4, layers=2, heads=2, positions=4)
SMALLER = GPTConfig(vocab=5, d_model=4, layers=1, heads=2, positions=4)
"""For the zoo of bugs, each of which a single block shows."""
KERNELS = {"simple": (simple, GPT), "fast": (fast, FastGPT)}
"""Layers and the GPT of each: made of the engine's operations, or single operations with derivatives by hand."""

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


def numerical(f: Callable[[], float], x: Tensor) -> Array:
    """Return df/dx for every element of `x` by central differences; `f` reads `x`, which is restored."""
    before, moved, out = x.data, x.data.copy(), np.empty_like(x.data)
    x.data = moved
    for i in np.ndindex(moved.shape):
        moved[i] = before[i] + STEP
        above = f()
        moved[i] = before[i] - STEP
        below = f()
        moved[i] = before[i]
        out[i] = (above - below) / (2 * STEP)
    x.data = before
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
            return float((f(*tensors).data * weights).sum())

    f(*tensors).backward(weights)
    worst = 0.0
    for t in tensors:
        true = numerical(value, t)
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
        "add": (lambda a, b: a + b, [n(2, 3, 5), n(3, 1)]),
        "subtract": (lambda a, b: a - b, [n(3, 5), n(2, 1, 5)]),
        "multiply": (lambda a, b: a * b, [n(2, 3, 5), n(5)]),
        "divide": (lambda a, b: a / b, [n(3, 5), positive(3, 1)]),
        "power": (lambda x: x**2.5, [positive(3, 5)]),
        "abs": (abs, [n(3, 5)]),
        "exp": (lambda x: x.exp(), [n(3, 5)]),
        "log": (lambda x: x.log(), [positive(3, 5)]),
        "sqrt": (lambda x: x.sqrt(), [positive(3, 5)]),
        "tanh": (lambda x: x.tanh(), [n(3, 5)]),
        "relu": (lambda x: x.relu(), [n(3, 5)]),
        "softmax": (lambda x: x.softmax(1), [n(2, 3, 5)]),
        "sum": (lambda x: x.sum((0, 2)), [n(2, 3, 5)]),
        "mean": (lambda x: x.mean(1, keepdims=True), [n(2, 3, 5)]),
        "max": (lambda x: x.max(1), [n(2, 3, 5)]),
        "matmul": (lambda a, b: a @ b, [n(3, 5), n(5, 2)]),
        "matmul, batched": (lambda a, b: a @ b, [n(2, 1, 3, 5), n(7, 5, 2)]),
        "reshape": (lambda x: x.reshape(5, 6), [n(2, 3, 5)]),
        "transpose": (lambda x: x.transpose(1, 2, 0), [n(2, 3, 5)]),
        "index": (lambda x: x[::-1, 1], [n(2, 3, 5)]),
        "index, repeated": (lambda x: x[np.array([1, 0, 1])], [n(2, 3)]),
        "concatenate": (lambda a, b: concatenate([a, b, a], axis=1), [n(2, 3), n(2, 5)]),
        "where": (lambda a, b: where(table > 2, a, b), [n(2, 3), n(3)]),
        "RMS norm": (decoder.rms_norm, [n(2, 3, 7), n(7)]),
        "rotary positions": (lambda x: decoder.rotate(x, 3, start=1), [n(2, 5, 18)]),
    }
    for kernels, (m, _) in KERNELS.items():
        # Looked up when called, so that a bug switched on later is met.
        out |= {
            f"linear ({kernels})": (lambda x, w, b, m=m: m.linear(x, w, b), [n(2, 3, 5), n(5, 7), n(7)]),
            f"layer norm ({kernels})": (lambda x, g, b, m=m: m.layer_norm(x, g, b), [n(2, 3, 7), n(7), n(7)]),
            f"GELU ({kernels})": (lambda x, m=m: m.gelu(x), [2 * n(3, 5)]),
            f"attention ({kernels})": (lambda x, m=m: m.causal_attention(x, 3), [n(2, 5, 18)]),
            f"cross-entropy ({kernels})": (lambda z, m=m: m.cross_entropy(z, targets, PAD), [n(2, 3, 5)]),
            f"embedding ({kernels})": (lambda t, m=m: m.embedding(t, table), [n(5, 3)]),
        }
    return out | {
        "linear onto a stream (fast)": (fast.linear, [n(2, 3, 5), n(5, 7), n(7), n(2, 3, 7)]),
        "feed-forward (fast)": (fast.feed_forward, [n(2, 3, 5), n(5, 7), n(7), n(7, 5), n(5), n(2, 3, 5)]),
        "embedding and positions (fast)": (lambda t, p: fast.embedding(t, table, p, 1), [n(5, 3), n(7, 3)]),
    }


def parameters(config: GPTConfig, kernels: str, seed: int = 0) -> dict[str, Gradient]:
    """Return, for each parameter of a GPT, its whole gradient against the numerical one."""
    model, inputs, targets = _small(config, kernels, seed)
    model.loss(inputs, targets, PAD).backward()

    def loss() -> float:
        with no_grad():
            return model.loss(inputs, targets, PAD).item()

    out = {}
    for name, p in model.named_parameters():
        true = numerical(loss, p).ravel()
        given = np.zeros_like(true) if p.grad is None else p.grad.ravel()
        norm, true_norm = float(np.linalg.norm(given)), float(np.linalg.norm(true))
        cosine = float(given @ true) / (norm * true_norm) if norm and true_norm else 0.0
        out[f"{name} ({kernels})"] = Gradient(cosine, norm / true_norm if true_norm else float(norm == 0))
    return out


def properties(config: GPTConfig = CONFIG, seed: int = 0) -> dict[str, tuple[bool, str]]:
    """Return what central differences cannot see: whether each holds, and what was measured."""
    out: dict[str, tuple[bool, str]] = {}
    rng = np.random.default_rng(seed)
    for kernels, (m, _) in KERNELS.items():
        model, inputs, _ = _small(config, kernels, seed)
        T = inputs.shape[1]
        with no_grad():
            before = model(inputs).data
            leak = 0.0
            for t in range(1, T):
                later = inputs.copy()
                later[:, t:] = 1 + later[:, t:] % (config.vocab - 1)
                leak = max(leak, float(np.abs(model(later).data[:, :t] - before[:, :t]).max()))
        said = f"largest change of an earlier logit {leak:.1e}"
        out[f"no token reads a later one ({kernels})"] = leak < 1e-12, said
        logits, targets = rng.normal(size=(2, 3, 5)), np.array([[1, PAD, 4], [3, 2, PAD]])
        moved = np.where((targets == PAD)[..., None], rng.normal(size=logits.shape), logits)
        a, b = [m.cross_entropy(Tensor(z), targets, PAD).item() for z in (logits, moved)]
        said = f"loss {a:.4f}, with other logits at the padding {b:.4f}"
        out[f"padding is not scored ({kernels})"] = a == b, said
        if isinstance(model, FastGPT):
            cache = model.empty_cache(len(inputs))
            steps = [model(inputs[:, t : t + 1], cache).data for t in range(T)]
            drift = float(np.abs(np.concatenate(steps, axis=1) - before).max())
            out["cached logits equal uncached ones (fast)"] = drift < 1e-12, f"largest difference {drift:.1e}"

    x = Tensor(np.array(0.3), requires_grad=True)
    y = x + 0.0
    for _ in range(10):
        y = y + y.tanh()
    nodes, calls = len(topological_order(y)), y.backward()
    out["backward visits each node once"] = calls == nodes, f"{calls:,} calls for {nodes} nodes"

    optimizer, slopes = SGD([x], 0.0), []
    for _ in range(2):
        optimizer.zero_grad()
        (x * 3.0).backward()
        slopes.append(float(x.grad))
    said = f"gradient of 3 x at the first step {slopes[0]:.4g}, at the second {slopes[1]:.4g}"
    out["a step starts from no gradient"] = slopes[0] == slopes[1], said
    x.grad = None
    for _ in range(2):
        (x * 3.0).backward()
    out["gradients of two losses add up"] = float(x.grad) == 6.0, f"gradient of 3 x + 3 x {float(x.grad):.4g}"
    return out


def run(seed: int = 0, config: GPTConfig = CONFIG) -> Report:
    """Return the report on the engine as it is now (a bug that is switched on included)."""
    operations = {name: relative_error(f, arguments) for name, (f, arguments) in cases(seed).items()}
    compared = {name: g for kernels in KERNELS for name, g in parameters(config, kernels, seed).items()}
    return Report(operations, compared, properties(config, seed))


def zoo(seed: int = 0) -> dict[str, list[str]]:
    """Return, for each bug of the zoo, the faults that the check finds with it switched on: none, if it is missed.

    Whatever is wrong without any bug counts as no catch of it.
    """
    before = set(run(seed, SMALLER).faults)
    out = {}
    for name in bugs.BUGS:
        with bugs.bug(name):
            out[name] = [fault for fault in run(seed, SMALLER).faults if fault not in before]
    return out


def _small(config: GPTConfig, kernels: str, seed: int) -> tuple[GPT, np.ndarray, np.ndarray]:
    """Return a GPT in float64 whose norms and biases have left their start, and a batch with padding."""
    model: GPT = KERNELS[kernels][1](config, seed)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = Tensor(p.data + 0.2 * rng.normal(size=p.shape), dtype=np.float64).data
    inputs = rng.integers(1, config.vocab, (3, config.positions))
    targets = rng.integers(1, config.vocab, inputs.shape)
    targets[0, config.positions // 2 :] = PAD
    return model, inputs, targets
