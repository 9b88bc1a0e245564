"""How a corpus is read, split, tokenized and cut: what its flags are made of. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bestguess.command import UserError, nearest

WINDOWS = "windows"
"""The value of --documents for one long text."""
DOCUMENTS = ("auto", "file", "paragraphs", "lines", WINDOWS)
SPLITS = ("auto", "given", "hash", "file")
TOKENIZERS = ("characters", "words", "bpe")
CUTS = ("midpoint", "fixed", "random")
TOO_LONG = ("refuse", "cut", "skip", "split")
NONE = "none"
"""The value of --target-field for no target: a raw text, whatever other fields there are."""


@dataclass(frozen=True)
class ReadingOptions:
    """Which texts of a corpus are documents, and which part each of them belongs to."""

    source_field: str = ""
    """Field with the source, or the text; by default a well-known one, or the only field of text."""
    target_field: str = ""
    """Field with the target; `none` for raw text. By default the partner of a well-known source field."""
    documents: str = "auto"
    """What one document of a plain-text file is: file, paragraphs (between blank lines) or lines; auto: paragraphs of
    a single file, else file; windows: all files are one text, whose parts follow each other."""
    encoding: str = "utf-8"
    """Encoding of text files without a byte order mark."""
    max_documents: int = 0
    """Documents read from each part, the first ones; 0 for all."""
    splits: str = "auto"
    """given (train, validation and test files), hash (of each document), file (all documents of a file in one part);
    auto: given where there are such files, else hash."""
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    """Of windows it may be 0: the validation part is then the test part, too."""
    split_seed: int = 0
    """Another seed splits otherwise."""

    def __post_init__(self) -> None:
        _one_of("--documents", self.documents, DOCUMENTS)
        _one_of("--splits", self.splits, SPLITS)
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):  # unknown, not of text, or with a null character
            raise UserError(f"--encoding {self.encoding}: unknown; give one such as utf-8, cp1252 or latin-1") from None
        if self.source_field and self.source_field == self.target_field:
            raise UserError(f"--target-field {self.target_field}: is the source; name another field, or {NONE}")
        if self.max_documents < 0:
            raise UserError(f"--max-documents {self.max_documents}: must be 0 (all) or more")
        for flag, value in (
            ("--validation-fraction", self.validation_fraction),
            ("--test-fraction", self.test_fraction),
        ):
            none = value == 0 and flag == "--test-fraction" and self.documents == WINDOWS
            if not none and not (math.isfinite(value) and 0 < value < 1):
                raise UserError(f"{flag} {value}: must lie between 0 and 1")
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"--validation-fraction {self.validation_fraction} and --test-fraction {self.test_fraction}: "
                "nothing is left to train on; their sum must be below 1"
            )


@dataclass(frozen=True)
class Cut:
    """Where a raw text is cut: the source is what comes before."""

    kind: str = "midpoint"
    """midpoint (half of the tokens, rounded down), fixed (after `at` tokens) or random (after a number of tokens from
    `at` to `to`, all equally likely, that follows from the document's hash and `seed`)."""
    at: int = 32
    to: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("--cut", self.kind, CUTS)
        if self.at < 1:
            raise UserError(f"--cut-at {self.at}: must be 1 or more")
        if self.kind == "random" and self.to < self.at:
            raise UserError(f"--cut-to {self.to}: must be --cut-at, {self.at}, or more")


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{flag} {value}: must be one of {', '.join(known)}{nearest(value, known)}")
