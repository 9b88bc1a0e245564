"""Documents as a model is given them: a source, a target, and where each of them ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from bestguess.text.tokens import PAD


@dataclass(frozen=True, eq=False)
class Pairs:
    """n documents, each in two parts: a dialogue and its summary, or a raw text cut in two."""

    source: Integer[np.ndarray, "n S"]
    """PAD behind each end."""
    source_length: Integer[np.ndarray, " n"]
    target: Integer[np.ndarray, "n U"]
    """Its last token is EOS; PAD behind it."""
    target_length: Integer[np.ndarray, " n"]
    """Tokens that are predicted: EOS counts."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: slice | np.ndarray) -> Pairs:
        return Pairs(self.source[rows], self.source_length[rows], self.target[rows], self.target_length[rows])


def make_pairs(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Pairs:
    """Return documents of token sequences, padded to the longest of each part; targets end with EOS already."""
    if len(sources) != len(targets):
        raise ValueError(f"{len(sources)} sources for {len(targets)} targets")
    return Pairs(*_padded(sources), *_padded(targets))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    length = np.array([len(row) for row in rows], np.int32)
    found = np.full((len(rows), int(length.max(initial=1))), PAD, np.int32)
    found[np.arange(found.shape[1])[None] < length[:, None]] = np.fromiter(
        (token for row in rows for token in row), np.int32, int(length.sum())
    )
    return found, length
