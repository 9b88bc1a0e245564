"""The rolls family's training step in PyTorch, in the forms that PyTorch is fastest in.

The same model as `bestguess.rolls.model` with a table of embeddings, whose last row is the mask: pre-norm blocks
(RMSNorm, packed q/k/v without biases, half-split RoPE, causal attention, SwiGLU), a last RMSNorm, and k output heads
as one product, over biases that start as the marginal. The same step too: windows at random places of values that
live on the device, their tokens by a table, the mean cross-entropy over all targets of all heads, global-norm
clipping, AdamW that decays matrices only, warm-up + cosine. How a step is run (`Form`, `Trainer`) is the same as for
filters.

Parameters, optimiser and loss are float32. Blocks and head compute in `dtype`: of `Loss`, in weights that are cast
once a step; of `AutocastLoss`, where autocast does, with a float32 residual stream.
Shapes in names: B windows, T inputs, D width, H heads, K head size, k output heads, V tokens.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel

from torch_filters import BACKENDS, AttentionName, Recipe, Weights, gradients

_NO_TARGET = -100
"""Where a head looks beyond the window."""


@dataclass(frozen=True)
class Problem(Recipe):
    """The model's shape, and the data. Weights: `embed` [V + 1, D], of block i `i.qkv` [D, 3D], `i.out` [D, D],
    `i.up` and `i.gate` [D, F], `i.down` [F, D], `i.attention_norm_gain` and `i.feed_forward_norm_gain` [D]; `norm_gain`
    [D], `head` [D, k · V], and `head_bias` [k, V] unless there is none."""

    layers: int
    heads: int
    outputs: int
    window: int
    """T."""
    rope_base: float
    eps: float
    values: np.ndarray
    """Of the file, uint16 [n]."""
    of_value: np.ndarray
    """The token of each value, int32."""


class Loss(Weights):
    """From the places of windows (B,) to the batch's loss."""

    autocast = False

    def __init__(self, problem: Problem, dtype: torch.dtype, attention: AttentionName, flat: bool):
        super().__init__(problem, torch.float32 if self.autocast else dtype, flat)
        self.problem, self.attention, self.compute = problem, attention, dtype
        half = problem.weights["embed"].shape[1] // problem.heads // 2
        frequency = problem.rope_base ** (-np.arange(half, dtype=np.float64) / half)
        angle = (np.arange(problem.window)[:, None] * frequency)[:, None, None]
        self.register_buffer("cos", torch.tensor(np.cos(angle), dtype=torch.float32))
        self.register_buffer("sin", torch.tensor(np.sin(angle), dtype=torch.float32))
        # Few of PyTorch's operations know unsigned 16-bit integers: the same bits as signed ones.
        self.register_buffer("values", torch.tensor(problem.values.view(np.int16)))
        self.register_buffer("of_value", torch.tensor(problem.of_value, dtype=torch.int32))
        self.register_buffer("place", torch.arange(problem.window + 1))

    def draw(self) -> torch.Tensor:
        """Return where the windows of a batch start."""
        last = len(self.problem.values) - self.problem.window
        return torch.randint(last, (self.problem.batch,), device=self.values.device)

    def forward(self, start_B: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over all targets of the windows there."""
        values = self.values[start_B[:, None] + self.place].int() & 0xFFFF
        return self.of_tokens(self.of_value[values].long())

    def of_tokens(self, token: torch.Tensor) -> torch.Tensor:
        """Return the mean loss (nats) over all targets of windows of tokens [B, T + 1]: head h has T − h."""
        logits_BTkV = self.logits(token[:, :-1])
        k, T = self.problem.outputs, self.problem.window
        target_BTk = F.pad(token[:, 1:], (0, k - 1), value=_NO_TARGET).unfold(1, k, 1)
        total = F.cross_entropy(
            logits_BTkV.flatten(0, 2).float(), target_BTk.flatten(), ignore_index=_NO_TARGET, reduction="sum"
        )
        return total / (token.shape[0] * sum(T - h for h in range(k)))

    def logits(self, token_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next 1 … k tokens after each [B, T, k, V]; token V is the mask."""
        w = self.weights()
        casts = torch.autocast(self.values.device.type, self.compute, enabled=self.compute != torch.float32)
        with casts if self.autocast else nullcontext():
            x = F.embedding(token_BT, w["embed"]).to(self.dtype)
            for i in range(self.problem.layers):
                h = self._norm(x, w[f"{i}.attention_norm_gain"])
                x = x + self._attend(h, w[f"{i}.qkv"], w[f"{i}.out"])
                h = self._norm(x, w[f"{i}.feed_forward_norm_gain"])
                hidden = F.silu(torch.matmul(h, w[f"{i}.gate"])) * torch.matmul(h, w[f"{i}.up"])
                x = x + torch.matmul(hidden, w[f"{i}.down"])
            x = self._norm(x, w["norm_gain"])
            logits = torch.matmul(x, w["head"].to(self.dtype))
            if "head_bias" in w:
                logits = logits + w["head_bias"].flatten().to(logits.dtype)
        return logits.view(*token_BT.shape, self.problem.outputs, -1)

    def _norm(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        # In float32 inside, whatever the dtype.
        return F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), self.problem.eps)

    def _attend(self, x_BTD: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        B, T, D = x_BTD.shape
        packed = torch.matmul(x_BTD, qkv).view(B, T, 3, self.problem.heads, -1)
        a, b = packed[:, :, :2].float().chunk(2, dim=-1)  # queries and keys, both at once
        turned = torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], dim=-1).to(packed.dtype)
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


class AutocastLoss(Loss):
    """The same with float32 weights, which autocast casts where they are used."""

    autocast = True


def loss_and_gradient(
    problem: Problem, device: str, token: np.ndarray, seen: np.ndarray, attention: AttentionName, flat: bool
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """Return the loss of windows of tokens [n, T + 1], the logits of inputs `seen` [n, T], and the loss's gradient by
    weight, in float32."""
    loss = Loss(problem, torch.float32, attention, flat).to(device)
    value = loss.of_tokens(torch.tensor(token, dtype=torch.long, device=device))
    value.backward()
    logits = loss.logits(torch.tensor(seen, dtype=torch.long, device=device)).detach().cpu().numpy()
    return value.item(), logits, gradients(loss)
