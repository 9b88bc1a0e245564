"""Three options to find out what a small GPT lacks: train longer, an easier task, another way to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from bestguess.scratch.demos import checkpoint, copilot
from bestguess.scratch.demos.data import DEMOS, PAD, PYTHON, Index, Vocabulary
from bestguess.scratch.demos.generate import distribution, generate
from bestguess.scratch.demos.training import fit
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import no_grad
from bestguess.scratch.fast.gpt import FastGPT

Watch = Callable[[int, float], None]


def a(steps: int, every: int, seed: int, out: Path, watch: Watch) -> dict[str, Any]:
    """Train the copilot; every `every` steps and in the end, keep a checkpoint in `out` and score what it writes.

    Losses in nats per character; scores as `copilot.score` gives them.
    """
    train, held = copilot.OURS.split()
    model = FastGPT(copilot.CONFIG, seed)
    points: list[dict[str, Any]] = []

    def look(step: int, loss: float) -> None:
        watch(step, loss)
        if step % every and step != steps:
            return
        path = out / f"step-{step:05d}.npz"
        checkpoint.save(path, model, f"option A, step {step}, seed {seed}")
        points.append(
            {
                "step": step,
                "loss": copilot.trained_loss(model),
                "held_out_loss": copilot.held_out_loss(model),
                "memorised": asdict(copilot.score(model, train)),
                "held_out": asdict(copilot.score(model, held)),
                "demos_correct": sum(right for _, right in copilot.demos(model).values()),
                "checkpoint": path.name,
            }
        )

    copilot.train(model, steps, seed, watch=look)
    return {"points": points, "loss_floor": copilot.loss_floor()}


COPIED = 4
"""Letters to copy."""
COPY = Vocabulary("abcdefgh|")
COPY_CONFIG = GPTConfig(vocab=len(COPY), d_model=16, layers=1, heads=2, positions=2 * COPIED)
"""Below 5,000 parameters: one layer can look up the letter at a given distance."""


def b(steps: int, seed: int, watch: Watch) -> dict[str, Any]:
    """Learn to write four letters again after a bar; score whole copies of 500 strings never trained on."""
    letters = len(COPY.characters) - 1
    codes = np.random.default_rng(seed).permutation(letters**COPIED)
    digits = codes[:, None] // letters ** np.arange(COPIED) % letters + 1
    bar = np.full((len(codes), 1), COPY.encode("|"))
    rows = np.concatenate([digits, bar, digits], axis=1)
    held, train = rows[:500], rows[500:]
    model = FastGPT(COPY_CONFIG, seed)

    def batches(step: int) -> tuple[Index, Index]:
        drawn = train[np.random.default_rng([seed, step]).integers(0, len(train), 64)]
        targets = drawn[:, 1:].copy()
        targets[:, :COPIED] = PAD  # the letters before the bar, and the bar: nothing to copy from yet
        return drawn[:, :-1], targets

    curve = fit(model, batches, steps, 5e-3, watch=watch)
    written = [generate(model, row[: COPIED + 1].tolist(), COPIED) for row in held]
    correct = sum(text == row[COPIED + 1 :].tolist() for text, row in zip(written, held))
    return {
        "correct": correct,
        "of": len(held),
        "accuracy": correct / len(held),
        "by_chance": letters**-COPIED,
        "trained_on": len(train),
        "loss": curve.losses[-1],
        "parameters": model.count(),
    }


def c(
    model: GPT,
    temperatures: Sequence[float],
    draws: int,
    seed: int,
    top_k: int | None = None,
    top_p: float | None = None,
) -> dict[str, Any]:
    """Complete each demo `draws` times at each temperature; say what is right, what parses, and how sure `model` is.

    `bits_per_character` is the entropy of the distribution drawn from, after each demo's own body so far.
    """
    wanted = copilot.demo_bodies()
    out = []
    for temperature in temperatures:
        rng = np.random.default_rng(seed)
        written = [
            (header, copilot.complete(model, header, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng))
            for header in DEMOS
            for _ in range(draws)
        ]
        entropies = []
        for header in DEMOS:
            with no_grad():
                logits = model(np.array([PYTHON.encode(header + wanted[header])])).data[0]
            for row in logits[len(header) - 1 :]:
                p = distribution(row, temperature, top_k, top_p)
                entropies.append(float(-(p * np.log2(p, where=p > 0, out=np.zeros_like(p))).sum()))
        out.append(
            {
                "temperature": temperature,
                "exact": sum(body == wanted[header] for header, body in written),
                "parsed": sum(copilot.parses(header + body) for header, body in written),
                "of": len(written),
                "different_texts": len(set(written)),
                "bits_per_character": mean(entropies),
                "example": "".join(written[0]),
            }
        )
    return {"temperatures": out}
