"""Tokenizers: text to token ids and back. Each is fitted on training texts and is plain data when stored.

Ids 0 to 4 are the special tokens of `tokens.py`; no text is ever encoded as one of them but UNK, not even "[SEP]".
Every token knows how many UTF-8 bytes of the text it stands for, so bits per byte compare different tokenizers.
"""

from __future__ import annotations

import abc
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from jaxtyping import Integer

from bestguess import files
from bestguess.command import Absent, UserError, nearest, with_extra
from bestguess.text.corpora.options import TOKENIZERS
from bestguess.text.tokens import SPECIAL, UNK

FIRST = len(SPECIAL)
"""The first id that is no special token."""
LARGEST = 1 << 20
"""Most tokens of a vocabulary."""
UNKNOWN = "\ufffd"
"""What stands in a text for what is not known."""
_HALVES = re.compile("[\ud800-\udfff]")
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Encoded:
    """n texts as token ids, one behind the other."""

    tokens: Integer[np.ndarray, " N"]
    n_bytes: Integer[np.ndarray, " N"]
    """UTF-8 bytes that each token stands for; those of a text add up to its length in UTF-8."""
    start: Integer[np.ndarray, " bounds"]
    """Index of each text's first token, and the end: n + 1 of them."""

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def length(self) -> Integer[np.ndarray, " n"]:
        """Tokens of each text."""
        return np.diff(self.start)

    @property
    def unknown(self) -> float:
        """Fraction of the bytes that are in tokens the tokenizer does not know. Their loss says little."""
        return float(self.n_bytes[self.tokens == UNK].sum() / max(int(self.n_bytes.sum()), 1))

    def text(self, row: int) -> Integer[np.ndarray, " T"]:
        """Return the tokens of one text."""
        return self.tokens[self.start[row] : self.start[row + 1]]


class Tokenizer(abc.ABC):
    """A vocabulary, and the way to it from text."""

    kind: ClassVar[str]

    @staticmethod
    def fit(kind: str, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Return a tokenizer of one of TOKENIZERS with at most `vocab_size` tokens, fitted on the training texts.

        `bpe` needs the package `tokenizers` and 261 tokens or more.
        """
        _check_kind(kind)
        least = FIRST + (BytePairs.ALPHABET if kind == "bpe" else 1)
        if not least <= vocab_size <= LARGEST:
            raise UserError(f"--vocab-size {vocab_size}: must be {least} to {LARGEST:,} for --tokenizer {kind}")
        found = _BY_KIND[kind]._fit(texts, vocab_size)
        if found.vocab_size == FIRST:
            raise UserError(f"--tokenizer {kind}: the training part has no text to fit it on")
        return found

    @classmethod
    @abc.abstractmethod
    def _fit(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer: ...

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""

    @property
    @abc.abstractmethod
    def token_texts(self) -> tuple[str, ...]:
        """What each token stands for, special ones included: equal texts mean the same in tokenizers of one kind."""

    @abc.abstractmethod
    def _counted(self, text: str) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        """Return (token ids, UTF-8 bytes of each), int32."""

    @abc.abstractmethod
    def decode(self, tokens: Integer[np.ndarray, " n"] | Sequence[int]) -> str:
        """Return the text of token ids. Special tokens give no text but UNK, which gives U+FFFD."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as JSON-able values; `from_dict` is the inverse."""

    @staticmethod
    def from_dict(value: Any, where: str = "tokenizer") -> Tokenizer:
        """Return the tokenizer that `to_dict` wrote. UserError, naming `where`, for anything else; runs no code."""
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in _BY_KIND:
            raise UserError(f"{where}: not a tokenizer of ours; use the file of the run's folder")
        try:
            return _BY_KIND[kind]._from_dict(value)
        except ValueError as error:
            raise UserError(f"{where}: damaged tokenizer ({error}); use the file of the run's folder") from error

    @classmethod
    @abc.abstractmethod
    def _from_dict(cls, value: dict[str, Any]) -> Tokenizer: ...

    def encode(self, text: str) -> Integer[np.ndarray, " n"]:
        """Return the token ids of a text, int32, without special tokens around it."""
        return self._counted(text)[0]

    def encode_all(self, texts: Sequence[str]) -> Encoded:
        """Return the token ids of many texts."""
        return _joined([self._counted(text) for text in texts])


def _joined(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> Encoded:
    start = np.zeros(len(found) + 1, np.int64)
    np.cumsum([len(tokens) for tokens, _ in found], out=start[1:])
    none = np.zeros(0, np.int32)
    return Encoded(
        np.concatenate([none, *(tokens for tokens, _ in found)]),
        np.concatenate([none, *(n_bytes for _, n_bytes in found)]),
        start,
    )


def _check_kind(kind: str) -> None:
    if kind not in TOKENIZERS:
        raise UserError(f"--tokenizer {kind}: must be one of {', '.join(TOKENIZERS)}{nearest(kind, TOKENIZERS)}")


class Pieces(Tokenizer):
    """A tokenizer that cuts text by a fixed rule, and knows the most frequent pieces."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = list(pieces)
        self._index = {piece: i for i, piece in enumerate(self.pieces, start=FIRST)}
        self._texts = ["" for _ in SPECIAL] + self.pieces
        self._n_bytes = np.array([_size(piece) for piece in self._texts], np.int32)
        self._texts[UNK] = UNKNOWN

    @staticmethod
    @abc.abstractmethod
    def split(text: str) -> list[str]:
        """Return the pieces of a text; joined they are the text. A piece by itself is one piece."""

    @classmethod
    def _fit(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(cls.split(text))
        # Of equally frequent pieces, the first in the order of code points.
        return cls(sorted(counts, key=lambda piece: (-counts[piece], piece))[: vocab_size - FIRST])

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return FIRST + len(self.pieces)

    @property
    def token_texts(self) -> tuple[str, ...]:
        """What each token stands for, special ones included."""
        return (*SPECIAL, *self.pieces)

    def _counted(self, text: str) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        found = self.split(text)
        tokens = np.array([self._index.get(piece, UNK) for piece in found], np.int32)
        n_bytes = self._n_bytes[tokens]
        for i in np.flatnonzero(tokens == UNK):
            n_bytes[i] = _size(found[i])
        return tokens, n_bytes

    def decode(self, tokens: Integer[np.ndarray, " n"] | Sequence[int]) -> str:
        """Return the text of token ids. Special tokens give no text but UNK, which gives U+FFFD."""
        return "".join(self._texts[token] for token in np.asarray(tokens, np.int64).tolist())

    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as JSON-able values."""
        return {"kind": self.kind, "pieces": self.pieces}

    @classmethod
    def _from_dict(cls, value: dict[str, Any]) -> Tokenizer:
        pieces = value.get("pieces")
        if not isinstance(pieces, list) or not 1 <= len(pieces) <= LARGEST - FIRST:
            raise ValueError(f"pieces: not a list of 1 to {LARGEST - FIRST:,}")
        for one in pieces:
            if not isinstance(one, str) or cls.split(one) != [one]:
                raise ValueError(f"pieces: {str(one)[:40]!r} is not one of {cls.kind}")
        if len(set(pieces)) != len(pieces):
            raise ValueError("pieces: one stands twice")
        return cls(pieces)


def _size(piece: str) -> int:
    return len(piece.encode("utf-8", "surrogatepass"))


class Characters(Pieces):
    """One token for each code point: lossless but for characters that are not in the training part, which are UNK."""

    kind = "characters"

    @staticmethod
    def split(text: str) -> list[str]:
        """Return the code points of a text."""
        return list(text)


class Words(Pieces):
    """Words, punctuation marks and newlines, each with the space before it: lossless but for unknown ones.

    A word is a run of letters, digits and underscores with their combining marks and inner apostrophes. Scripts that
    are written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) are taken one character at a time.
    """

    kind = "words"

    @staticmethod
    def split(text: str) -> list[str]:
        """Return the words and marks of a text, each with the space before it."""
        return _words().findall(text)


@functools.cache
def _words() -> re.Pattern[str]:
    alone = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    alone += "\U00020000-\U0003ffff"
    marks, letter = f"[{_marks()}]", f"[^\\W{alone}]"
    word = f"{letter}(?:{letter}|{marks}|['’](?={letter}))*"
    return re.compile(rf" ?(?:{word}|\S{marks}*)|\s")


def _marks() -> str:
    """Combining marks as ranges of a regular expression's class: `\\w` has none of them."""
    ranges: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


class BytePairs(Tokenizer):
    """Byte-level byte-pair encoding: lossless for every text, no token is unknown. Needs the package `tokenizers`.

    The stored form is the list of merges, in order; the vocabulary follows from it.
    """

    kind = "bpe"
    ALPHABET: ClassVar[int] = 256

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        library = _library()
        self.merges = list(merges)
        vocabulary = {byte: i for i, byte in enumerate(_alphabet())}
        for left, right in self.merges:
            if left not in vocabulary or right not in vocabulary:
                raise ValueError(f"merges: {left!r} and {right!r} are not both made before")
            vocabulary.setdefault(left + right, len(vocabulary))
        self._texts = (*SPECIAL, *vocabulary)
        self._n_bytes = np.array([len(piece) for piece in vocabulary], np.int32)  # a byte is one character here
        self._inside = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=self.merges))
        self._inside.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._inside.decoder = library.decoders.ByteLevel()

    @classmethod
    def _fit(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        library = _library()
        fitted = library.Tokenizer(library.models.BPE())
        fitted.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size - FIRST, initial_alphabet=_alphabet(), show_progress=False
        )
        fitted.train_from_iterator(map(whole, texts), trainer)
        merges = files.parse_json(fitted.to_str(), "the fitted tokenizer")["model"]["merges"]
        return cls([cast("tuple[str, str]", tuple(merge)) for merge in merges])

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self._texts)

    @property
    def token_texts(self) -> tuple[str, ...]:
        """What each token stands for, special ones included; a byte is one character."""
        return self._texts

    def _counted(self, text: str) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        return self._of_ids(self._inside.encode(whole(text)).ids)

    def _of_ids(self, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
        found = np.array(ids, np.int32)
        return found + np.int32(FIRST), self._n_bytes[found]

    def encode_all(self, texts: Sequence[str]) -> Encoded:
        """Return the token ids of many texts."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for first in range(0, len(texts), _BATCH):  # the library takes a batch on all cores
            batch = [whole(text) for text in texts[first : first + _BATCH]]
            found += [self._of_ids(one.ids) for one in self._inside.encode_batch_fast(batch, add_special_tokens=False)]
        return _joined(found)

    def decode(self, tokens: Integer[np.ndarray, " n"] | Sequence[int]) -> str:
        """Return the text of token ids; bytes that are no UTF-8 give U+FFFD, as UNK does, other special tokens none."""
        ids = np.asarray(tokens, np.int64).tolist()
        parts, run = [], list[int]()
        for token in [*ids, UNK]:
            if token >= FIRST:
                run.append(token - FIRST)
            elif token == UNK:
                parts.append(self._inside.decode(run) if run else "")
                run = []
        return UNKNOWN.join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as JSON-able values."""
        return {"kind": self.kind, "merges": [list(merge) for merge in self.merges]}

    @classmethod
    def _from_dict(cls, value: dict[str, Any]) -> Tokenizer:
        merges = value.get("merges")
        if not isinstance(merges, list) or len(merges) > LARGEST:
            raise ValueError(f"merges: not a list of at most {LARGEST:,}")
        for one in merges:
            if not isinstance(one, list) or len(one) != 2 or not all(isinstance(part, str) for part in one):
                raise ValueError(f"merges: {str(one)[:40]!r} is not two texts")
        if len({(left, right) for left, right in merges}) != len(merges):
            raise ValueError("merges: one stands twice")
        return cls([(left, right) for left, right in merges])


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise Absent(f"--tokenizer bpe: needs tokenizers; {with_extra('text', 'tokenizers')}") from None
    return tokenizers


def _alphabet() -> list[str]:
    """The 256 characters that stand for bytes, in the order of their ids."""
    return sorted(_library().pre_tokenizers.ByteLevel.alphabet())


def whole(text: str) -> str:
    """Return the text with halves of characters, which no UTF-8 holds, as U+FFFD."""
    return _HALVES.sub(UNKNOWN, text)


_BY_KIND: dict[str, type[Tokenizer]] = {one.kind: one for one in (Characters, Words, BytePairs)}
