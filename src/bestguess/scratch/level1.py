"""Level 1: memorise twelve strings with 4,624 parameters, and reach the best that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bestguess.scratch.data import LETTERS, Ceiling, ceiling
from bestguess.scratch.generate import generate
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.training import Curve, evaluate, fit

CONFIG = GPTConfig(vocab=37, d_model=16, layers=1, heads=2, positions=8)
STEPS = 2000
"""At most; training ends once the ceiling is reached."""


@dataclass(frozen=True)
class Result:
    """What training reached, beside the ceiling; losses in nats per target."""

    ceiling: Ceiling
    correct: int
    completions: tuple[str, ...]
    """One per string, completed greedily from its first character."""
    loss: float
    loss_with_padding: float
    """The same model's mean over all 8 positions of each row, the padding after a string included."""
    curve: Curve
    model: GPT


def complete(model: GPT, strings: Sequence[str]) -> tuple[str, ...]:
    """Return each string's first character and what the model greedily writes after it."""
    out = []
    for s in strings:
        out.append(s[0] + LETTERS.decode(generate(model, LETTERS.encode(s[0]), len(s) - 1)))
    return tuple(out)


def run(
    strings: Sequence[str],
    steps: int = STEPS,
    seed: int = 0,
    lr: float = 1e-2,
    score_padding: bool = False,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> Result:
    """Train until the ceiling is reached and the loss is within 0.001 of its floor, at most `steps` steps."""
    best = ceiling(strings)
    model = GPT(CONFIG, seed)
    inputs, targets = LETTERS.rows(strings, CONFIG.positions)

    def stop(step: int, loss: float) -> bool:
        watch(step, loss)
        if step % 50 or score_padding:
            return False
        close = evaluate(model, inputs, targets) <= best.loss + 0.001
        return close and _correct(complete(model, strings), strings) >= best.correct

    curve = fit(model, lambda _: (inputs, targets), steps, lr, score_padding=score_padding, watch=stop)
    done = complete(model, strings)
    loss, padded = evaluate(model, inputs, targets), evaluate(model, inputs, targets, None)
    return Result(best, _correct(done, strings), done, loss, padded, curve, model)


def _correct(completions: Sequence[str], strings: Sequence[str]) -> int:
    return sum(c == s for c, s in zip(completions, strings))
