"""A corpus: documents in three parts, what was skipped, and which of them stand in two parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from bestguess.command import Absent, UserError, nearest
from bestguess.text.corpora.docstrings import NAMES, read_docstrings
from bestguess.text.corpora.documents import Documents, join
from bestguess.text.corpora.formats import kind_of
from bestguess.text.corpora.hub import KNOWN, is_hub_name, read_hub
from bestguess.text.corpora.options import WINDOWS, ReadingOptions
from bestguess.text.corpora.reading import read_documents
from bestguess.text.splits import PARTS, assign, overlap, repeats
from bestguess.text.tokenizers import Encoded, Tokenizer

_ORIGINS = 8
"""Most files of a part whose overlaps are reported one by one."""


@dataclass(frozen=True)
class Shared:
    """How many documents of a part, or of one file of it, stand in an earlier part too."""

    part: str
    against: str
    documents: int
    source: Mapping[str, int]
    """Sources that are there too: `verbatim`, and `nearly`, in which case and blank space do not count."""
    target: Mapping[str, int] | None
    origin: str = ""
    """The file; empty for the whole part."""


@dataclass(frozen=True, eq=False)
class Tokenized:
    """A part of a corpus as token ids."""

    documents: Documents
    source: Encoded
    target: Encoded | None


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents by part: train, validation and test, none of them empty."""

    name: str
    parts: Mapping[str, Documents]
    splits: str
    """given, hash or file; of one long text, position."""
    skipped: Mapping[str, int]
    """Records that are no documents, by reason."""

    @property
    def paired(self) -> bool:
        """Whether the documents have targets. If not they are raw texts, to be cut."""
        return self.parts["train"].target is not None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all texts and of the parts that they are in, 64 hexadecimal digits."""
        total = hashlib.sha256()
        for part in PARTS:
            self.parts[part].feed(total)
        return total.hexdigest()

    def repeated(self, part: str) -> Bool[np.ndarray, " n"]:
        """Return which documents of a part have a source that, normalised, stands in the training part too."""
        return overlap(self.parts[part].source_prints, self.parts["train"].source_prints).nearly

    def overlaps(self) -> list[Shared]:
        """Return what the parts share: by part and, of given parts of a few files, by file."""
        found = []
        for part, against in (("validation", "train"), ("test", "train"), ("test", "validation")):
            documents = self.parts[part]
            origins = sorted(set(documents.origin)) if self.splits == "given" else []
            for origin in ["", *origins] if 1 < len(origins) <= _ORIGINS else [""]:
                rows = [i for i, one in enumerate(documents.origin) if origin in ("", one)]
                found.append(_shared(part, against, documents.select(rows), self.parts[against], origin))
        return found

    def describe(self) -> dict[str, Any]:
        """Return what the corpus is, as JSON-able values: sizes of each part, what was skipped, overlaps, hash."""
        return {
            "name": self.name,
            "splits": self.splits,
            "paired": self.paired,
            "parts": {part: _sizes(documents) for part, documents in self.parts.items()},
            "skipped": dict(self.skipped),
            "overlaps": [
                {**vars(one), "source": dict(one.source), "target": one.target and dict(one.target)}
                for one in self.overlaps()
            ],
            "sha256": self.sha256,
        }

    def fit_tokenizer(self, kind: str, vocab_size: int) -> Tokenizer:
        """Return a tokenizer fitted on the training part, sources and targets."""
        train = self.parts["train"]
        return Tokenizer.fit(kind, [*train.source, *(train.target or ())], vocab_size)

    def tokenized(self, tokenizer: Tokenizer) -> dict[str, Tokenized]:
        """Return each part as token ids."""
        return {
            part: Tokenized(
                documents,
                tokenizer.encode_all(documents.source),
                None if documents.target is None else tokenizer.encode_all(documents.target),
            )
            for part, documents in self.parts.items()
        }


def _shared(part: str, against: str, documents: Documents, others: Documents, origin: str) -> Shared:
    target = None
    if documents.target is not None:
        target = overlap(documents.target_prints, others.target_prints).counts()
    source = overlap(documents.source_prints, others.source_prints).counts()
    return Shared(part, against, len(documents), source, target, origin)


def _sizes(documents: Documents) -> dict[str, Any]:
    """Sizes of a part in units that every script has."""
    texts = [*documents.source, *(documents.target or ())]
    return {
        "documents": len(documents),
        "files": len(set(documents.origin)),
        "characters": sum(map(len, texts)),
        "bytes": sum(len(text.encode()) for text in texts),
        "distinct_characters": len(set().union(*texts)),
        "repeated": repeats(documents.source_prints).counts(),
    }


def load_corpus(name: str, options: ReadingOptions | None = None) -> Corpus:
    """Return the corpus of a local file or folder, of Python's library (`docstrings`, `signatures`) or of the Hub.

    Raises UserError, in one line, for one that cannot be read, with fewer than 3 documents or with an empty part.
    """
    options = options or ReadingOptions()
    if name in NAMES:
        read = {"": _of_library(name, options)}
        how = "file" if options.splits == "auto" else options.splits
    elif Path(name).exists():
        read, how = read_documents(Path(name), options), options.splits
    elif is_hub_name(name) and not kind_of(Path(name)):
        _refuse(name, options, "documents", "encoding")
        read, how = read_hub(name, options), options.splits
    else:
        moved = "; if a run's corpus was moved, text evaluate RUN --corpus PATH finds it"
        raise Absent(f"--corpus {name}: no such file or folder{nearest(name, [*NAMES, *KNOWN]) or moved}")
    skipped: Counter[str] = Counter()
    for one in read.values():
        skipped.update(one.skipped)
    if options.documents == WINDOWS:
        return Corpus(name, _by_position(name, read, options), "given" if "train" in read else "position", {})
    if "" in read:
        parts, how = _divided(read[""], options, how), "file" if how == "file" else "hash"
    else:
        parts, how = _completed(read, options), "given"
    _check(name, parts, options, "files" if how == "file" else "documents", skipped)
    return Corpus(name, parts, how, dict(skipped))


def _refuse(name: str, options: ReadingOptions, *unused: str) -> None:
    """Raise UserError for options that are given and would do nothing."""
    for one in unused:
        value = getattr(options, one)
        if value != getattr(ReadingOptions(), one):
            raise UserError(f"--{one.replace('_', '-')} {value}: has no effect on {name}; leave it out")


def _of_library(name: str, options: ReadingOptions) -> Documents:
    _refuse(name, options, "source_field", "target_field", "documents", "encoding")
    if options.splits == "given":
        raise UserError(f"--splits given: {name} has no parts of its own; give file or hash")
    found = read_docstrings(name)
    kept = found.select(range(min(len(found), options.max_documents or len(found))))
    return join([kept, Documents([], kept.target and [], [], [], found.skipped)])


def _divided(documents: Documents, options: ReadingOptions, how: str) -> dict[str, Documents]:
    keys = documents.origin if how == "file" else [one.nearly for one in documents.source_prints]
    chosen = assign(keys, options.validation_fraction, options.test_fraction, options.split_seed)
    return {part: documents.select(np.flatnonzero(chosen == i).tolist()) for i, part in enumerate(PARTS)}


def _by_position(name: str, read: dict[str, Documents], options: ReadingOptions) -> dict[str, Documents]:
    """The parts of one long text: given ones; those that are not are the end of the training text."""
    whole = read["train" if "train" in read else ""]
    text, texts = whole.source[0], {part: read[part].source[0] for part in PARTS if part in read}
    fractions = {"validation": options.validation_fraction, "test": options.test_fraction}
    missing = {part: fraction for part, fraction in fractions.items() if part not in read}
    share, begin = 1 - sum(missing.values()), 0
    for part, more in zip(("train", *missing), (*missing.values(), 0.0)):
        # Nine tenths of n characters are the first int(n · 0.9), as nanoGPT's; a sum may fall short of it by 1e-16.
        end = int(len(text) * share + 1e-6)
        texts[part], begin, share = text[begin:end], end, share + more
    if not missing.get("test", 1):
        texts["test"] = texts["validation"]
    for part, one in texts.items():
        if len(one) < 2:
            sizes = ", ".join(f"{name} {len(text):,}" for name, text in texts.items())
            raise UserError(f"--corpus {name}: the {part} part has no text ({sizes} characters); give a longer text")
    return {part: Documents([texts[part]], None, whole.origin, ["1"]) for part in PARTS}


def _completed(given: dict[str, Documents], options: ReadingOptions) -> dict[str, Documents]:
    """The given parts; one that is not there is taken from the training part, by hash."""
    train = given["train"]
    wanted = {"validation": options.validation_fraction, "test": options.test_fraction}
    missing = {part: fraction for part, fraction in wanted.items() if part not in given}
    if not missing:
        return {part: given[part] for part in PARTS}
    keys = [one.nearly for one in train.source_prints]
    chosen = assign(keys, missing.get("validation", 0.0), missing.get("test", 0.0), options.split_seed)
    divided = {part: train.select(np.flatnonzero(chosen == i).tolist()) for i, part in enumerate(PARTS)}
    return {part: divided[part] if part == "train" or part in missing else given[part] for part in PARTS}


def _check(
    name: str, parts: dict[str, Documents], options: ReadingOptions, units: str, skipped: Mapping[str, int]
) -> None:
    """Raise UserError for a corpus with an empty part.

    units: what was divided, documents or files. skipped: documents left out in reading, by reason.
    """
    total = sum(map(len, parts.values()))
    if total < len(PARTS):
        left_out = "".join(f"; left out: {count:,} {reason}" for reason, count in skipped.items())
        raise UserError(
            f"--corpus {name}: too few documents ({total:,}{left_out}) for a training, a validation and a test part; "
            "give more"
        )
    sizes = ", ".join(f"{part} {len(documents):,}" for part, documents in parts.items())
    for part, documents in parts.items():
        if not len(documents):
            raise UserError(
                f"--corpus {name}: the {part} part is empty ({sizes}); give more {units}, larger fractions, or "
                f"another --split-seed than {options.split_seed}"
            )
