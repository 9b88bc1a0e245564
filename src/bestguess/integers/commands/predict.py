"""`integers predict`: what comes next, in one sentence; then model beside oracle; then why. Imports no JAX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from bestguess.integers.commands.terms import check_counts, parse_integers
from bestguess.integers.words import number, said

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from bestguess.integers.model.portable import PortableModel
    from bestguess.integers.oracle.fitting import Answer
    from bestguess.integers.outside.evidence import OutsideRule

NEVER = "never trained on anything like this"
MOST_STEPS, MOST_SHOWN = 100, 20
"""Terms to go on with, and those of them in the table."""


@dataclass(frozen=True)
class PredictFlags:
    """Say what comes next in a sequence of integers, and why: the bundled model, beside the exact Bayes predictor.

    Any integers, any number of them, as words or as one quoted string: 5 3 1 -1, or "1, 2, 4, 8, …". The model sees the
    last terms of them, as many as its context holds, modulo 256.
    """

    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, such as 2 4 8 16."""
    steps: int = 1
    """Number of terms to go on with."""
    model: Path | None = None
    """Model file written by `integers export` (default: the bundled model)."""
    top: int = 5
    """Number of guesses and of recurrences to print; --json returns all guesses with probability above 0.0001."""


@dataclass(frozen=True, eq=False)
class _Question:
    """What was asked, and what each of the three has to say."""

    terms: tuple[int, ...]
    window: tuple[int, ...]
    """The last of the terms: what the model's context holds."""
    p: np.ndarray
    """The model's probabilities of the next residue, [256]."""
    path: tuple[int, ...]
    """The model's own continuation, its first choice each time: residues."""
    answer: Answer
    rules: list[OutsideRule]
    """Rules outside the prior: all where nothing in it fits, else well-known sequences alone."""

    @property
    def fits(self) -> bool:
        """Whether any recurrence of the generator fits; modulo 256 alone, only where no rule outside it is exact."""
        return bool(self.answer.fits) and (self.answer.exact or not self.rules)

    @property
    def wrapped(self) -> bool:
        """Whether what the model sees, or is to say, is a residue modulo 256 and not the integer itself."""
        seen = [*self.window, *self.expected[:1]]
        return any(not 0 <= term < 256 for term in seen) or (self.fits and not self.answer.exact)

    @property
    def expected(self) -> tuple[int, ...]:
        """What the best recurrence puts next and on, or the simplest rule outside; empty where there is neither."""
        if self.fits:
            likeliest = next(iter(self.answer.next), None)
            first = (one for one in self.answer.fits if one.following[:1] == (likeliest,))
            return next((one.following for one in first), ())
        return self.rules[0].following if self.rules else ()

    def true(self, residue: int, place: int = 0) -> int:
        """Return the integer that a residue stands for: the nearest to what is expected at that place of the
        continuation, or to the last term."""
        if not self.wrapped or (self.fits and not self.answer.exact):
            return residue
        near = self.expected[place] if place < len(self.expected) else self.window[-1]
        return near + (residue - near + 128) % 256 - 128


def predict(flags: PredictFlags, console: Console) -> dict[str, Any]:
    """Print one sentence, then the model's guesses beside the oracle's, then the recurrences; return all of it."""
    # So small a model's products take longer on several threads of BLAS; to be said before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bestguess.integers.model.portable import SHIPPED, load_portable

    check_counts(flags, {"top": 10**6, "steps": MOST_STEPS})
    terms = parse_integers(flags.terms)
    asked = ask(load_portable(SHIPPED if flags.model is None else flags.model), terms, flags.steps)
    sentence = sentence_of(asked, flags.steps)
    console.print(sentence, style="bold", soft_wrap=True)
    _print_guesses(asked, flags.top, console)
    for line in _remarks(asked):
        console.print(line, soft_wrap=True)
    if flags.steps > 1:
        _print_steps(asked, console)
    _print_rules(asked, flags.top, console)
    return _as_json(asked, sentence)


def ask(model: PortableModel, terms: tuple[int, ...], steps: int) -> _Question:
    """Return what the model, the oracle and the rules outside the prior say of terms."""
    from bestguess.integers.oracle.fitting import fit
    from bestguess.integers.outside.rules import named_rules, outside_rules

    task = model.config.task
    window = terms[-task.length :]
    seen = [term % 256 for term in window]
    p = model.probabilities(seen)
    path: list[int] = []
    for i in range(steps):
        following = p if i == 0 else model.probabilities([*seen, *path][-task.length :])
        path.append(int(following.argmax()))
    answer = fit(task, window, steps)
    # What the model cannot see of a long input, or sees modulo 256 alone, may follow another rule.
    inside = answer.fits and answer.exact and len(window) == len(terms)
    rules = named_rules(terms, steps) if inside else outside_rules(terms, steps)
    return _Question(terms, window, p, tuple(path), answer, rules)


def sentence_of(asked: _Question, steps: int) -> str:
    """Return what comes next in one sentence, which never sounds surer than what is known."""
    from bestguess.integers.oracle.posterior import probability

    if not asked.fits:
        if asked.rules:
            first = asked.rules[0]
            return f"{said(first.following)}: {first.rule}, a rule outside the prior; the model was {NEVER}"
        guess = number(asked.true(int(asked.p.argmax())))
        return f"No rule was found that fits; the model guesses {guess}, but was {NEVER}"
    likeliest, chance = next(iter(asked.answer.next.items()), (None, 0.0))
    if likeliest is None:
        return f"Nothing: {asked.answer.fits[0].words}, and the sequence ends here"
    best = next(one for one in asked.answer.fits if one.following[:1] == (likeliest,))
    modulo = "" if asked.answer.exact else " modulo 256"
    window = f" (by the last {len(asked.window)} terms)" if len(asked.window) < len(asked.terms) else ""
    sentence = f"{said(best.following[:steps])}{modulo}: {best.words}, {probability(chance)}{window}"
    rules = [one for one in asked.rules if one.named or one.next != likeliest][:2]
    sentence += "".join(f"; {one.rule}" for one in rules if one.next == likeliest and one.rule not in best.words)
    for other, chance in list(asked.answer.next.items())[1:2]:
        if chance >= 0.1:
            why = next(one for one in asked.answer.fits if one.following[:1] == (other,))
            sentence += f"; or {number(other)}: {why.words}, {probability(chance)}"
    return sentence + "".join(f"; {rule.rule}: {number(rule.next)}" for rule in rules if rule.next != likeliest)


def _print_guesses(asked: _Question, top: int, console: Console) -> None:
    """The most probable terms of model and oracle, side by side."""
    import numpy as np

    from bestguess.integers.oracle.posterior import guesses, probability
    from bestguess.report.progress import results_table

    best = asked.answer.residues
    values = [one.value for one in guesses(asked.p, top)]
    if best is not None:
        values += [one.value for one in guesses(best, top) if one.value not in values]
    rows = []
    for residue in values:
        row = [number(asked.true(residue)), *([f"{residue}"] if asked.wrapped else [])]
        row.append(probability(float(asked.p[residue])))
        row.append("–" if best is None else probability(float(np.asarray(best)[residue])))
        rows.append(row)
    columns = ["next", *(["residue"] if asked.wrapped else []), "model", "oracle"]
    console.print(results_table(columns, rows, f"After {said(asked.window)}"))


def _remarks(asked: _Question) -> list[str]:
    """How model and oracle compare; what was left out of a long input; what wrapped."""
    from bestguess.integers.oracle.posterior import comparison

    lines = []
    if asked.answer.residues is not None:
        lines.append(comparison(asked.p, asked.answer.residues, lambda residue: number(asked.true(residue))))
    if not asked.fits:
        lines.append(f"{_reason(asked)}: the model was {NEVER}, so its probabilities mean little")
    if len(asked.window) < len(asked.terms):
        count = len(asked.window)
        lines.append(f"model and oracle see the last {count} of {len(asked.terms)} terms; rules outside the prior, all")
    if asked.wrapped:
        outside = [term for term in asked.window if not 0 <= term < 256]
        shown = ", ".join(f"{number(term)} is {term % 256}" for term in dict.fromkeys(outside[:4]))
        lines.append(
            "model and oracle see terms modulo 256" + (f": {shown}" if shown else "") + ", so their next is a residue"
            if asked.answer.exact or not asked.fits
            else "the terms fit modulo 256 alone, as they would be shown to the model; so what comes next is a residue"
        )
    return lines


def _print_steps(asked: _Question, console: Console) -> None:
    """The continuation, term by term."""
    from bestguess.report.progress import results_table

    rows = []
    for i, residue in enumerate(asked.path[:MOST_SHOWN]):
        due = number(asked.expected[i]) if i < len(asked.expected) else "–"
        rows.append([f"{len(asked.terms) + i + 1}", number(asked.true(residue, i)), due])
    source = "recurrence" if asked.fits else "rule"
    columns = ["place", "model", *([source] if asked.expected else [])]
    console.print(results_table(columns, [row[: len(columns)] for row in rows], "The next terms"))
    if len(asked.path) > MOST_SHOWN:
        console.print(f"and {len(asked.path) - MOST_SHOWN} more; --json has all", style="dim")


def _print_rules(asked: _Question, top: int, console: Console) -> None:
    """The recurrences that fit, simplest first among equals, or the rules outside the prior."""
    from bestguess.integers.oracle.posterior import probability
    from bestguess.report.progress import results_table

    if asked.fits:
        fits = asked.answer.fits
        rows = [
            [one.formula, one.words + (f" (and {len(one.others)} alike)" if one.others else ""),
             probability(one.probability)]
            for one in fits[:top]
        ]  # fmt: skip
        many = len(fits) + sum(len(one.others) for one in fits)
        title = f"{many} recurrence{'s' * (many > 1)} fit{'s' * (many == 1)}"
        console.print(results_table(["recurrence", "in words", "probability"], rows, title))
        if len(fits) > top:
            rest = sum(one.probability for one in fits[top:])
            console.print(f"and {len(fits) - top} more, together {probability(rest)}; --top shows more", style="dim")
    elif asked.rules:
        rows = [[one.rule, said(one.following[:3])] for one in asked.rules[:top]]
        console.print(results_table(["rule", "next"], rows, "Exact rules outside the prior"))


def _reason(asked: _Question) -> str:
    return f"no recurrence of the generator begins with {said(asked.window)}"


def _as_json(asked: _Question, sentence: str) -> dict[str, Any]:
    from bestguess.files import plain

    return plain(
        {
            "sentence": sentence,
            "next": _probable(asked, asked.p),
            "oracle": [] if asked.answer.residues is None else _probable(asked, asked.answer.residues),
            "recurrences": [
                {"formula": one.formula, "words": one.words, "probability": one.probability, "alike": list(one.others)}
                for one in asked.answer.fits
            ],
            "fits": asked.fits,
            "reason": None if asked.fits else f"{_reason(asked)}: {NEVER}",
            "outside_prior": [{"rule": one.rule, "next": one.next} for one in asked.rules],
            "window": list(asked.window),
            "wrapped": asked.wrapped,
            "continuation": {
                "model": [asked.true(residue, i) for i, residue in enumerate(asked.path)],
                "rule": list(asked.expected[: len(asked.path)]),
            },
        }
    )


def _probable(asked: _Question, p: Sequence[float] | np.ndarray) -> list[dict[str, Any]]:
    """The probable terms as typed, most probable first, with their residues where these differ."""
    import numpy as np

    from bestguess.integers.oracle.posterior import as_json

    return [one | {"value": asked.true(one["value"]), "residue": one["value"]} for one in as_json(np.asarray(p))]
