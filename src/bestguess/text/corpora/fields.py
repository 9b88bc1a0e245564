"""Which fields of a record are the source and the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bestguess.command import UserError, nearest
from bestguess.text.corpora.documents import cleaned
from bestguess.text.corpora.options import NONE, ReadingOptions

PAIRS = (
    ("dialogue", "summary"),
    ("dialogue", "section_text"),
    ("conversation", "note"),
    ("article", "highlights"),
    ("article", "abstract"),
    ("document", "summary"),
    ("source", "target"),
)
"""Well-known pairs: SAMSum and DialogSum, MTS-Dialog, ACI-Bench, CNN/DailyMail, PubMed and arXiv, XSum."""
RAW = ("textbook", "text", "content", "story", "document", "article")
"""Well-known fields of raw text. A `text` is raw even beside a `summary`, which is often absent: name that target."""
_SHOWN = 20


class Fields:
    """The fields of a corpus, chosen from its first record; later files must have them too."""

    def __init__(self, options: ReadingOptions) -> None:
        self._wanted = options
        self.source, self.target = "", ""

    @property
    def paired(self) -> bool:
        """Whether there is a target."""
        return bool(self.target)

    def check(self, where: str, record: dict[str, Any]) -> None:
        """Choose the fields, or check that the file `where`, whose first record this is, has them."""
        if not self.source:
            self.source, self.target = _chosen(where, record, self._wanted)
        for flag, name in (("--source-field", self.source), ("--target-field", self.target)):
            if name and name not in record:
                raise UserError(f"{flag} {name}: {where} has no such field, but {_list(record)}{nearest(name, record)}")

    def texts(self, where: str, record: dict[str, Any]) -> tuple[str, str]:
        """Return (source, target) of a record; one that is absent or null is an empty text."""
        source = _text(where, record, "--source-field", self.source)
        return source, _text(where, record, "--target-field", self.target) if self.target else ""


def _chosen(where: str, record: dict[str, Any], wanted: ReadingOptions) -> tuple[str, str]:
    source, target = wanted.source_field, wanted.target_field
    if source and target:
        return source, "" if target == NONE else target
    by_name = {name.lower(): name for name in record if isinstance(name, str)}
    pairs = [(by_name[a], by_name[b]) for a, b in PAIRS if a in by_name and b in by_name]
    if source:
        return source, dict(reversed(pairs)).get(source, "")
    if target and target != NONE:
        known = {b: a for a, b in reversed(pairs)}
        texts = [name for name in _texts(record) if name != target]
        raw = [by_name[name] for name in RAW if name in by_name and by_name[name] != target]
        if target in known or raw or len(texts) == 1:
            return known.get(target) or (raw or texts)[0], target
        raise UserError(f"{where}: has {_list(record)}; name the source with --source-field")
    if pairs and target != NONE:
        return pairs[0]
    raw = [by_name[name] for name in RAW if name in by_name]
    if not raw and pairs:
        return pairs[0][0], ""
    texts = raw or _texts(record)
    if raw or len(texts) == 1:
        return texts[0], ""
    raise UserError(f"{where}: has {_list(record)}; name the text with --source-field")


def _texts(record: dict[str, Any]) -> list[str]:
    return [name for name, value in record.items() if isinstance(value, str)]


def _list(record: dict[str, Any]) -> str:
    names = [str(name) for name in record]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the fields {', '.join(names[:_SHOWN])}{more}" if names else "no fields"


def _text(where: str, record: dict[str, Any], flag: str, name: str) -> str:
    """The text of a field; a list of texts, such as a dialogue's turns, is joined by newlines."""
    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise UserError(f"{flag} {name}: holds a {type(value).__name__} in {where}; name a field of text")
    return cleaned(value)
