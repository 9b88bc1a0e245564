"""Weights in a file: names, arrays and the configuration, in NumPy's npz. Loading runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from bestguess import files
from bestguess.scratch.demos.decoder import Decoder, DecoderConfig
from bestguess.scratch.engine.gpt import GPTConfig
from bestguess.scratch.fast.gpt import FastGPT

_CONFIG = "config.json"
_NOTE = "note"
_CHECKSUM = "sha256"


def save(path: Path, model: FastGPT, note: str = "") -> None:
    """Write the model's weights, configuration and a note on how it came to be."""
    arrays = model.state_dict() | {_CONFIG: np.array(json.dumps(asdict(model.config))), _NOTE: np.array(note)}
    files.write_npz(path, arrays | {_CHECKSUM: np.array(files.digest({}, arrays))})


def load(path: Path) -> tuple[FastGPT, str]:
    """Return the model in a file that `save` wrote, and its note; anything else is a ValueError."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        arrays = files.read_npz(path)
        checksum = arrays.pop(_CHECKSUM, None)  # files of older versions have none
        if checksum is not None and str(checksum) != files.digest({}, arrays):
            raise ValueError("damaged: it does not match the checksum that it was written with")
        model = _model(files.parse_json(str(arrays.pop(_CONFIG)), path))
        note = str(arrays.pop(_NOTE))
        model.load_state_dict(arrays)
    except files.Unreadable as error:
        raise ValueError(f"{path}: not a checkpoint of a scratch GPT ({error.reason})") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: not a checkpoint of a scratch GPT ({error})") from None
    return model, note


def _model(shape: dict[str, Any]) -> FastGPT:
    """Return a new model of the kind that `shape` describes: a GPT, unless it says otherwise of norms or positions."""
    config = DecoderConfig(**shape)
    plain = {f.name: getattr(config, f.name) for f in fields(GPTConfig)}
    return FastGPT(GPTConfig(**plain)) if config == DecoderConfig(**plain) else Decoder(config)
