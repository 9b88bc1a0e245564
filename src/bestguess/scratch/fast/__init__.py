"""The last chapter, "now make it fast": each of the engine's layers as one operation with its derivative by hand.

`layers` and `softmax` have the engine's functions again, `threads` shares their rows, `memory` keeps their arrays,
`optim` updates all parameters at once, and `gpt` puts them together, with a cache for writing. `replaced` puts single
ones into the engine's own GPT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bestguess.scratch.engine import layers as simple
from bestguess.scratch.fast import layers as fused
from bestguess.scratch.fast import memory

LAYERS = ("linear", "layer_norm", "gelu", "causal_attention", "embedding", "cross_entropy")
"""The functions of `engine.layers` that have a fast one in `fast.layers`."""

memory.keep_freed()


@contextmanager
def replaced(*names: str) -> Iterator[None]:
    """Within this block the engine's own layers compute `names` by their fast functions."""
    unknown = sorted(set(names) - set(LAYERS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: not among {', '.join(LAYERS)}")
    before = {name: getattr(simple, name) for name in names}
    for name in names:
        setattr(simple, name, getattr(fused, name))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(simple, name, function)
