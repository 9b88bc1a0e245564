"""The integers family's training step in PyTorch, in the forms that PyTorch is fastest in.

The same model as `bestguess.integers.model.transformer` in the original design's form, lifted to any width: fixed
features of a number, its position beside them, and a linear map, post-norm blocks (LayerNorm, packed q/k/v without
biases, causal attention, GELU), a linear head with biases. The same step too: a batch of the table's rows drawn on
the device by Walker's alias method, −log p times 1 + α·|likeliest − target| at every prefix, global-norm clipping,
AdamW that decays matrices only, warm-up + cosine. How a step is run (`Form`, `Trainer`) is the same as for filters.

Shapes in names: B sequences, T terms, D width, H heads, K head size, V values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from torch_filters import AttentionName, Recipe, Weights, gradients


@dataclass(frozen=True)
class Problem(Recipe):
    """The model's shape, and the data."""

    layers: int
    heads: int
    eps: float
    alpha: float
    features: np.ndarray
    """What the model sees of each number, (256, 2): the second feature is room for the position over the last."""
    rows: np.ndarray
    """The table, (N, T + 1)."""
    threshold: np.ndarray
    """Of Walker's alias method, (phases, N)."""
    alias: np.ndarray


class Loss(Weights):
    """From the places of rows (B,) to the batch's loss."""

    def __init__(self, problem: Problem, dtype: torch.dtype, attention: AttentionName, flat: bool):
        super().__init__(problem, dtype, flat)
        self.problem, self.attention = problem, attention
        self.register_buffer("features", torch.tensor(problem.features, dtype=torch.float32))
        self.register_buffer("rows", torch.tensor(problem.rows))
        terms = problem.rows.shape[1] - 1
        place = torch.arange(terms, dtype=torch.float32) / (terms - 1)
        self.register_buffer("position", torch.stack([torch.zeros(terms), place], dim=1))
        self.register_buffer("threshold", torch.tensor(problem.threshold, dtype=torch.float32))
        self.register_buffer("alias", torch.tensor(problem.alias, dtype=torch.int32))

    def draw(self) -> torch.Tensor:
        """Return random numbers for a batch of rows: of a phase, a place in its table, and which side of the place."""
        # Float64, for a place among 150,000 to be as likely as the next.
        return torch.rand(self.problem.batch, 3, device=self.rows.device, dtype=torch.float64)

    def forward(self, drawn: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over all positions."""
        phases, count = self.threshold.shape
        phase, place = (drawn[:, 0] * phases).long(), (drawn[:, 1] * count).long()
        stays = drawn[:, 2] < self.threshold[phase, place]
        return self.of_rows(torch.where(stays, place, self.alias[phase, place].long()))

    def of_rows(self, place: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over all positions of these rows."""
        terms = self.rows[place].long()
        logits_BTV, target_BT = self.logits(terms[:, :-1]), terms[:, 1:]
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), target_BT.flatten(), reduction="none")
        apart = (logits_BTV.detach().argmax(dim=-1) - target_BT).abs().flatten()
        return (loss * (1 + self.problem.alpha * apart)).mean()

    def logits(self, terms_BT: torch.Tensor) -> torch.Tensor:
        """Return the logits of the term after each."""
        w = self.weights()
        x = self.features[terms_BT] + self.position
        if "lift" in w:
            x = torch.matmul(x, w["lift"])
        x = x.to(self.dtype)
        for i in range(self.problem.layers):
            x = self._norm(x + self._attend(x, w[f"{i}.qkv"], w[f"{i}.out"]), w, f"{i}.attention_norm")
            h = torch.matmul(F.gelu(torch.matmul(x, w[f"{i}.up"]), approximate="tanh"), w[f"{i}.down"])
            x = self._norm(x + h, w, f"{i}.feed_forward_norm")
        return torch.matmul(x, w["head"].to(self.dtype)).float() + w["head_bias"]

    def _norm(self, x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        gain, bias = w[f"{name}_gain"].to(x.dtype), w[f"{name}_bias"].to(x.dtype)
        return F.layer_norm(x, (x.shape[-1],), gain, bias, self.problem.eps)

    def _attend(self, x_BTD: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        B, T, D = x_BTD.shape
        packed = torch.matmul(x_BTD, qkv).view(B, T, 3, self.problem.heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        if self.attention == "explicit":
            score = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
            future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
            read = torch.matmul(torch.softmax(score.masked_fill(future, -torch.inf), dim=-1), v)
        else:
            read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.matmul(read.transpose(1, 2).reshape(B, T, D), out)


def loss_and_gradient(
    problem: Problem, device: str, place: np.ndarray, attention: AttentionName, flat: bool
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """Return the loss of these rows, their logits, and the loss's gradient by weight, in float32."""
    loss = Loss(problem, torch.float32, attention, flat).to(device)
    where = torch.tensor(place, device=device)
    value = loss.of_rows(where)
    value.backward()
    logits = loss.logits(loss.rows[where].long()[:, :-1]).detach().cpu().numpy()
    return value.item(), logits, gradients(loss)
