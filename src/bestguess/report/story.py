"""What a page says, as data: key figures, sections of words, tables and pictures. Drawn elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bestguess.report.charts import Picture

MANY = 12
"""Above this many runs, only those with the selected learning rates are drawn."""


@dataclass(frozen=True)
class Stat:
    """A key figure: its value as text, what it is, and a note such as its standard error and count."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Words:
    """Paragraphs and lists."""

    text: str


@dataclass(frozen=True)
class Rows:
    """A table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture, which is also a file figures/`name`.png and .svg."""

    name: str
    picture: Picture


Part: TypeAlias = Words | Rows | Drawn


@dataclass(frozen=True)
class Section:
    """A section of a page; without a heading its parts stand under the key figures."""

    heading: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Story:
    """A page from top to bottom."""

    title: str
    lead: str
    stats: Sequence[Stat]
    sections: Sequence[Section] = field(default=())

    def pictures(self) -> Iterator[Drawn]:
        """Yield the pictures in their order."""
        yield from (part for section in self.sections for part in section.parts if isinstance(part, Drawn))


def self_test_stat(missed: float) -> Stat:
    """Return the key figure of the self-test."""
    return Stat(f"{missed:.0g}", "self-test", "by how much the oracle misses a regret of 0 on this very path")


def shade(i: int, shown: Sequence[int]) -> float:
    """Return the place of run `i` on the colour scale for the runs that are shown."""
    return list(shown).index(i) / (len(shown) - 1) if len(shown) > 1 else 0.0
