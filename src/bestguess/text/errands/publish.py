"""Errands as a data set on disk: JSON lines by split, with floors for each token, a card and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bestguess import files
from bestguess.command import UserError
from bestguess.text.errands.card import card_of
from bestguess.text.errands.corpus import Errands
from bestguess.text.errands.documents import FACTS, KINDS, Scored
from bestguess.text.errands.stories.oracle import ScoredStories

VERSION = 1
"""Of the columns: whatever a reader would notice raises it."""
SPLITS = ("train", "validation", "test")
_FEWEST = 100
"""Documents, so that no split is empty."""
_MOST = 100_000_000
_PIECE = 2048
_DIGITS = 6
"""Decimals of log probabilities: floors are exact to 1e-6."""


def write_errands(
    folder: Path, world: str, task: str, documents: int, seed: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Write documents 0 to `documents` of a seed, split by a hash of their text; return path, floor and checksum.

    progress: called with the number of documents written so far. UserError unless the folder is new or empty. A run
    that fails leaves no file.
    """
    errands = Errands(world, task)
    if documents < _FEWEST:
        raise UserError(f"--documents {documents}: a split could be empty; make {_FEWEST} or more")
    if documents > _MOST:
        raise UserError(f"--documents {documents}: at most {_MOST:,}")
    if not 0 <= seed < 1 << 63:
        raise UserError(f"--seed {seed}: must be from 0 to 2^63 − 1")
    with files.boundary(f"--out {folder}", "read"):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {folder}: is a file; name a folder")
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"--out {folder}: holds files already; name a new folder")
    files.make_folder(folder)
    sums, figures = _Files(folder), Figures()
    try:
        for first in range(0, documents, _PIECE):
            scored = errands.draw_scored(seed, first, min(_PIECE, documents - first))
            figures.add(errands, scored)
            for line in _lines(errands, scored, first):
                text = hashlib.sha256(f"{line['source']}\n{line['target']}".encode()).digest()
                sums.add(figures.split(text), json.dumps(line, allow_nan=False) + "\n")
            sums.flush()
            progress(min(first + _PIECE, documents))
        empty = [split for split, count in figures.count.items() if not count]
        if empty:
            raise UserError(f"--documents {documents}: none falls into the split {empty[0]}; make more")
        about = {"version": VERSION, "world": world, "task": task, "seed": seed, "documents": documents}
        sums.write("vocabulary.json", files.json_bytes(list(errands.vocabulary)))
        sums.write(
            "README.md", card_of(errands, about, dict(figures.count), figures.repeated, figures.means()).encode()
        )
        digest = sums.finish()
    except BaseException:
        sums.discard()
        raise
    floor, error = figures.means()["floor"]
    return {
        "path": str(folder),
        **about,
        "splits": dict(figures.count),
        "floor_per_document": floor,
        "floor_standard_error": error,
        "sha256": digest,
    }


class _Files:
    """The files of a data set: they have their names once all is written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stack = folder, contextlib.ExitStack()
        self._open: dict[str, files.GrowingFile] = {}
        self._waiting: dict[str, list[str]] = {}
        self._digest: dict[str, Any] = {}
        for split in SPLITS:
            self._begin(f"{split}.jsonl")

    def _begin(self, name: str) -> None:
        self._open[name] = self._stack.enter_context(files.GrowingFile(self.folder / name))
        self._digest[name], self._waiting[name] = hashlib.sha256(), []

    def add(self, split: str, line: str) -> None:
        """Take a line, for the next `flush`."""
        self._waiting[f"{split}.jsonl"].append(line)

    def flush(self) -> None:
        """Write the lines that wait."""
        for name, lines in self._waiting.items():
            if lines:
                self._append(name, "".join(lines).encode())
                lines.clear()

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        self._begin(name)
        self._append(name, data)

    def _append(self, name: str, data: bytes) -> None:
        self._open[name].append(memoryview(data))
        self._digest[name].update(data)

    def finish(self) -> str:
        """Give all files their names, and write their checksums; return the SHA-256 of the list of them."""
        sums = "".join(f"{digest.hexdigest()}  {name}\n" for name, digest in self._digest.items()).encode()
        self.write("SHA256SUMS", sums)
        with self._stack:
            for file in self._open.values():
                file.finish()
        return hashlib.sha256(sums).hexdigest()

    def discard(self) -> None:
        """Remove what was written."""
        self._stack.close()
        for name, file in self._open.items():
            files.remove(file.path)
            files.remove(self.folder / name)


def _lines(errands: Errands, scored: Scored | ScoredStories, first: int) -> list[dict[str, Any]]:
    """Return the columns of each document."""
    found = []
    pairs, floors = scored.pairs, scored.floors
    for i in range(len(pairs)):
        s, u = int(pairs.source_length[i]), int(pairs.target_length[i])
        source, target = pairs.source[i, :s], pairs.target[i, :u]
        line: dict[str, Any] = {
            "id": first + i,
            "source": errands.decode(source),
            "target": errands.decode(target[:-1]),
            "source_tokens": source.tolist(),
            "target_tokens": target.tolist(),
            "source_log_p": _rounded(floors.source[i, : s + isinstance(scored, Scored)]),
            "target_log_p": _rounded(floors.target[i, :u]),
            "target_entropy": _rounded(floors.entropy[i, :u]),
            "target_kinds": [KINDS[kind] for kind in scored.kinds[i, :u]],
        }
        if isinstance(scored, Scored):
            facts = scored.facts
            line |= {
                "aligned": scored.aligned[i, :u].tolist(),
                "aligned_turn": scored.turn[i, :u].tolist(),
                **{name[1:-1]: errands.vocabulary[token] for name, token in zip(FACTS, facts.tokens[i])},
                "chooser_told": bool(facts.told[i]),
                "label_p": _rounded(facts.posterior[i]),
            }
        found.append(line)
    return found


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) + 0.0 for value in values]


class Figures:
    """What the card says of the documents, summed up as they are written."""

    def __init__(self) -> None:
        self.count = dict.fromkeys(SPLITS, 0)
        self.repeated = 0
        """Documents that are equal to an earlier one; they are in its split."""
        self._seen: set[bytes] = set()
        self._values: dict[str, list[np.ndarray]] = defaultdict(list)

    def split(self, text: bytes) -> str:
        """Return the split of a document by the hash of its text, and count it."""
        self.repeated += text[:16] in self._seen
        self._seen.add(text[:16])
        tenth = int.from_bytes(text[16:24], "little") % 10
        split = SPLITS[max(0, tenth - 7)]
        self.count[split] += 1
        return split

    def add(self, errands: Errands, scored: Scored | ScoredStories) -> None:
        """Take in documents."""
        pairs, entropy, values = scored.pairs, scored.floors.entropy, self._values
        values["source tokens"].append(pairs.source_length)
        values["target tokens"].append(pairs.target_length)
        values["floor"].append(entropy.sum(axis=1))
        for kind, name in enumerate(KINDS[1:], 1):
            values[f"floor, {name}"].append(np.where(scored.kinds == kind, entropy, 0).sum(axis=1))
        values["source's own floor"].append(-scored.floors.source.sum(axis=1))
        constant = np.where(scored.kinds > 0, errands.constant[np.maximum(pairs.target, 2)], 0)
        values["constant"].append(-constant.sum(axis=1))
        if isinstance(scored, Scored):
            without = errands.dialogue_oracle.without_source(pairs)
            values["without the source"].append(-without.sum(axis=1))
            right = scored.facts.posterior.argmax(axis=1) == scored.facts.topic
            values["likeliest label right"].append(right.astype(np.float64))

    def means(self) -> dict[str, tuple[float, float]]:
        """Return the mean of each figure and its standard error."""
        joined = {name: np.concatenate(parts).astype(np.float64) for name, parts in self._values.items()}
        return {name: (float(x.mean()), float(x.std(ddof=1) / len(x) ** 0.5)) for name, x in joined.items()}
