"""Weights in a file: names, arrays and the configuration, in NumPy's npz. Loading runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bestguess import files
from bestguess.scratch.gpt import GPT, GPTConfig

_CONFIG = "config.json"
_NOTE = "note"


def save(path: Path, model: GPT, note: str = "") -> None:
    """Write the model's weights, configuration and a note on how it came to be."""
    arrays = model.state_dict() | {_CONFIG: np.array(json.dumps(asdict(model.config))), _NOTE: np.array(note)}
    files.write_npz(path, arrays)


def load(path: Path) -> tuple[GPT, str]:
    """Return the model in a file that `save` wrote, and its note; anything else is a ValueError."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        arrays = files.read_npz(path)
        config = GPTConfig(**files.parse_json(str(arrays.pop(_CONFIG)), path))
        note = str(arrays.pop(_NOTE))
        model = GPT(config, dtype=arrays["token_embedding"].dtype)
        model.load_state_dict(arrays)
    except files.Unreadable as error:
        raise ValueError(f"{path}: not a checkpoint of a scratch GPT ({error.reason})") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: not a checkpoint of a scratch GPT ({error})") from None
    return model, note
