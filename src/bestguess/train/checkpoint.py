"""Checkpoints: arrays by name in safetensors files, written whole or not at all, read without running code.

A checkpoint is one file `step-00001200.safetensors`. A cut-off write leaves no file of that name; its header holds
a SHA-256 of all else, so a file damaged later is told apart from a healthy one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from bestguess import files
from bestguess.command import UserError

T = TypeVar("T")


class DamagedCheckpoint(Exception):
    """A checkpoint file that is not what was written: cut off, altered, or not a checkpoint."""


def save_checkpoint(folder: Path, step: int, tree: PyTree, about: dict[str, Any], keep: int = 2) -> Path:
    """Write the arrays of `tree` and the JSON-able `about`; return the file. Keeps the newest `keep` files."""
    arrays = {name: np.asarray(jax.device_get(leaf), order="C") for name, leaf in named_leaves(tree)}
    header = {"about": json.dumps(about), "step": str(step)}
    header["sha256"] = files.digest(header, arrays)
    path = folder / f"step-{step:08d}.safetensors"
    files.write_safetensors(path, arrays, header)
    for old in checkpoints(folder)[:-keep]:
        files.remove(old)
    for part in folder.glob(".*.part"):  # left by a write that was cut off
        files.remove(part)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint files of a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def load_checkpoint(path: Path, like: T, made_by: str = "") -> tuple[T, int, dict[str, Any]]:
    """Return (tree, step, about) of a checkpoint, its arrays in the structure of `like`.

    Raises DamagedCheckpoint if the file is not what was written, and UserError if it cannot be read at all, or is
    sound but of another config than `made_by` or another model (a name, shape or dtype differs from `like`).
    """
    arrays, header = _sound(path)
    about = files.parse_json(header["about"], path)
    # First: with another config the arrays differ as well, but which ones is no help.
    check_belongs(about, made_by, path.parent.parent)
    return fill(like, arrays, str(path)), int(header["step"]), about


def about_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what was noted about a checkpoint; None where it is not what was written, or cannot be read."""
    try:
        _, header = _sound(path)
        return files.parse_json(header["about"], path)
    except (files.Unreadable, DamagedCheckpoint, KeyError):
        return None


def _sound(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return arrays and header of a checkpoint that is what was written; raises as `load_checkpoint` does."""
    try:
        arrays, header = files.read_safetensors(path)
    except files.Unreadable as error:
        if isinstance(error.__cause__, OSError):  # it may be sound: no reason to pass it over, or to train anew
            raise
        raise DamagedCheckpoint(f"{path}: not a whole checkpoint ({error.reason})") from error
    if header.pop("sha256", None) != files.digest(header, arrays):
        raise DamagedCheckpoint(f"{path}: its contents do not match the checksum that it was written with")
    if path.stem != f"step-{int(header['step']):08d}":
        raise DamagedCheckpoint(f"{path}: is the checkpoint of step {header['step']} under another name")
    return arrays, header


def load_newest(folder: Path, like: T, made_by: str = "") -> tuple[tuple[T, int, dict[str, Any]] | None, list[str]]:
    """Return the newest sound checkpoint (None where there is none), and a line for each damaged one passed over.

    Raises UserError where there are checkpoints and every one is damaged, or the newest is of another config.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            return load_checkpoint(path, like, made_by), damaged
        except DamagedCheckpoint as error:
            damaged.append(str(error))
    if damaged:
        raise UserError(f"{folder}: every checkpoint is damaged ({'; '.join(damaged)}); train the run anew")
    return None, damaged


def check_belongs(about: dict[str, Any], made_by: str, folder: Path) -> None:
    """Raise UserError for weights of another config; those of versions that noted none are taken as they are."""
    found = about.get("config_sha256")
    if made_by and found and found != made_by:
        if not (folder.parent / "config.yaml").exists():  # the work of a sweep
            raise UserError(
                f"{folder}: its weights were trained with another config; remove {folder.parent} to train anew"
            )
        raise UserError(
            f"{folder.parent / 'config.yaml'}: does not match the weights in {folder.name}/, which were trained with "
            "another config; put the config of their training back"
        )


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Return every leaf with the path to it, such as `decoder/blocks/0/attention/qkv`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def fill(like: T, arrays: dict[str, np.ndarray], where: str) -> T:
    """Return the arrays in the structure of `like`; UserError, which begins with `where`, if one does not fit."""
    named = named_leaves(like)
    for name, leaf in named:
        found = arrays.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            was = "is missing" if found is None else f"is {found.dtype}{list(found.shape)}"
            raise UserError(f"{where}: {name} {was}, the config asks for {leaf.dtype}{list(leaf.shape)}")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name, _ in named])
