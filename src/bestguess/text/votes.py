"""What people voted on a blind sheet: how often each run won, with exact intervals."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import binomtest

from bestguess.command import UserError
from bestguess.files import Unreadable, parse_json, read_bytes
from bestguess.text.sheet import CHOICES, VERSION, name_of

_LIMIT = 16 * 2**20
"""Bytes of a file of votes."""
_FIX = "; save it from the sheet again"


@dataclass(frozen=True)
class Votes:
    """A file of votes."""

    path: Path
    sheet: str
    runs: tuple[str, str]
    rater: str
    won: Mapping[int, int | None]
    """By document with a vote: 0 or 1, the run that was preferred; None: no difference."""
    chose_a: Mapping[int, int]
    """By document with a preference: whether it was for A, whichever run that was."""
    unvoted: int
    identical: int
    comments: Sequence[Mapping[str, Any]]


class Count(NamedTuple):
    """How often the first of two was taken."""

    first: int
    second: int

    @property
    def share(self) -> float | None:
        """Return the fraction of the first; None where neither was taken."""
        return self.first / (self.first + self.second) if self.first + self.second else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the exact 95 % interval of the share (Clopper and Pearson)."""
        if self.share is None:
            return None
        low, high = binomtest(self.first, self.first + self.second).proportion_ci(0.95, method="exact")
        return float(low), float(high)


def read_votes(path: Path) -> Votes:
    """Return the votes that a sheet saved. UserError for anything else."""
    data = read_bytes(path, _LIMIT)
    try:
        value = parse_json(data, path)
    except Unreadable as error:
        raise Unreadable(path, error.reason, _FIX) from error
    try:
        return _votes(path, value)
    except (KeyError, TypeError, ValueError, AttributeError, Unreadable) as error:
        raise Unreadable(path, "not the votes of a sheet", _FIX) from error


def _votes(path: Path, value: Any) -> Votes:
    if value["version"] != VERSION:
        raise UserError(
            f"{path}: is of version {value['version']}, but this bestguess reads {VERSION}; vote again on a new sheet"
        )
    if name_of(value["key"]) != value["sheet"]:
        raise ValueError("the key is not the sheet's")
    key = parse_json(base64.b64decode(value["key"], validate=True), path)
    first, second = map(str, key["runs"])
    turned = dict(zip(key["documents"], key["swapped"], strict=True))
    won: dict[int, int | None] = {}
    chose_a: dict[int, int] = {}
    comments: list[dict[str, Any]] = []
    for one in value["votes"]:
        number, vote = one["document"], one["vote"]
        swapped, comment = int(turned.pop(number)), str(one["comment"]).strip()
        if vote is not None:
            took_b = CHOICES.index(vote)
            won[number] = None if vote == "same" else took_b ^ swapped
            if vote != "same":
                chose_a[number] = 1 - took_b
        if comment:
            comments.append({"document": number, "comment": comment})
    if turned:
        raise ValueError("documents are missing")
    unvoted, identical = len(value["votes"]) - len(won), int(key["identical"])
    rater = str(value["rater"]).strip()
    return Votes(path, value["sheet"], (first, second), rater, won, chose_a, unvoted, identical, comments)


def counted(every: Sequence[Votes]) -> dict[str, Any]:
    """Return how often each run won, for each file of votes and for the majority of them.

    UserError unless the files are of one sheet and have votes.
    """
    first = every[0]
    for one in every[1:]:
        if one.sheet != first.sheet:
            raise UserError(
                f"{one.path}: of the sheet {one.sheet}, and {first.path} of {first.sheet}; give one sheet's"
            )
    for one in every:
        if not one.won:
            raise UserError(f"{one.path}: has no votes yet")
    majority = _majority(every)
    return {
        "sheet": first.sheet,
        "runs": list(first.runs),
        "documents": len(first.won) + first.unvoted,
        "identical": first.identical,
        **_figures(majority),
        "agreement": _agreement(every),
        "raters": [
            {
                "path": one.path,
                "rater": one.rater,
                **_figures(one.won),
                "unvoted": one.unvoted,
                "chose_a": _share(Count(sum(one.chose_a.values()), len(one.chose_a) - sum(one.chose_a.values()))),
                "comments": list(one.comments),
            }
            for one in every
        ],
    }


def _majority(every: Sequence[Votes]) -> dict[int, int | None]:
    """What most raters preferred, by document; as many for one as for the other: no difference."""
    found: dict[int, int | None] = {}
    for number in sorted({number for one in every for number in one.won}):
        given = [one.won[number] for one in every if number in one.won]
        ahead = given.count(1) - given.count(0)
        found[number] = None if ahead == 0 else int(ahead > 0)
    return found


def _agreement(every: Sequence[Votes]) -> float | None:
    """The fraction of the documents with several votes on which all are the same; None of one rater."""
    shared = [number for number in every[0].won if all(number in one.won for one in every)]
    if len(every) < 2 or not shared:
        return None
    return sum(len({one.won[number] for one in every}) == 1 for number in shared) / len(shared)


def _figures(won: Mapping[int, int | None]) -> dict[str, Any]:
    given = list(won.values())
    return {"wins": [given.count(0), given.count(1)], "no_difference": given.count(None)} | _share(
        Count(given.count(0), given.count(1))
    )


def _share(count: Count) -> dict[str, Any]:
    return {"share": count.share, "interval": count.interval}
