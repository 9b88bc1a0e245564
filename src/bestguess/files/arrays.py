"""Arrays by name: safetensors and npz, read without running code."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestguess.files.places import AnyPath, Unreadable, boundary, checked, open_regular
from bestguess.files.reading import MB, flat, size_of
from bestguess.files.writing import write_bytes

if TYPE_CHECKING:
    import numpy as np


def write_safetensors(path: AnyPath, arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> Path:
    """Write arrays by name, and texts `about` them in the header, as one safetensors file; return its path."""
    from safetensors.numpy import save

    return write_bytes(path, save(dict(arrays), metadata=dict(about)))


def write_npz(path: AnyPath, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays by name as one compressed npz file; return its path."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return write_bytes(path, buffer.getvalue())


HEADER_LIMIT, ARRAYS_LIMIT = 16 * MB, 1024 * MB
"""The largest header of a safetensors file, and the most bytes that an npz file may unpack to."""


def read_safetensors(path: AnyPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return (arrays by name, the header's texts) of a safetensors file, or raise Unreadable.

    The header's length is checked against the file's, and its shapes against the bytes that are there, before any
    array is made.
    """
    from safetensors import SafetensorError, safe_open

    path = checked(path)
    with boundary(path, "read"), open(open_regular(path, os.O_RDONLY), "rb") as file:
        whole = os.fstat(file.fileno()).st_size
        header = int.from_bytes(file.read(8), "little")
    if header > min(HEADER_LIMIT, whole - 8):
        raise Unreadable(path, f"not a whole safetensors file (a header of {header:,} bytes in a file of {whole:,})")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise Unreadable(path, f"not a whole safetensors file ({flat(error)})") from error


def read_npz(path: AnyPath, limit: int = ARRAYS_LIMIT) -> dict[str, np.ndarray]:
    """Return the arrays by name of an npz file that unpacks to at most `limit` bytes, or raise Unreadable."""
    import struct
    import zipfile
    import zlib

    path = checked(path)
    with boundary(path, "read"), open(open_regular(path, os.O_RDONLY), "rb") as file:
        size_of(path, file.fileno(), limit)
        try:
            with zipfile.ZipFile(file) as packed:
                members = packed.infolist()
                if sum(member.file_size for member in members) > limit:
                    raise ValueError(f"unpacks to more than {limit:,} bytes")
                return {member.filename.removesuffix(".npy"): _member(packed, member) for member in members}
        except (
            *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, TypeError, LookupError),
            *(SyntaxError, RuntimeError, ArithmeticError, MemoryError),
        ) as error:
            raise Unreadable(path, f"not a whole npz file ({flat(error)})") from error


def _member(packed: Any, member: Any) -> np.ndarray:
    """One array; its header's shape is checked against its own bytes first, since NumPy allocates by the header."""
    import math

    from numpy.lib import format as npy

    data = packed.read(member)
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{member.filename}: an npy of version {version}")
    shape, _, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{member.filename}: its shape {shape} of {dtype} does not fit its {len(data):,} bytes")
    return npy.read_array(io.BytesIO(data), allow_pickle=False)
