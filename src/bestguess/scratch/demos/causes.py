"""TinyTorch's four possible causes of bad completions, each tried in a controlled run: arms that differ in it alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import numpy as np

from bestguess.scratch.demos import copilot
from bestguess.scratch.demos.data import PAD, PYTHON, Index, Vocabulary
from bestguess.scratch.demos.generate import generate
from bestguess.scratch.demos.training import Batches, draws, evaluate, fit
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.fast.gpt import FastGPT

LR = 5e-3
MERGES = 64
"""Pairs that the other tokenizer joins."""
SCORED = 50
"""Snippets trained on, and as many held out, that each arm completes."""
SAMPLES = 2
"""Completions of each snippet where they are drawn."""
TEMPERATURE, TOP_K = 1.0, 5
"""What mends greedy decoding."""
LONGER = 5
"""Times as many steps as the others that the arm with enough training has: 1,000 where they have 200."""
MATTERS = 0.05
"""A fraction of completions; a cause whose whole interval lies below it is none."""

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
         2.120, 2.110, 2.101, 2.093)  # fmt: skip
"""Student's t at 97.5 %, for 1 to 19 degrees of freedom."""


class Pairs(Vocabulary):
    """Byte-pair encoding (Sennrich et al., 2016): the commonest neighbours become one token, again and again.

    Tokens never cross the start of a line, so that a header is encoded alike with its body and without.
    """

    def __init__(self, base: Vocabulary, texts: Sequence[str], merges: int):
        super().__init__(base.characters, end=base.end is not None)
        self.merges: dict[tuple[int, int], int] = {}
        self._texts = {self._index[c]: c for c in self.characters}
        lines = Counter(line for text in texts for line in _lines(text))
        tokens = {line: super(Pairs, self).encode(line) for line in lines}
        for _ in range(merges):
            pairs: Counter[tuple[int, int]] = Counter()
            for line, t in tokens.items():
                for pair in pairwise(t):
                    pairs[pair] += lines[line]
            if not pairs:
                break
            pair = min(pairs, key=lambda p: (-pairs[p], p))
            new = len(self)
            self.merges[pair] = new
            self._texts[new] = self._texts[pair[0]] + self._texts[pair[1]]
            tokens = {line: _joined(t, pair, new) for line, t in tokens.items()}

    def __len__(self) -> int:
        return super().__len__() + len(self.merges)

    def encode(self, text: str) -> list[int]:
        out: list[int] = []
        for line in _lines(text):
            tokens = super().encode(line)
            for pair, new in self.merges.items():
                tokens = _joined(tokens, pair, new)
            out += tokens
        return out

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self._texts.get(t, "") for t in tokens)


def _lines(text: str) -> list[str]:
    return [line for line in re.split(r"(?=\n)", text) if line]


def _joined(tokens: list[int], pair: tuple[int, int], new: int) -> list[int]:
    out: list[int] = []
    for t in tokens:
        if out and (out[-1], t) == pair:
            out[-1] = new
        else:
            out.append(t)
    return out


@dataclass(frozen=True)
class Run:
    """One trained model: fractions of bodies written exactly, and its loss on the texts trained on.

    `loss` is in nats per character, padding left out; `said` is the loss as its own training counts it.
    """

    memorised: float
    held_out: float
    loss: float
    said: float


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences over seeds, with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What mending one suspected cause changes: fractions of bodies written exactly, mended less faulty."""

    cause: str
    faulty: str
    mended: str
    memorised: Difference
    held_out: Difference
    verdict: str


def difference(mended: Sequence[float], faulty: Sequence[float]) -> Difference:
    """Return the mean of mended − faulty and its 95 % interval; the two are paired, 2 to 20 of each."""
    d = [m - f for m, f in zip(mended, faulty, strict=True)]
    half = T_975[len(d) - 2] * stdev(d) / math.sqrt(len(d))
    return Difference(mean(d), mean(d) - half, mean(d) + half)


def judge(effect: Difference) -> str:
    """Return the verdict, by rules set before any run: the interval against 0 and against `MATTERS`."""
    if effect.low > 0:
        return "a cause"
    if effect.high < 0:
        return "no cause: mending it does harm"
    return "no cause" if effect.high < MATTERS else "undecided: more seeds are needed"


def arms(seed: int, steps: int) -> dict[str, Run]:
    """Return every arm's run with this seed; all but what the name says is the control's."""
    train, _ = copilot.OURS.split()
    characters = draws(PYTHON, train, copilot.BATCH, seed)
    pairs = Pairs(PYTHON, train, MERGES)
    control = _trained(PYTHON, seed, steps, characters)
    return {
        "control": _run(control, PYTHON, seed),
        "sampled": _run(control, PYTHON, seed, sampled=True),
        "more steps": _run(_trained(PYTHON, seed, LONGER * steps, characters), PYTHON, seed),
        "padding scored": _run(
            _trained(PYTHON, seed, steps, _padded(train, seed), score_padding=True), PYTHON, seed, score_padding=True
        ),
        "pairs": _run(_trained(pairs, seed, steps, draws(pairs, train, copilot.BATCH, seed)), pairs, seed),
    }


def verdicts(runs: Sequence[dict[str, Run]], steps: int) -> list[Verdict]:
    """Return a verdict on each suspected cause; `runs` holds one `arms` per seed."""
    out = []
    for cause, (faulty, faulty_is), (mended, mended_is) in (
        ("insufficient training", ("control", f"{steps:,} steps"), ("more steps", f"{LONGER * steps:,} steps")),
        ("greedy decoding", ("control", "argmax"), ("sampled", f"temperature {TEMPERATURE:g}, top-k {TOP_K}")),
        ("padding confusion", ("padding scored", "rows of 128, padding scored"), ("control", "padding left out")),
        ("tokenizer issues", ("control", "characters"), ("pairs", f"{MERGES} joined pairs beside the characters")),
    ):
        memorised = difference([r[mended].memorised for r in runs], [r[faulty].memorised for r in runs])
        held_out = difference([r[mended].held_out for r in runs], [r[faulty].held_out for r in runs])
        out.append(Verdict(cause, faulty_is, mended_is, memorised, held_out, judge(memorised)))
    return out


def _trained(vocabulary: Vocabulary, seed: int, steps: int, batches: Batches, score_padding: bool = False) -> GPT:
    model = FastGPT(replace(copilot.CONFIG, vocab=len(vocabulary)), seed)
    fit(model, batches, steps, LR, score_padding=score_padding)
    return model


def _padded(texts: Sequence[str], seed: int) -> Batches:
    """Return the batches of `draws`, each row filled up to all positions."""
    inputs, targets = PYTHON.rows(texts, copilot.CONFIG.positions)

    def batches(step: int) -> tuple[Index, Index]:
        rows = np.random.default_rng([seed, step]).integers(0, len(inputs), copilot.BATCH)
        return inputs[rows], targets[rows]

    return batches


def _run(model: GPT, vocabulary: Vocabulary, seed: int, sampled: bool = False, score_padding: bool = False) -> Run:
    train, held = copilot.OURS.split()
    rng = np.random.default_rng(seed)
    how: dict[str, Any] = {"temperature": TEMPERATURE, "top_k": TOP_K} if sampled else {}

    def exact(snippets: Sequence[str]) -> float:
        hits, of = 0, 0
        for snippet in copilot.thinned(snippets, SCORED):
            header, _, body = snippet.partition("\n")
            prompt = vocabulary.encode(header)
            for _ in range(SAMPLES if sampled else 1):
                tokens = generate(model, prompt, 60, stop=vocabulary.end, rng=rng, **how)
                hits, of = hits + (vocabulary.decode(tokens) == "\n" + body), of + 1
        return hits / of

    inputs, targets = vocabulary.rows(train)
    of_all = evaluate(model, inputs, targets) * (targets != PAD).sum()
    characters = sum(len(text) for text in train)  # a text's first is given, and its end is one more
    said = evaluate(model, *vocabulary.rows(train, model.config.positions), None) if score_padding else None
    loss = float(of_all / characters)
    return Run(exact(train), exact(held), loss, loss if said is None else said)
