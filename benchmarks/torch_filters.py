"""The filters family's training step in PyTorch, in the forms that PyTorch is fastest in.

The same model as `bestguess.filters.forecaster` with patches of one step: y over the process's standard
deviation, a linear embedding, pre-norm blocks (RMSNorm, packed q/k/v without biases, half-split RoPE, causal
attention, tanh-GELU), a linear head. The same step too: a batch drawn as z Lᵀ on the device, the squared error
over the Kalman filter's, global-norm clipping, AdamW that decays matrices only, warm-up + cosine.

Parameters, optimiser, embedding, loss stay float32; blocks compute in `dtype`, as there.
Shapes in names: B sequences, T tokens, D width, H heads, K head size.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

AttentionName = Literal["default", "flash", "cudnn", "explicit"]
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


@dataclass(frozen=True)
class Recipe:
    """What both frameworks are given of every family: weights, and how they are trained."""

    weights: dict[str, np.ndarray]
    """By name; products are `x @ w`. Those of the blocks compute in the benchmark's dtype."""
    batch: int
    steps: int
    warmup: int
    final_share: float
    peak: float
    betas: tuple[float, float]
    weight_decay: float
    clip_norm: float

    def learning_rate(self, step: int) -> float:
        """Return the rate of step 0, 1, ...: linear warm-up, then a cosine, as in `bestguess.train.optimizer`."""
        step = step + 1 if self.warmup else step
        if step < self.warmup:
            return self.peak * step / self.warmup
        share = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return self.peak * ((1 - self.final_share) * cosine + self.final_share)


@dataclass(frozen=True)
class Problem(Recipe):
    """The model's shape, and the data."""

    layers: int
    heads: int
    rope_base: float
    eps: float
    factor: np.ndarray
    """L, (T·m, T·m): a sequence is L z."""
    scale: np.ndarray
    floor: float


@dataclass(frozen=True)
class Form:
    """How PyTorch runs the step."""

    attention: AttentionName = "default"
    """scaled_dot_product_attention left to choose, or held to one backend; or the products written out."""
    flat: bool = False
    """The blocks' matrices in one flat tensor, so that one cast, one norm and one update serve them all."""
    compile: str | None = None
    """Mode of torch.compile for the loss and its gradient; None is eager."""
    graph: bool = False
    """Capture the whole step, draw and optimiser included, in one CUDA graph, and replay it."""
    threads: int | None = None
    """CPU threads within an operation."""


class Weights(nn.Module):
    """Parameters, each in a tensor of its own, or the blocks' matrices in one flat one.

    Only matrices, whose gradients are products, may be flat. Slices of one tensor with gradients that are sums over
    rows, such as norms' gains, are lost by Inductor of PyTorch 2.10 and 2.11 on a GPU: where a norm's backward pass is
    fused with the sum (5 · 2²⁰ values or more), the code writes the sum to a tensor of its own and returns the flat
    gradient as it was allocated (github.com/pytorch/pytorch/issues/193061, seen in the code that 2.11.0 generates for
    these models). Gains then take steps in random directions, and the training loss stays high. Batches of filters and
    integers in their benchmarks are smaller than that, those of rolls and of Shakespeare are not.
    """

    def __init__(self, problem: Recipe, dtype: torch.dtype, flat: bool):
        super().__init__()
        self.dtype = dtype
        self.shapes = {name: tuple(value.shape) for name, value in problem.weights.items()}
        blocks = [name for name, shape in self.shapes.items() if "." in name and len(shape) >= 2]
        others = [name for name in self.shapes if name not in blocks]
        self.blocks = frozenset(blocks)
        self.groups = [*([blocks] if flat else [[name] for name in blocks]), *([name] for name in others)]
        """The names in each tensor that is stored."""
        self.decays = [len(self.shapes[names[0]]) >= 2 for names in self.groups]
        tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in problem.weights.items()}
        self.stored = nn.ParameterList(
            nn.Parameter(
                tensors[names[0]] if len(names) == 1 else torch.cat([tensors[name].view(-1) for name in names])
            )
            for names in self.groups
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """Return every weight by name, the blocks' matrices cast to the dtype that they compute in."""
        found: dict[str, torch.Tensor] = {}
        for i, names in enumerate(self.groups):
            stored = self.stored[i].to(self.dtype) if names[0] in self.blocks else self.stored[i]
            if len(names) == 1:
                found[names[0]] = stored
                continue
            shapes = [self.shapes[name] for name in names]
            parts = torch.split(stored, [math.prod(shape) for shape in shapes])
            found |= {name: part.view(shape) for name, shape, part in zip(names, shapes, parts, strict=True)}
        return found


class Loss(Weights):
    """From normal numbers (B, T·m) to the batch's normalised loss."""

    def __init__(self, problem: Problem, dtype: torch.dtype, attention: AttentionName, flat: bool):
        super().__init__(problem, dtype, flat)
        self.problem, self.attention = problem, attention
        self.m = len(problem.scale)
        length = problem.factor.shape[0] // self.m
        half = problem.weights["0.qkv"].shape[0] // problem.heads // 2
        frequency = problem.rope_base ** (-np.arange(half, dtype=np.float64) / half)
        angle = (np.arange(length)[:, None] * frequency)[:, None, None]
        for name, value in {
            "factor_t": np.ascontiguousarray(problem.factor.T),
            "scale": problem.scale,
            "cos": np.cos(angle),
            "sin": np.sin(angle),
        }.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def draw(self) -> torch.Tensor:
        """Return what a batch is made of."""
        return torch.randn(self.problem.batch, self.problem.factor.shape[0], device=self.factor_t.device)

    def forecast(self, y_BTm: torch.Tensor) -> torch.Tensor:
        """Return the prediction of each next step (units of y)."""
        w = self.weights()
        x = (torch.matmul(y_BTm / self.scale, w["embed"]) + w["bias"]).to(self.dtype)
        for i in range(self.problem.layers):
            h = self._norm(x, w[f"{i}.attention_norm"])
            x = x + self._attend(h, w[f"{i}.qkv"], w[f"{i}.out"])
            h = self._norm(x, w[f"{i}.feed_forward_norm"])
            x = x + torch.matmul(F.gelu(torch.matmul(h, w[f"{i}.up"]), approximate="tanh"), w[f"{i}.down"])
        x = self._norm(x, w["norm"])
        return torch.matmul(x, w["head"].to(self.dtype)).float() * self.scale

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of the predicted steps over the filter's."""
        y = torch.matmul(z, self.factor_t).view(z.shape[0], -1, self.m)
        error = (y[:, 1:] - self.forecast(y)[:, :-1]).square().sum()
        return error / (self.problem.floor * z.shape[0] * (y.shape[1] - 1))

    def _norm(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), self.problem.eps)

    def _attend(self, x_BTD: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        B, T, D = x_BTD.shape
        packed = torch.matmul(x_BTD, qkv).view(B, T, 3, self.problem.heads, -1)
        a, b = packed[:, :, :2].float().chunk(2, dim=-1)  # queries and keys, both at once
        turned = torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], dim=-1).to(self.dtype)
        q, k, v = (part.transpose(1, 2) for part in (turned[:, :, 0], turned[:, :, 1], packed[:, :, 2]))
        if self.attention == "explicit":
            score = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
            future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
            read = torch.matmul(torch.softmax(score.masked_fill(future, -torch.inf), dim=-1), v)
        else:
            backend = BACKENDS.get(self.attention)
            with nullcontext() if backend is None else sdpa_kernel(backend):
                read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.matmul(read.transpose(1, 2).reshape(B, T, D), out)


class Trainer:
    """Training steps of one form. Making one compiles, captures and warms up."""

    def __init__(self, problem: Recipe, form: Form, device: str, dtype: str, loss: type = Loss):
        self.problem, self.form, self.device = problem, form, torch.device(device)
        self.taken = 0
        self._use_threads()
        self.loss = loss(problem, getattr(torch, dtype), form.attention, form.flat).to(self.device)
        pairs = list(zip(self.loss.stored, self.loss.decays, strict=True))
        groups = [
            {"params": [p for p, decays in pairs if decays], "weight_decay": problem.weight_decay},
            {"params": [p for p, decays in pairs if not decays], "weight_decay": 0.0},
        ]
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=problem.betas, fused=True, capturable=on_gpu)
        self.rate = torch.zeros((), device=self.device) if form.graph else None
        if self.rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
        self.of_batch = self.loss
        if form.compile is not None:
            # All variants of a process share one forward function; beyond the limit (8) it would run eagerly.
            torch._dynamo.config.recompile_limit = 64
            self.of_batch = torch.compile(self.loss, mode=form.compile, dynamic=False)
        self.replay = self._captured() if form.graph else None
        self.run(4)

    def run(self, steps: int) -> float:
        """Take `steps` steps, wait for the device, return the last step's loss."""
        self._use_threads()
        loss = None
        for _ in range(steps):
            rate = self.problem.learning_rate(self.taken)
            self.taken += 1
            if self.rate is not None:
                self.rate.fill_(rate)
            else:
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
            if self.replay is not None:
                self.replay.replay()
                loss = self.last
            else:
                loss = self._step()
        assert loss is not None
        value = float(loss)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return value

    def averaged(self, steps: int) -> tuple[float, float]:
        """Take `steps` steps, return the mean of their losses and its standard error; of one step, the loss twice.

        Waits for each step, so it is not to be timed.
        """
        losses = np.array([self.run(1) for _ in range(steps)])
        error = losses.std(ddof=1) / math.sqrt(steps) if steps > 1 else losses[0]
        return float(losses.mean()), float(error)

    def _use_threads(self) -> None:
        if self.form.threads is not None:
            torch.set_num_threads(self.form.threads)

    def _step(self) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        if self.form.compile == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        loss = self.of_batch(self.loss.draw())
        loss.backward()
        nn.utils.clip_grad_norm_(self.loss.parameters(), self.problem.clip_norm, foreach=True)
        self.optimizer.step()
        return loss.detach()

    def _captured(self) -> torch.cuda.CUDAGraph:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(beside)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # On the warm-up's stream, where the gradients' accumulators live. The other framework's threads may call
        # the driver meanwhile: only this thread's calls count.
        with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
            self.last = self._step()
        return graph


def forecast_and_gradient(
    problem: Problem, device: str, dtype: str, y: np.ndarray, attention: AttentionName, flat: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the forecasts of the sequences `y` (B, T, m), and the gradient of their mean square by weight."""
    loss = Loss(problem, getattr(torch, dtype), attention, flat).to(device)
    forecast = loss.forecast(torch.tensor(y, device=device))
    forecast.square().mean().backward()
    return forecast.detach().cpu().numpy(), gradients(loss)


def gradients(loss: Weights) -> dict[str, np.ndarray]:
    """Return the gradient of every weight by name."""
    gradient: dict[str, np.ndarray] = {}
    for parameter, names in zip(loss.stored, loss.groups, strict=True):
        assert parameter.grad is not None
        values = parameter.grad.reshape(-1).cpu().numpy()
        for name in names:
            shape = loss.shapes[name]
            gradient[name], values = values[: math.prod(shape)].reshape(shape), values[math.prod(shape) :]
    return gradient
