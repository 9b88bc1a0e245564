"""The copilot's second stage: a larger GPT on the source of Python's own standard library."""

from __future__ import annotations

import lzma
import sysconfig
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bestguess import files
from bestguess.scratch.data import Index, Vocabulary
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.node import no_grad
from bestguess.scratch.training import Curve, fit

CHARACTERS = Vocabulary("\n" + "".join(map(chr, range(32, 127))))
CONFIG = GPTConfig(
    vocab=len(CHARACTERS), d_model=64, layers=3, heads=4, positions=128, position="rope", norm="rms", bias=False
)
"""The JAX decoder's kind, so that what is trained here can go there."""
BATCH = 16


def corpus(root: Path | None = None) -> tuple[str, str]:
    """Return the text to train on and the text held out: whole files, one in twenty by its name's hash.

    Reads every .py under `root` (default: this Python's standard library) but tests and installed
    packages; characters outside printable ASCII are left out. No file at all is a ValueError.
    """
    root = Path(sysconfig.get_path("stdlib")) if root is None else root
    parts: tuple[list[str], list[str]] = ([], [])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if {"test", "tests", "site-packages", "idlelib"} & set(name.parts):
            continue
        text = files.read_bytes(path).decode(errors="ignore").expandtabs(4)
        text = "".join(c for c in text if c == "\n" or 32 <= ord(c) < 127)
        parts[zlib.crc32(name.as_posix().encode()) % 20 == 0].append(text)
    if not parts[0] or not parts[1]:
        raise ValueError(f"{root}: holds too few Python files to train on some and hold others out")
    return "\n".join(parts[0]), "\n".join(parts[1])


def tokens(text: str) -> Index:
    """Return the text as integers; the same as `CHARACTERS.encode`, at the speed of a table."""
    table = np.zeros(128, np.uint8)
    for c in CHARACTERS.characters:
        table[ord(c)] = CHARACTERS.encode(c)[0]
    return table[np.frombuffer(text.encode("ascii"), np.uint8)]


def train(model: GPT, data: Index, steps: int, seed: int, lr: float, watch: Callable) -> Curve:
    """Train on random windows of `data`."""
    T = model.config.positions

    def batches(step: int) -> tuple[Index, Index]:
        starts = np.random.default_rng([seed, step]).integers(0, len(data) - T, BATCH)
        windows = data[starts[:, None] + np.arange(T + 1)]
        return windows[:, :-1], windows[:, 1:]

    return fit(model, batches, steps, lr, warmup=50, watch=watch)


def bits(model: GPT, data: Index, windows: int = 200) -> tuple[float, float]:
    """Return the model's bits per character over evenly spaced windows of `data`, and its standard error."""
    T = model.config.positions
    each = []
    with no_grad():
        for start in np.linspace(0, len(data) - T - 1, windows).astype(int):
            w = data[None, start : start + T + 1]
            each.append(model.loss(w[:, :-1], w[:, 1:]).item() / np.log(2))
    return float(np.mean(each)), float(np.std(each, ddof=1) / np.sqrt(windows))


def baselines(train: Index, held_out: Index) -> dict[str, float]:
    """Return bits per character of the held-out text for simple predictors that saw the training text.

    No floor is known for natural text; these say what little a model must beat.
    """
    V = len(CHARACTERS)
    one = np.bincount(train, minlength=V) + 1.0
    unigram = -np.log2(one / one.sum())[held_out].mean()
    out = {"character frequencies": float(unigram)}
    for order in (1, 2):
        n = V**order
        context, next_ = np.zeros(len(train) - order, np.int64), np.zeros(len(held_out) - order, np.int64)
        for i in range(order):
            context = context * V + train[i : len(train) - order + i]
            next_ = next_ * V + held_out[i : len(held_out) - order + i]
        counts = np.bincount(context * V + train[order:], minlength=n * V).reshape(n, V) + 0.1
        p = counts[next_, held_out[order:]] / counts.sum(axis=1)[next_]
        out[f"given {order} character{'s' * (order > 1)}"] = float(-np.log2(p).mean())
    both = lzma.compress(train.astype(np.uint8).tobytes() + held_out.astype(np.uint8).tobytes(), preset=6)
    alone = lzma.compress(train.astype(np.uint8).tobytes(), preset=6)
    out["xz, having read the training text"] = 8 * (len(both) - len(alone)) / len(held_out)
    return out
