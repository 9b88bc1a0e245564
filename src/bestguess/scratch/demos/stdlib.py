"""The copilot's second stage: a larger GPT on the source of Python's own standard library, or on any other text."""

from __future__ import annotations

import lzma
import sysconfig
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bestguess import files
from bestguess.scratch.demos.data import Index, Vocabulary
from bestguess.scratch.demos.decoder import DecoderConfig
from bestguess.scratch.demos.training import Curve, fit
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.engine.node import no_grad

CHARACTERS = Vocabulary("\n" + "".join(map(chr, range(32, 127))))
BATCH = 16
LARGEST = 50_000_000
"""Bytes of a text file; a GPT of this size learns nothing from more."""
MOST_CHARACTERS = 1000
"""Different ones of a text, each of which is a token."""


def config(vocabulary: Vocabulary) -> DecoderConfig:
    """Return the shape of the GPT: the JAX decoder's kind, so that what is trained here can go there."""
    return DecoderConfig(
        vocab=len(vocabulary), d_model=64, layers=3, heads=4, positions=128, position="rope", norm="rms", bias=False
    )


CONFIG = config(CHARACTERS)


@dataclass(frozen=True)
class Text:
    """A text as integers: to train on, and held out."""

    vocabulary: Vocabulary
    train: Index
    held_out: Index


def of_this_python() -> Text:
    """Return the standard library's source."""
    train, held = corpus()
    return Text(CHARACTERS, tokens(train, CHARACTERS), tokens(held, CHARACTERS))


def of(text: str) -> Text:
    """Return a text, its last tenth held out; ValueError if it is too short, or has too many different characters."""
    characters = "".join(sorted(set(text)))
    if len(characters) > MOST_CHARACTERS:
        raise ValueError(
            f"{len(characters):,} different characters, each of which is a token; at most {MOST_CHARACTERS:,}"
        )
    cut = len(text) - len(text) // 10
    least = CONFIG.positions + 2
    if len(text) - cut < least:
        raise ValueError(f"{len(text):,} characters; at least {10 * least:,} are needed, to hold a tenth out")
    vocabulary = Vocabulary(characters)
    whole = tokens(text, vocabulary)
    return Text(vocabulary, whole[:cut], whole[cut:])


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


def tokens(text: str, vocabulary: Vocabulary) -> Index:
    """Return the text as integers; the same as `vocabulary.encode`, at the speed of a table."""
    table = np.zeros(max(map(ord, vocabulary.characters)) + 1, np.uint16)
    for c in vocabulary.characters:
        table[ord(c)] = vocabulary.encode(c)[0]
    return table[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]


def train(model: GPT, data: Index, steps: int, seed: int, lr: float, watch: Callable) -> Curve:
    """Train on random windows of `data` and return the losses."""
    T = model.config.positions

    def batches(step: int) -> tuple[Index, Index]:
        starts = np.random.default_rng([seed, step]).integers(0, len(data) - T, BATCH)
        windows = data[starts[:, None] + np.arange(T + 1)]
        return windows[:, :-1], windows[:, 1:]

    return fit(model, batches, steps, lr, warmup=50, watch=watch)


def bits(model: GPT, data: Index, windows: int = 200) -> tuple[float, float]:
    """Return the model's bits per character over evenly spaced windows of `data`, and its standard error."""
    T = model.config.positions
    starts = np.linspace(0, len(data) - T - 1, windows).astype(int)
    text = data[starts[:, None] + np.arange(T + 1)]
    each: list[float] = []
    with no_grad():
        for some in np.array_split(text, -(-windows // BATCH)):
            z = model(some[:, :-1]).data.astype(np.float64)
            z -= z.max(-1, keepdims=True)
            log_p = np.take_along_axis(z, some[:, 1:, None].astype(int), -1)[..., 0] - np.log(np.exp(z).sum(-1))
            each += (-log_p.mean(-1) / np.log(2)).tolist()
    return float(np.mean(each)), float(np.std(each, ddof=1) / np.sqrt(windows))


def baselines(train: Index, held_out: Index, vocab: int = len(CHARACTERS)) -> dict[str, float]:
    """Return bits per character of the held-out text for simple predictors that saw the training text.

    No floor is known for natural text; these say what little a model must beat.
    """
    V = vocab
    one = np.bincount(train, minlength=V) + 1.0
    unigram = -np.log2(one / one.sum())[held_out].mean()
    out = {"character frequencies": float(unigram)}
    for order in (1, 2):
        n = V**order
        if n * V > LARGEST:  # a table that is too large, and mostly empty
            break
        context, next_ = np.zeros(len(train) - order, np.int64), np.zeros(len(held_out) - order, np.int64)
        for i in range(order):
            context = context * V + train[i : len(train) - order + i]
            next_ = next_ * V + held_out[i : len(held_out) - order + i]
        counts = np.bincount(context * V + train[order:], minlength=n * V).reshape(n, V) + 0.1
        p = counts[next_, held_out[order:]] / counts.sum(axis=1)[next_]
        out[f"given {order} character{'s' * (order > 1)}"] = float(-np.log2(p).mean())
    kind = np.uint8 if V <= 256 else np.uint16
    both = lzma.compress(train.astype(kind).tobytes() + held_out.astype(kind).tobytes(), preset=6)
    alone = lzma.compress(train.astype(kind).tobytes(), preset=6)
    out["xz, having read the training text"] = 8 * (len(both) - len(alone)) / len(held_out)
    return out
