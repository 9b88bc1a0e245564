"""The only door to what lies outside: every file is read and written here. Imports nothing heavy.

What the world holds (damaged bytes, missing rights, a full disk, a link that leads elsewhere) comes out as one
UserError that names the file and the fix. Sizes are checked before anything is allocated, nothing is executed, and a
pipe in a file's place is an error, never a wait. A write is whole or not at all and goes through no link.
"""

from bestguess.files.arrays import read_npz, read_safetensors, write_npz, write_safetensors
from bestguess.files.data import DataFile, GrowingFile
from bestguess.files.folders import files_in, lock, make_folder, move_folder, remove, remove_tree, touch, user_cache
from bestguess.files.places import Unreadable, boundary, explain, is_name, own, within
from bestguess.files.reading import parse_json, parse_yaml, read_bytes, read_json, read_json_lines, read_text, read_yaml
from bestguess.files.seals import digest, hash_of, sealed, unsealed
from bestguess.files.streams import stream, text_stream
from bestguess.files.writing import (
    Appender,
    check_writable,
    json_bytes,
    plain,
    write_bytes,
    write_json,
    write_new,
    write_text,
    write_yaml,
)

__all__ = [
    "Appender",
    "DataFile",
    "GrowingFile",
    "Unreadable",
    "boundary",
    "check_writable",
    "digest",
    "explain",
    "files_in",
    "hash_of",
    "is_name",
    "json_bytes",
    "lock",
    "make_folder",
    "move_folder",
    "own",
    "parse_json",
    "parse_yaml",
    "plain",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_npz",
    "read_safetensors",
    "read_text",
    "read_yaml",
    "remove",
    "remove_tree",
    "sealed",
    "stream",
    "text_stream",
    "touch",
    "unsealed",
    "user_cache",
    "within",
    "write_bytes",
    "write_json",
    "write_new",
    "write_npz",
    "write_safetensors",
    "write_text",
    "write_yaml",
]
