"""Level 1: memorise twelve strings with 4,624 parameters on the engine's simple path, and reach the best possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.scratch.demos.data import LETTERS, Ceiling, ceiling
from bestguess.scratch.demos.generate import generate
from bestguess.scratch.demos.training import Curve, evaluate, fit
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import no_grad

CONFIG = GPTConfig(vocab=37, d_model=16, layers=1, heads=2, positions=8)
STEPS = 2000
"""At most; training ends once the ceiling is reached."""


@dataclass(frozen=True)
class Result:
    """What training reached, beside the ceiling; losses in nats per target."""

    ceiling: Ceiling
    correct: int
    completions: tuple[str, ...]
    """One per string, as `complete` or `shift` gives it."""
    first_loss: float
    """Before any step."""
    loss: float
    loss_with_padding: float
    """The same model's mean over all 8 positions of each row, the padding after a string included."""
    curve: Curve
    model: GPT


def complete(model: GPT, strings: Sequence[str]) -> tuple[str, ...]:
    """Return each string's first character and what the model greedily writes after it."""
    return tuple(s[0] + LETTERS.decode(generate(model, LETTERS.encode(s[0]), len(s) - 1)) for s in strings)


def shift(model: GPT, strings: Sequence[str]) -> tuple[str, ...]:
    """Return each string's first character and, after each of its characters but the last, the model's next one."""
    with no_grad():
        best = [model(np.array([LETTERS.encode(s[:-1])])).data[0].argmax(-1) for s in strings]
    return tuple(s[0] + LETTERS.decode(tokens.tolist()) for s, tokens in zip(strings, best))


def run(
    strings: Sequence[str],
    steps: int = STEPS,
    seed: int = 0,
    lr: float = 1e-2,
    shifted: bool = False,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> Result:
    """Train until the ceiling is reached and the loss is within 0.001 of its floor, at most `steps` steps.

    Strings are completed from their first character or, where `shifted`, each next character from all before it.
    """
    best, write = ceiling(strings), shift if shifted else complete
    model = GPT(CONFIG, seed)
    inputs, targets = LETTERS.rows(strings, CONFIG.positions)

    def correct() -> int:
        return sum(c == s for c, s in zip(write(model, strings), strings))

    def stop(step: int, loss: float) -> bool:
        watch(step, loss)
        if step % 50:
            return False
        return evaluate(model, inputs, targets) <= best.loss + 0.001 and correct() >= best.correct

    first = evaluate(model, inputs, targets)
    curve = fit(model, lambda _: (inputs, targets), steps, lr, watch=stop)
    loss, padded = evaluate(model, inputs, targets), evaluate(model, inputs, targets, None)
    return Result(best, correct(), write(model, strings), first, loss, padded, curve, model)
