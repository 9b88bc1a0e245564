"""Which part each document belongs to, and which documents stand in two of them.

A document's part follows from its hash alone, so it stays where it is when others are added. The hash is that of the
normalised text: documents that differ in case, in blank space or in composed characters fall in the same part.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

PARTS = ("train", "validation", "test")


def normalised(text: str) -> str:
    """Return the text in Unicode's NFC, case-folded, each run of blank space as one space, none at the ends."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


class Fingerprint(NamedTuple):
    """What a text is recognised by: two SHA-256, as 64 hexadecimal digits each."""

    verbatim: str
    """Of the text itself."""
    nearly: str
    """Of the normalised text."""


def fingerprint(text: str) -> Fingerprint:
    """Return what a text is recognised by."""
    return Fingerprint(_sha256(text), _sha256(normalised(text)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def assign(keys: Sequence[str], validation: float, test: float, seed: int = 0) -> Integer[np.ndarray, " n"]:
    """Return the part of each key as an index into PARTS; it depends on the key, the fractions and the seed alone.

    keys: documents' hashes, or their files to keep a file's documents together. A larger test part is the smaller one
    and more; the same holds of validation and test together.
    """
    places = np.array([_place(key, seed) for key in keys], np.float64)
    parts = np.zeros(len(keys), np.int8)
    parts[places < test + validation] = PARTS.index("validation")
    parts[places < test] = PARTS.index("test")
    return parts


def _place(key: str, seed: int) -> float:
    """Where a key lies in [0, 1): 53 bits of a hash, exact in a float."""
    return (int(_sha256(f"{seed}:{key}")[:16], 16) >> 11) / 2**53


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which of n texts stand in a list of others too."""

    verbatim: Bool[np.ndarray, " n"]
    """Equal character for character."""
    nearly: Bool[np.ndarray, " n"]
    """Equal once normalised; every verbatim one is."""

    def counts(self) -> dict[str, int]:
        """Return how many texts stand in both, `verbatim` and `nearly` (verbatim ones included)."""
        return {"verbatim": int(self.verbatim.sum()), "nearly": int(self.nearly.sum())}


def overlap(texts: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> Overlap:
    """Return which of `texts` stand in `others`."""
    seen = {one.verbatim for one in others}, {one.nearly for one in others}
    return Overlap(
        np.array([one.verbatim in seen[0] for one in texts], bool),
        np.array([one.nearly in seen[1] for one in texts], bool),
    )


def repeats(texts: Sequence[Fingerprint]) -> Overlap:
    """Return which of `texts` stand earlier in the same list."""
    return Overlap(_repeated([one.verbatim for one in texts]), _repeated([one.nearly for one in texts]))


def _repeated(keys: Sequence[str]) -> Bool[np.ndarray, " n"]:
    found = np.ones(len(keys), bool)
    found[list({key: i for i, key in reversed(list(enumerate(keys)))}.values())] = False
    return found
