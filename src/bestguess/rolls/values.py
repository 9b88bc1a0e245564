"""The values that a training is about: of a file, or drawn from a source; their parts, and what is known of them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bestguess import files
from bestguess.command import UserError
from bestguess.rolls.config import VALUES, RollsConfig, RollsTaskConfig
from bestguess.rolls.counter import SHUFFLE, words
from bestguess.rolls.evidence.windows import CONTEXT
from bestguess.rolls.file import RollsFile
from bestguess.rolls.sources import source_from, source_of
from bestguess.rolls.sources.base import Source

LARGEST_DRAWN = 1 << 28
"""Most values that are drawn into memory; more belong in a file."""


@dataclass(frozen=True)
class Split:
    """The parts of n values, in order, with gaps between them that no window reaches across."""

    training: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]


def windows_in(part: tuple[int, int], window: int) -> int:
    """Return how many disjoint windows a part holds; each predicts `window` values, from the second on."""
    return (part[1] - part[0] - 1) // window


def split_of(n: int, config: RollsConfig) -> Split:
    """Return the parts; UserError where one of them holds no window."""
    task = config.task
    gap = max(task.window, config.model.outputs)
    test, validation = n - round(task.test * n), n - round((task.test + task.validation) * n)
    last = validation if task.max_samples is None else min(validation, task.max_samples + 1)
    split = Split((0, last), (validation + gap, test), (test + gap, n))
    for name, (start, stop) in vars(split).items():
        # The side predictors' bets look at 32 values before a window of the test part.
        if stop - start <= task.window or (name == "test" and start < CONTEXT):
            least = int(np.ceil((2 * task.window + config.model.outputs + 2) / min(task.test, task.validation)))
            raise UserError(
                f"{'--u16-path ' + task.u16_path if task.u16_path else f'--n {n}'}: {n:,} values leave "
                f"{max(stop - start, 0):,} for the {name} part, fewer than a window of {task.window}; "
                f"give {least:,} or more, or lower --window"
            )
    return split


@dataclass(frozen=True, eq=False)
class Rolls:
    """All values, and what one pass over them said."""

    n: int
    classes: int
    """K: values are 0 to K − 1."""
    counts: np.ndarray
    """Counts of the training part's values, int64 [K]."""
    sha256: str
    source: Source | None
    """Where they came from, if that is known."""
    name: str
    """In messages."""
    drawn: np.ndarray | None
    """The values, uint16 [n], where they were drawn."""
    path: Path | None
    shuffle: tuple[int, int, int] | None = None
    """Of a control: the first index, the length and the seed of the blocks within which values are shuffled."""

    @functools.cached_property
    def file(self) -> RollsFile:
        """The open file."""
        assert self.path is not None
        return RollsFile(self.path, flag="--u16-path")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the values from `start` up to `stop`, uint16."""
        if self.shuffle is None or stop <= start:
            return self._read(start, stop)
        origin, size, seed = self.shuffle
        first, last = (start - origin) // size, -(-(stop - origin) // size)
        blocks = range(max(first, -(origin // size)), last)
        begins = origin + size * blocks[0]
        values = np.array(self._read(begins, min(self.n, origin + size * last)))
        for i in blocks:
            own = values[size * (i - blocks[0]) :][:size]
            own[:] = own[np.argsort(words(seed, SHUFFLE, origin + size * i, len(own)), kind="stable")]
        before = self._read(start, max(start, begins))
        return np.concatenate([before, values[max(start - begins, 0) : stop - begins]])

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self.file.read(start, stop) if self.drawn is None else self.drawn[start:stop]

    def shuffled(self, origin: int, size: int, seed: int = 0) -> Rolls:
        """Return the values, shuffled within blocks of `size` from `origin` on: no order is left, and no source."""
        return dataclasses.replace(self, source=None, shuffle=(origin, size, seed))

    def windows(self, starts: np.ndarray, length: int, workers: int = 1) -> np.ndarray:
        """Return the `length` values from each of the `starts`, uint16 [n, length]; several threads share a file's."""
        if self.shuffle is not None:
            return np.stack([self.read(int(start), int(start) + length) for start in starts])
        if self.drawn is not None:
            return self.drawn[starts[:, None] + np.arange(length)]
        out = np.empty((len(starts), length), "<u2")

        def fill(part: range) -> None:
            for i in part:
                self.file.read_into(int(starts[i]), out[i])

        if workers == 1:
            fill(range(len(starts)))
        else:
            edges = np.linspace(0, len(starts), 4 * workers + 1).astype(int)
            list(_readers(workers).map(fill, [range(a, b) for a, b in itertools.pairwise(edges.tolist())]))
        return out.astype(np.uint16, copy=False)


@functools.cache
def _readers(workers: int) -> ThreadPoolExecutor:
    """Return threads that read; they are kept, since a training asks for windows several times a second."""
    return ThreadPoolExecutor(workers)


@functools.lru_cache(maxsize=16)
def _drawn(source: str, n: int, seed: int) -> tuple[Source, np.ndarray]:
    made = source_from(source, seed)
    return made, made.draw(made.start(), n)[0]


def rolls_of(config: RollsConfig) -> Rolls:
    """Return the values of a config of one run; UserError names the flag that is off."""
    task = config.task
    if task.u16_path is not None:
        rolls = _of_file(task.u16_path, split_of_file(task, config).training)
        if task.sha256 is not None and rolls.sha256 != task.sha256:
            raise UserError(
                f"{rolls.name}: not the file of the training, or changed since (SHA-256 {rolls.sha256[:12]}…, then "
                f"{task.sha256[:12]}…); use the original"
            )
        return rolls
    if task.n > LARGEST_DRAWN:
        raise UserError(
            f"--n {task.n}: more than {LARGEST_DRAWN:,} values are drawn into a file; run bestguess rolls make, and "
            "give it with --u16-path"
        )
    source, values = _drawn(task.source, task.n, config.train.first_seed)
    start, stop = split_of(task.n, config).training
    return Rolls(
        n=task.n,
        classes=source.classes,
        counts=np.bincount(values[start:stop], minlength=source.classes),
        sha256=hashlib.sha256(values.astype("<u2").tobytes()).hexdigest(),
        source=source,
        name=f"--source {task.source}",
        drawn=values,
        path=None,
    )


def split_of_file(task: RollsTaskConfig, config: RollsConfig) -> Split:
    """Return the parts of the config's file."""
    assert task.u16_path is not None
    with RollsFile(Path(task.u16_path), flag="--u16-path") as file:
        return split_of(file.n, config)


@functools.lru_cache(maxsize=4)
def _of_file(path: str, training: tuple[int, int]) -> Rolls:
    with RollsFile(Path(path), flag="--u16-path") as file:
        digest, counts, rest = hashlib.sha256(), np.zeros(VALUES, np.int64), np.zeros(VALUES, np.int64)
        for of, (start, stop) in ((counts, training), (rest, (training[1], file.n))):
            for values in file.chunks(start, stop):
                of += np.bincount(values, minlength=VALUES)
                digest.update(values.astype("<u2", copy=False).data)
        file.check_untouched()
        n = file.n
    found = digest.hexdigest()
    highest = int(np.flatnonzero(counts + rest)[-1])
    source = _source_beside(Path(path), found)
    classes = source.classes if source is not None else highest + 1
    if highest >= classes:
        raise UserError(f"{path}.json: names a source of values below {classes}, and the file has {highest}; delete it")
    return Rolls(n, classes, counts[:classes], found, source, f"--u16-path {path}", None, Path(path))


def _source_beside(path: Path, sha256: str) -> Source | None:
    """Return the source that the side file of `rolls make` names, if it is about these very bytes."""
    side = path.parent / (path.name + ".json")
    try:
        found = files.read_json(side)
    except files.Unreadable:
        return None
    if not isinstance(found, dict) or found.get("sha256") != sha256:
        return None
    try:
        return source_of(str(found["source"]), int(found["seed"]), dict(found["parameters"]))
    except (UserError, KeyError, TypeError, ValueError):
        return None
