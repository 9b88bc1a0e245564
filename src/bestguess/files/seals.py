"""Checksums in what we write, so that a file which was altered since is told apart from a sound one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bestguess.files.places import AnyPath, Unreadable

if TYPE_CHECKING:
    import numpy as np

CHECKSUM = "checksum"
"""The key of a JSON object's own checksum."""


def hash_of(value: Any) -> str:
    """Return the SHA-256 of a plain value's JSON, keys in order, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain JSON object with its checksum as one more key, the last."""
    bare = {key: one for key, one in value.items() if key != CHECKSUM}
    return bare | {CHECKSUM: hash_of(bare)}


def unsealed(value: Any, path: AnyPath, fix: str) -> Any:
    """Return what `sealed` was given, or Unreadable where the object was altered since; without a checksum, as it is.

    Files of versions that wrote none, or that were written by hand, cannot be checked so.
    """
    if not isinstance(value, dict) or CHECKSUM not in value:
        return value
    bare = {key: one for key, one in value.items() if key != CHECKSUM}
    if value[CHECKSUM] != hash_of(bare):
        raise Unreadable(path, "does not match the checksum that it was written with", fix)
    return bare


def digest(texts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a file's header texts and arrays, in hexadecimal."""
    found = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
