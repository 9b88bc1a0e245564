"""Documents as pairs: a raw text cut in two, or a source and its target, within a model's context.

The midpoint tells a model that sees it how long the document is: the rest has as many tokens as the source, or one
more. After `fixed` and `random` cuts the rest may have any length: where they fall does not depend on the document's
length, except that a document must reach beyond its cut. All models are to get the same cuts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from bestguess.command import UserError, nearest
from bestguess.text.corpora.options import TOO_LONG, Cut
from bestguess.text.pairs import Pairs
from bestguess.text.tokenizers import Encoded
from bestguess.text.tokens import EOS, PAD


def places(cut: Cut, length: Integer[np.ndarray, " n"], keys: Sequence[str]) -> Integer[np.ndarray, " n"]:
    """Return how many tokens of each document are its source, int64; it may be more than the document has.

    length: tokens of each document. keys: the documents' hashes, which random cuts follow from.
    """
    if cut.kind == "midpoint":
        return length.astype(np.int64) // 2
    if cut.kind == "fixed":
        return np.full(len(length), cut.at, np.int64)
    drawn = [hashlib.sha256(f"cut {cut.seed}:{key}".encode()).digest()[:8] for key in keys]
    width = cut.to - cut.at + 1
    return np.array([cut.at + int.from_bytes(one, "big") % width for one in drawn], np.int64)


@dataclass(frozen=True, eq=False)
class CutDocuments:
    """Pairs for a model, and which documents they are."""

    pairs: Pairs
    target_bytes: Integer[np.ndarray, " n"]
    """UTF-8 bytes of each target; EOS has none. Nats of the target / (bytes × ln 2) is bits per byte."""
    document: Integer[np.ndarray, " n"]
    """Index of the document that each pair comes from: its unit of resampling."""
    counts: Mapping[str, int]
    """Documents that are no pair, and those that were altered, by what was done with them."""

    def __len__(self) -> int:
        return len(self.pairs)


def cut_documents(
    texts: Encoded,
    keys: Sequence[str],
    cut: Cut,
    longest: int,
    too_long: str = "refuse",
    where: Callable[[int], str] = "document {}".format,
) -> CutDocuments:
    """Return raw texts as pairs of what comes before a cut and what comes after it, EOS at its end.

    A text without a token on either side of its cut is skipped and counted.

    keys: the texts' hashes. longest: most tokens of a text, EOS left out. too_long: what happens to a text that has
    more: UserError (refuse); its first `longest` tokens are kept (cut); it is left out (skip); every `longest` tokens
    of it, and the rest, are a text by themselves (split). EOS ends these too. where: a text's name in errors.
    """
    if longest < 2:
        raise UserError(f"--context {longest}: a text has a token on either side of its cut; give 2 or more")
    counts: dict[str, int] = {}
    spans = _within(_all(texts), longest, too_long, "text", where, counts)
    place = places(cut, spans.length, [_key(keys[i], n) for i, n in zip(spans.document.tolist(), spans.part.tolist())])
    kept = (place >= 1) & (place < spans.length)
    _count(counts, "too short, skipped", ~kept)
    spans, place = spans.select(kept), place[kept]
    source, target = (spans.first, place), (spans.first + place, spans.length - place)
    return CutDocuments(
        Pairs(*_rows(texts, *source), *_rows(texts, *target, EOS)), _bytes(texts, *target), spans.document, counts
    )


def pair_documents(
    sources: Encoded,
    targets: Encoded,
    longest_source: int,
    longest_target: int,
    too_long: str = "refuse",
    where: Callable[[int], str] = "document {}".format,
) -> CutDocuments:
    """Return sources and their targets as pairs, EOS at each target's end. See `cut_documents`; split is not possible.

    longest_source, longest_target: most tokens of each, EOS left out. cut: the first tokens of each are kept.
    """
    if len(sources) != len(targets):
        raise ValueError(f"{len(sources)} sources for {len(targets)} targets")
    if too_long == "split":
        raise UserError("--too-long split: a source and its target do not divide; give refuse, cut or skip")
    counts: dict[str, int] = {}
    source = _within(_all(sources), longest_source, too_long, "source", where, counts)
    target = _within(_all(targets), longest_target, too_long, "target", where, counts)
    both = np.intersect1d(source.document, target.document)
    source, target = (one.select(np.isin(one.document, both)) for one in (source, target))
    kept = (source.length >= 1) & (target.length >= 1)
    _count(counts, "too short, skipped", ~kept)
    source, target = source.select(kept), target.select(kept)
    return CutDocuments(
        Pairs(*_rows(sources, source.first, source.length), *_rows(targets, target.first, target.length, EOS)),
        _bytes(targets, target.first, target.length),
        source.document,
        counts,
    )


_ROWS = 1 << 12
"""Pairs that are gathered at a time: their indices take more memory than they do."""


@dataclass(frozen=True, eq=False)
class _Spans:
    """Stretches of tokens."""

    first: Integer[np.ndarray, " n"]
    length: Integer[np.ndarray, " n"]
    document: Integer[np.ndarray, " n"]
    part: Integer[np.ndarray, " n"]
    """Number of the part of a document that was split; else 0."""

    def select(self, rows: Bool[np.ndarray, " n"]) -> _Spans:
        return _Spans(self.first[rows], self.length[rows], self.document[rows], self.part[rows])


def _all(texts: Encoded) -> _Spans:
    n = len(texts)
    return _Spans(texts.start[:-1], texts.length, np.arange(n), np.zeros(n, np.int64))


def _within(
    spans: _Spans, longest: int, too_long: str, what: str, where: Callable[[int], str], counts: dict[str, int]
) -> _Spans:
    """The spans with none longer than `longest`; what was done is counted."""
    if too_long not in TOO_LONG:
        raise UserError(f"--too-long {too_long}: must be one of {', '.join(TOO_LONG)}{nearest(too_long, TOO_LONG)}")
    long = spans.length > longest
    if too_long == "refuse":
        if long.any():
            row = int(np.argmax(long))
            raise UserError(
                f"--too-long refuse: {where(int(spans.document[row]))}: its {what} has {spans.length[row]:,} tokens, "
                f"the context takes {longest:,}, and {int(long.sum()):,} of {len(long):,} are longer; "
                f"give --too-long {_ways(what)}, or a longer context"
            )
        return spans
    _count(counts, f"{what} too long, {_DONE[too_long]}", long)
    if too_long == "skip":
        return spans.select(~long)
    if too_long == "cut":
        return _Spans(spans.first, np.minimum(spans.length, longest), spans.document, spans.part)
    n_parts = np.maximum(-(-spans.length // longest), 1)
    part = np.arange(n_parts.sum()) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    first, length = np.repeat(spans.first, n_parts), np.repeat(spans.length, n_parts)
    return _Spans(
        first + part * longest, np.minimum(length - part * longest, longest), np.repeat(spans.document, n_parts), part
    )


def _ways(what: str) -> str:
    return "cut, skip or split" if what == "text" else "cut or skip"


_DONE = {"cut": "cut", "skip": "skipped", "split": "split"}


def _count(counts: dict[str, int], what: str, rows: Bool[np.ndarray, " n"]) -> None:
    if rows.any():
        counts[what] = counts.get(what, 0) + int(rows.sum())


def _key(key: str, part: int) -> str:
    """The key of a part of a document; the first has the document's, so that splitting moves no other cut."""
    return f"{key} {part}" if part else key


def _rows(
    texts: Encoded, first: Integer[np.ndarray, " n"], length: Integer[np.ndarray, " n"], end: int | None = None
) -> tuple[Integer[np.ndarray, "n T"], Integer[np.ndarray, " n"]]:
    """Return (stretches of tokens as rows, PAD behind them; their lengths), int32. `end` comes after each stretch."""
    width = int(length.max(initial=0))
    found = np.full((len(first), width + (end is not None) or 1), PAD, np.int32)
    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        index = first[rows, None] + np.arange(width)
        inside = np.arange(width) < length[rows, None]
        found[rows, :width][inside] = texts.tokens[index[inside]]
    if end is not None:
        found[np.arange(len(first)), length] = end
        length = length + 1
    return found, length.astype(np.int32)


def _bytes(
    texts: Encoded, first: Integer[np.ndarray, " n"], length: Integer[np.ndarray, " n"]
) -> Integer[np.ndarray, " n"]:
    """Return the UTF-8 bytes of stretches of tokens, int64."""
    before = np.concatenate([[0], np.cumsum(texts.n_bytes, dtype=np.int64)])
    return before[first + length] - before[first]
