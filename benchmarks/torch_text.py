"""A decoder-only character model's training step in PyTorch, in the forms that PyTorch is fastest in.

The same model as `bestguess.text.model` without marks: a tied embedding times √D, pre-norm blocks (RMSNorm, packed
q/k/v without biases, half-split RoPE, causal attention, tanh-GELU), a last RMSNorm; dropout of the embedding, of each
sub-layer's output and of the attention weights. The same step too: windows at random places of a text that lives on
the device, the mean cross-entropy of every token, global-norm clipping, AdamW that decays matrices only, warm-up +
cosine. How a step is run (`Form`, `Trainer`) is the same as for filters.

Parameters, optimiser and loss are float32; blocks and head compute in `dtype`, in weights that are cast once a step.
Shapes in names: B windows, T tokens of a window, D width, H heads, K head size, V tokens of the vocabulary.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel

from torch_filters import BACKENDS, AttentionName, Recipe, Weights, gradients

_BATCH = 64
"""Windows that are scored at once."""


@dataclass(frozen=True)
class Problem(Recipe):
    """The model's shape, and the data. Weights: `embed` [V, D], of block i `i.qkv` [D, 3D], `i.out` [D, D], `i.up`
    [D, F], `i.down` [F, D], `i.attention_norm` and `i.feed_forward_norm` [D]; `norm` [D]."""

    layers: int
    heads: int
    window: int
    """T."""
    rope_base: float
    eps: float
    dropout: float
    attention_dropout: float
    text: np.ndarray
    """Tokens of the training part, integers [n]."""
    scored: np.ndarray
    """Windows that are scored, integers [m, T + 1]; the token 0 is padding."""


class Loss(Weights):
    """From the places of windows (B,) to the batch's loss; dropout as the module's mode says."""

    def __init__(self, problem: Problem, dtype: torch.dtype, attention: AttentionName, flat: bool):
        super().__init__(problem, dtype, flat)
        self.problem, self.attention = problem, attention
        half = problem.weights["embed"].shape[1] // problem.heads // 2
        frequency = problem.rope_base ** (-np.arange(half, dtype=np.float64) / half)
        angle = (np.arange(problem.window)[:, None] * frequency)[:, None, None]
        self.register_buffer("cos", torch.tensor(np.cos(angle), dtype=torch.float32))
        self.register_buffer("sin", torch.tensor(np.sin(angle), dtype=torch.float32))
        self.register_buffer("text", torch.tensor(problem.text.astype(np.int32)))
        self.register_buffer("scored", torch.tensor(problem.scored.astype(np.int64)))
        self.register_buffer("place", torch.arange(problem.window + 1))

    def draw(self) -> torch.Tensor:
        """Return where the windows of a batch start."""
        last = len(self.problem.text) - self.problem.window
        return torch.randint(last, (self.problem.batch,), device=self.text.device)

    def forward(self, start_B: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over all tokens of the windows there (nats)."""
        token = self.text[start_B[:, None] + self.place].long()
        return self.nats(token).mean()

    def nats(self, token: torch.Tensor) -> torch.Tensor:
        """Return the loss of every token but the first of windows [B, T + 1] (nats, [B, T])."""
        logits = self.logits(token[:, :-1]).float()
        return F.cross_entropy(logits.transpose(1, 2), token[:, 1:], reduction="none")

    def validated(self) -> np.ndarray:
        """Return the loss of the windows that are scored (nats a window), without dropout."""
        self.eval()
        with torch.no_grad():
            found = [(self.nats(part) * (part[:, 1:] != 0)).sum(1) for part in self.scored.split(_BATCH)]
        self.train()
        return torch.cat(found).double().cpu().numpy()

    def logits(self, token_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits of the token after each [B, T, V]."""
        w, problem = self.weights(), self.problem
        drop = lambda x: F.dropout(x, problem.dropout, self.training)  # noqa: E731
        embed = w["embed"]
        x = drop((F.embedding(token_BT, embed) * embed.shape[1] ** 0.5).to(self.dtype))
        for i in range(problem.layers):
            h = self._norm(x, w[f"{i}.attention_norm"])
            x = x + drop(self._attend(h, w[f"{i}.qkv"], w[f"{i}.out"]))
            h = self._norm(x, w[f"{i}.feed_forward_norm"])
            hidden = F.gelu(torch.matmul(h, w[f"{i}.up"]), approximate="tanh")
            x = x + drop(torch.matmul(hidden, w[f"{i}.down"]))
        x = self._norm(x, w["norm"])
        return torch.matmul(x, embed.t().to(self.dtype))

    def _norm(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), self.problem.eps)

    def _attend(self, x_BTD: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        B, T, D = x_BTD.shape
        packed = torch.matmul(x_BTD, qkv).view(B, T, 3, self.problem.heads, -1)
        cos, sin = self.cos[:T], self.sin[:T]
        a, b = packed[:, :, :2].float().chunk(2, dim=-1)  # queries and keys, both at once
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(packed.dtype)
        q, k, v = (part.transpose(1, 2) for part in (turned[:, :, 0], turned[:, :, 1], packed[:, :, 2]))
        rate = self.problem.attention_dropout if self.training else 0.0
        if self.attention == "explicit":
            score = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
            future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
            weight = F.dropout(torch.softmax(score.masked_fill(future, -torch.inf), dim=-1), rate, self.training)
            read = torch.matmul(weight, v)
        else:
            backend = BACKENDS.get(self.attention)
            with nullcontext() if backend is None else sdpa_kernel(backend):
                read = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
        return torch.matmul(read.transpose(1, 2).reshape(B, T, D), out)


def loss_and_gradient(
    problem: Problem, device: str, token: np.ndarray, attention: AttentionName, flat: bool
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """Return the mean loss of windows of tokens [n, T + 1], their logits, and the loss's gradient by weight; float32,
    without dropout."""
    loss = Loss(problem, torch.float32, attention, flat).to(device).eval()
    given = torch.tensor(token, dtype=torch.long, device=device)
    value = loss.nats(given).mean()
    value.backward()
    logits = loss.logits(given[:, :-1]).detach().cpu().numpy()
    return value.item(), logits, gradients(loss)


def compiled_errors(problem: Problem, device: str, flat: bool) -> dict[str, float]:
    """Return, of every weight, how far the compiled gradient of a batch is from the eager one with parameters apart.

    A fraction of the eager gradient's largest value; float32, without dropout.
    """
    found = []
    for compiles in (False, True):
        loss = Loss(problem, torch.float32, "default", flat and compiles).to(device).eval()
        torch.manual_seed(0)
        start = loss.draw()
        (torch.compile(loss, dynamic=False) if compiles else loss)(start).backward()
        found.append(gradients(loss))
    torch.compiler.reset()
    eager, compiled = found
    return {name: float(np.max(np.abs(compiled[name] - eager[name])) / np.max(np.abs(eager[name]))) for name in eager}
