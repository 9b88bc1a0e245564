"""Documents of a corpus: their texts, and where each comes from."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bestguess.text.splits import Fingerprint, fingerprint
from bestguess.text.tokenizers import whole

_NEWLINES = re.compile(r"\r\n?")


@dataclass(frozen=True, eq=False)
class Documents:
    """n documents in the order in which they were read. Raw texts have no target."""

    source: Sequence[str]
    target: Sequence[str] | None
    origin: Sequence[str]
    """File, relative to the corpus, or part of a hub data set."""
    name: Sequence[str]
    """Its id in the data, or the number of its record, counted from 1."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Records that are no documents, by reason."""

    def __len__(self) -> int:
        return len(self.source)

    def select(self, rows: Iterable[int]) -> Documents:
        """Return the documents at `rows`; what was skipped belongs to the whole and is left out."""
        rows = list(rows)
        target = None if self.target is None else [self.target[i] for i in rows]
        return Documents(
            [self.source[i] for i in rows], target, [self.origin[i] for i in rows], [self.name[i] for i in rows]
        )

    def where(self, row: int) -> str:
        """Return where a document comes from, for messages."""
        return f"{self.origin[row]}, record {self.name[row]}"

    @cached_property
    def source_prints(self) -> list[Fingerprint]:
        """What each source is recognised by; its `nearly` is the key of splits and of random cuts."""
        return [fingerprint(text) for text in self.source]

    @cached_property
    def target_prints(self) -> list[Fingerprint]:
        """What each target is recognised by; an empty list for raw texts."""
        return [fingerprint(text) for text in self.target or ()]

    def feed(self, total: hashlib._Hash) -> None:
        """Update a digest with every text and its length, so that no two lists of documents give the same bytes."""
        total.update(f"{len(self)} {self.target is not None}\n".encode())
        for texts in (self.source, self.target or ()):
            for text in texts:
                data = text.encode()
                total.update(b"%d\n" % len(data))
                total.update(data)


def join(parts: Sequence[Documents]) -> Documents:
    """Return the documents of several lists as one."""
    targets = [part.target for part in parts]
    together: list[str] | None = [text for target in targets if target is not None for text in target]
    if any(target is None for target in targets):
        if together:
            raise ValueError("raw texts and pairs do not make one list of documents")
        together = None
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part.skipped)
    return Documents(
        [text for part in parts for text in part.source],
        together,
        [origin for part in parts for origin in part.origin],
        [name for part in parts for name in part.name],
        dict(skipped),
    )


def cleaned(text: str) -> str:
    """Return a text as it is kept: newlines as `\\n`, no blank space at the ends, halves of characters as U+FFFD.

    Nothing else changes. There is no Unicode normalisation: bits per byte are those of the bytes that were given.
    Duplicates are found in normalised texts, see `splits.normalised`.
    """
    return readable(text).strip()


def readable(text: str) -> str:
    """Return a text with newlines as `\\n` and halves of characters as U+FFFD."""
    return whole(_NEWLINES.sub("\n", text))
