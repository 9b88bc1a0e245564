"""One trained model as one small file, and its forward pass in NumPy.

Importing JAX and compiling takes longer than a single prediction may. So the model that lies in the
package is run by these few lines, which a test holds to the model proper, option by option.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bestguess import files
from bestguess.command import UserError
from bestguess.config import from_dict, to_dict
from bestguess.integers.config import CLASSES, IntegersConfig
from bestguess.integers.model.embeddings import difference_waves, features

SHIPPED = Path(__file__).with_name("shipped.safetensors")
"""The bundled model."""


@dataclass(frozen=True, eq=False)
class PortableModel:
    """A model's config and its weights by name; float32 throughout, whatever it was trained or stored in."""

    config: IntegersConfig
    weights: Mapping[str, np.ndarray]

    def logits(self, terms: Sequence[int]) -> np.ndarray:
        """Return the logits of the term after each of `terms`, float32 [T, 256], T ≤ the config's length."""
        model, w = self.config.model, self.weights
        x = features(model.embedding)[np.asarray(terms)]
        if model.embedding == "pair":
            x[:, 1] = np.arange(len(x)) / (self.config.task.length - 1)
        if model.lift:
            x = x @ w["embedding/lift"]
        if model.positions == "learned":
            x = x + w["decoder/position"][: len(x)]
        for i in range(model.layers):
            x = self._block(f"decoder/blocks/{i}/", x)
        if model.norm_place == "pre":
            x = self._norm("decoder/norm/", x)
        if model.head != "regression":
            free = x @ w["head/weight"] + w["head/bias"]
            match model.head:
                case "features":
                    return free + x @ w["head/shared"] @ features(model.embedding).T
                case "differences":
                    by_difference = x @ w["head/shared"] @ difference_waves().T
                    return free + np.stack([np.roll(one, term) for one, term in zip(by_difference, terms)])
            return free
        spread = math.sqrt((CLASSES**2 - 1) / 12)
        mean = (CLASSES - 1) / 2 + spread * (x @ w["head/weight"] + w["head/bias"])
        return -0.5 * ((np.arange(CLASSES) - mean) * np.exp(-w["head/log_deviation"])) ** 2

    def probabilities(self, terms: Sequence[int]) -> np.ndarray:
        """Return the probabilities of the term after `terms`, float64 [256]."""
        logits = self.logits(terms)[-1].astype(np.float64)
        p = np.exp(logits - logits.max())
        return p / p.sum()

    def _block(self, at: str, x: np.ndarray) -> np.ndarray:
        place = self.config.model.norm_place
        for branch, norm in ((self._attention, "attention_norm/"), (self._feed_forward, "feed_forward_norm/")):
            x = x + branch(at, self._norm(at + norm, x) if place == "pre" else x)
            x = self._norm(at + norm, x) if place == "post" else x
        return x

    def _norm(self, at: str, x: np.ndarray) -> np.ndarray:
        if self.config.model.norm == "rms":
            return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * self.weights[at + "gain"]
        x = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
        return x / scale * self.weights[at + "gain"] + self.weights[at + "bias"]

    def _attention(self, at: str, x: np.ndarray) -> np.ndarray:
        model = self.config.model
        qkv = self._affine(at + "attention/qkv", x).reshape(len(x), 3, model.heads, -1)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        if model.positions == "rope":
            q, k = self._turn(q), self._turn(k)
        score = np.einsum("thk,shk->hts", q, k) / math.sqrt(q.shape[-1])
        score = np.where(np.tri(len(x), dtype=bool), score, -np.inf)
        weight = np.exp(score - score.max(axis=-1, keepdims=True))
        weight /= weight.sum(axis=-1, keepdims=True)
        return self._affine(at + "attention/out", np.einsum("hts,shk->thk", weight, v).reshape(len(x), -1))

    def _turn(self, x: np.ndarray) -> np.ndarray:
        half = x.shape[-1] // 2
        frequency = self.config.model.rope_base ** (-np.arange(half, dtype=np.float32) / half)
        angle = np.arange(len(x), dtype=np.float32)[:, None, None] * frequency
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=-1)

    def _feed_forward(self, at: str, x: np.ndarray) -> np.ndarray:
        hidden = self._affine(at + "feed_forward/up", x)
        match self.config.model.activation:
            case "relu":
                hidden = np.maximum(hidden, 0)
            case "gelu":
                hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
            case "silu":
                hidden = hidden * _sigmoid(hidden)
            case "swiglu":
                gate = self._affine(at + "feed_forward/gate", x)
                hidden = gate * _sigmoid(gate) * hidden
        return self._affine(at + "feed_forward/down", hidden)

    def _affine(self, at: str, x: np.ndarray) -> np.ndarray:
        y = x @ self.weights[at]
        return y + self.weights[at + "_bias"] if self.config.model.bias else y


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def save_portable(path: Path, config: IntegersConfig, weights: Mapping[str, np.ndarray], half: bool = False) -> Path:
    """Write a model's config and weights as one safetensors file, whole or not at all; return its path.

    half: in float16, half the size; what is too large for it is refused (OverflowError), not made infinite.
    """
    dtype = np.float16 if half else np.float32
    if half and any(np.any(np.abs(array) > np.finfo(np.float16).max) for array in weights.values()):
        raise OverflowError("a weight is too large for float16")
    arrays = {name: np.asarray(array, dtype, order="C") for name, array in weights.items()}
    header = {"config": json.dumps(to_dict(config))}
    return files.write_safetensors(path, arrays, header | {"sha256": files.digest(header, arrays)})


def load_portable(path: Path) -> PortableModel:
    """Return the model of a file that `save_portable` wrote; UserError if it is none. Runs no code."""
    if not os.path.lexists(path):
        raise UserError(f"--model {path}: no such file; bestguess integers export RUN writes one")
    try:
        arrays, about = files.read_safetensors(path)
        found = about.pop("sha256", None)  # files of older versions have none
        if found is not None and found != files.digest(about, arrays):
            raise UserError(f"--model {path}: damaged (it does not match the checksum that it was written with)")
        config = files.parse_json(about["config"], path)
        weights = {name: array.astype(np.float32) for name, array in arrays.items()}
    except (files.Unreadable, ValueError, KeyError) as error:
        reason = error.reason if isinstance(error, files.Unreadable) else f"its header lacks {error}"
        raise UserError(f"--model {path}: damaged, or not written by bestguess integers export ({reason})") from error
    return PortableModel(from_dict(IntegersConfig, config, f"{path}: ", complete=True), weights)
