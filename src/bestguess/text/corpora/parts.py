"""Which part of a corpus a name tells: that of a file, a folder or a hub data set's part."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PART = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def part_of_name(name: str, whole: bool = False) -> str:
    """Return train, validation or test if a word of the name tells one of them and no other, else an empty text.

    Words end at digits, punctuation and capitals: `TestSet-1`, `train-00000-of-00001`. whole: the name is one word.
    """
    words = [name.lower()] if whole else [word.lower() for word in _WORDS.findall(name)]
    told = {_PART[word] for word in words if word in _PART}
    return told.pop() if len(told) == 1 else ""
