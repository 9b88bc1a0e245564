"""Copilot: complete small pieces of Python with 33,472 parameters, memorised and never seen."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from bestguess.scratch import checkpoint
from bestguess.scratch.data import DEMOS, PYTHON, ceiling, split
from bestguess.scratch.generate import generate
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.training import Curve, draws, evaluate, fit

CONFIG = GPTConfig(vocab=61, d_model=32, layers=2, heads=8, positions=128)
BATCH = 32


@dataclass(frozen=True)
class Score:
    """Of `of` headers completed greedily: how many parse as Python, how many are the body expected."""

    parsed: int
    exact: int
    of: int


def complete(
    model: GPT, header: str, limit: int = 60, temperature: float = 0.0, rng: np.random.Generator | None = None
) -> str:
    """Return what the model writes after `header` (a first line, without the line break); greedily by default."""
    prompt = PYTHON.encode(header)
    limit = min(limit, model.config.positions + 1 - len(prompt))
    return PYTHON.decode(generate(model, prompt, limit, temperature=temperature, stop=PYTHON.end, rng=rng))


def parses(text: str) -> bool:
    """Return whether `text` is Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def thinned(snippets: Sequence[str], most: int) -> Sequence[str]:
    """Return at most `most` of the snippets, evenly spaced."""
    return [snippets[i * len(snippets) // most] for i in range(most)] if len(snippets) > most else snippets


def score(model: GPT, snippets: Sequence[str], most: int = 80) -> Score:
    """Return how the model completes the headers of `snippets`, evenly thinned to `most` of them."""
    snippets = thinned(snippets, most)
    parsed = exact = 0
    for snippet in snippets:
        header = snippet.partition("\n")[0]
        text = header + complete(model, header)
        parsed += parses(text)
        exact += text == snippet
    return Score(parsed, exact, len(snippets))


def demo_bodies() -> dict[str, str]:
    """Return each demo's header and the body that the corpus has for it."""
    bodies = {s.partition("\n")[0]: s.partition("\n")[2] for s in split()[0]}
    return {header: "\n" + bodies[header] for header in DEMOS}


def demos(model: GPT) -> dict[str, tuple[str, bool]]:
    """Return what the model writes after each demo's header, and whether it is the corpus's body."""
    wanted = demo_bodies()
    written = {header: complete(model, header) for header in DEMOS}
    return {header: (text, text == wanted[header]) for header, text in written.items()}


def copied() -> Score:
    """Return the score of no model at all: each held-out header gets the body of the trained header most like it."""
    train, held = split()
    bodies = dict(s.split("\n", 1) for s in train)
    parsed = exact = 0
    for snippet in held:
        header = snippet.partition("\n")[0]
        (nearest,) = difflib.get_close_matches(header, bodies, n=1, cutoff=0)
        text = f"{header}\n{bodies[nearest]}"
        parsed += parses(text)
        exact += text == snippet
    return Score(parsed, exact, len(held))


def loss_floor() -> float:
    """Return the least loss on the snippets trained on (nats per character, the end counts as one), by counting."""
    return ceiling([s + "\0" for s in split()[0]]).loss


def held_out_loss(model: GPT) -> float:
    """Return the loss on the held-out snippets, in nats per character (the end counts as one)."""
    return evaluate(model, *PYTHON.rows(split()[1]))


def train(
    model: GPT,
    steps: int,
    seed: int = 0,
    lr: float = 5e-3,
    batch: int = BATCH,
    warmup: int = 20,
    watch: Callable[[int, float], bool | None] = lambda step, loss: None,
) -> Curve:
    """Train on the corpus without its held-out part; padding is never scored."""
    return fit(model, draws(PYTHON, split()[0], batch, seed), steps, lr, warmup=warmup, watch=watch)


def pretrained() -> tuple[GPT, str]:
    """Return the model that is shipped with the package, and the note on how it was trained."""
    with resources.as_file(resources.files("bestguess.scratch") / "pretrained" / "copilot.npz") as path:
        return checkpoint.load(Path(path))
