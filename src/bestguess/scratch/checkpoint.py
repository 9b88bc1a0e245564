"""Weights in a file: names, arrays and the configuration, in NumPy's npz. Loading runs no code."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bestguess.scratch.gpt import GPT, GPTConfig

_CONFIG = "config.json"
_NOTE = "note"


def save(path: Path, model: GPT, note: str = "") -> None:
    """Write the model's weights, configuration and a note on how it came to be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = model.state_dict() | {_CONFIG: np.array(json.dumps(asdict(model.config))), _NOTE: np.array(note)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path) -> tuple[GPT, str]:
    """Return the model in a file that `save` wrote, and its note; anything else is a ValueError."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = dict(members)
        config = GPTConfig(**json.loads(str(arrays.pop(_CONFIG))))
        note = str(arrays.pop(_NOTE))
        model = GPT(config, dtype=arrays["token_embedding"].dtype)
        model.load_state_dict(arrays)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a checkpoint of a scratch GPT ({error})") from None
    return model, note
