"""Copilot: complete small pieces of Python, memorised and never seen; in our setting and in TinyTorch's."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from bestguess.scratch.demos import checkpoint, data
from bestguess.scratch.demos.data import DEMOS, PYTHON, TINY_DEMOS, TINY_PYTHON, Vocabulary, best_constant, ceiling
from bestguess.scratch.demos.generate import generate
from bestguess.scratch.demos.training import Curve, draws, evaluate, fit
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.fast.gpt import FastGPT

BATCH = 32


@dataclass(frozen=True)
class Setting:
    """The shape of a copilot, the characters it knows, and the prompts that it is shown with."""

    config: GPTConfig
    vocabulary: Vocabulary
    demos: tuple[str, ...]

    def split(self) -> tuple[list[str], list[str]]:
        """Return the snippets to train on and those held out."""
        return data.split(self.vocabulary.characters, self.demos)


OURS = Setting(GPTConfig(vocab=61, d_model=32, layers=2, heads=8, positions=128), PYTHON, DEMOS)
TINYTORCH = Setting(GPTConfig(vocab=25, d_model=32, layers=2, heads=2, positions=64), TINY_PYTHON, TINY_DEMOS)
"""Its summary's vocabulary, width, layers, heads and length. They make 29,120 parameters; the 33,472 that it states
are those of a vocabulary of 61 and a length of 128, as in `OURS`."""
SETTINGS = {"ours": OURS, "tinytorch": TINYTORCH}
CONFIG = OURS.config


@dataclass(frozen=True)
class Score:
    """Of `of` headers completed greedily: how many parse as Python, how many are the body expected."""

    parsed: int
    exact: int
    of: int


def complete(model: GPT, header: str, limit: int = 60, setting: Setting = OURS, **how: Any) -> str:
    """Return what the model writes after `header` (a first line, without the line break); greedily by default.

    `how` is what `generate` takes: temperature, top_k, top_p, rng.
    """
    prompt = setting.vocabulary.encode(header)
    limit = min(limit, model.config.positions + 1 - len(prompt))
    return setting.vocabulary.decode(generate(model, prompt, limit, stop=setting.vocabulary.end, **how))


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


def score(model: GPT, snippets: Sequence[str], most: int = 80, setting: Setting = OURS) -> Score:
    """Return how the model completes the headers of `snippets`, evenly thinned to `most` of them."""
    snippets = thinned(snippets, most)
    parsed = exact = 0
    for snippet in snippets:
        header = snippet.partition("\n")[0]
        text = header + complete(model, header, setting=setting)
        parsed += parses(text)
        exact += text == snippet
    return Score(parsed, exact, len(snippets))


def demo_bodies(setting: Setting = OURS) -> dict[str, str]:
    """Return each demo's header and the body that the corpus has for it."""
    bodies = {s.partition("\n")[0]: s.partition("\n")[2] for s in setting.split()[0]}
    return {header: "\n" + bodies[header] for header in setting.demos}


def demos(model: GPT, setting: Setting = OURS) -> dict[str, tuple[str, bool]]:
    """Return what the model writes after each demo's header, and whether it is the corpus's body."""
    wanted = demo_bodies(setting)
    written = {header: complete(model, header, setting=setting) for header in setting.demos}
    return {header: (text, text == wanted[header]) for header, text in written.items()}


def copied(setting: Setting = OURS) -> Score:
    """Return the score of no model at all: each held-out header gets the body of the trained header most like it."""
    train, held = setting.split()
    bodies = dict(s.split("\n", 1) for s in train)
    parsed = exact = 0
    for snippet in held:
        header = snippet.partition("\n")[0]
        (nearest,) = difflib.get_close_matches(header, bodies, n=1, cutoff=0)
        text = f"{header}\n{bodies[nearest]}"
        parsed += parses(text)
        exact += text == snippet
    return Score(parsed, exact, len(held))


def loss_floor(setting: Setting = OURS) -> float:
    """Return the least loss on the snippets trained on (nats per character, the end counts as one), by counting."""
    return ceiling([s + "\0" for s in setting.split()[0]]).loss


def loss_constant(setting: Setting = OURS) -> float:
    """Return the loss on the same of the best guess that reads nothing."""
    return best_constant([s + "\0" for s in setting.split()[0]])


def trained_loss(model: GPT, setting: Setting = OURS) -> float:
    """Return the loss on the snippets trained on, in nats per character (the end counts as one)."""
    return evaluate(model, *setting.vocabulary.rows(setting.split()[0]))


def held_out_loss(model: GPT, setting: Setting = OURS) -> float:
    """Return the loss on the held-out snippets, in nats per character (the end counts as one)."""
    return evaluate(model, *setting.vocabulary.rows(setting.split()[1]))


def train(
    model: GPT,
    steps: int,
    seed: int = 0,
    lr: float = 5e-3,
    batch: int = BATCH,
    warmup: int = 20,
    watch: Callable[[int, float], bool | None] = lambda step, loss: None,
    setting: Setting = OURS,
) -> Curve:
    """Train on the corpus without its held-out part and return the losses; padding is never scored."""
    batches = draws(setting.vocabulary, setting.split()[0], batch, seed)
    return fit(model, batches, steps, lr, warmup=warmup, watch=watch)


def pretrained() -> tuple[FastGPT, str]:
    """Return the model that is shipped with the package, and the note on how it was trained."""
    with resources.as_file(resources.files("bestguess.scratch") / "pretrained" / "copilot.npz") as path:
        return checkpoint.load(Path(path))
