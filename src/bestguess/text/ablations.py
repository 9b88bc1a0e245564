"""Test documents whose source is taken away or exchanged: what a model loses then, it had from the source."""

from __future__ import annotations

import numpy as np

from bestguess.text.pairs import Pairs


def without_source(pairs: Pairs) -> Pairs:
    """Return the documents with an empty source, of length 0.

    A decoder-only model then reads [BOS] [SEP] and the target; the cross-attention of an encoder-decoder has nothing
    to read and adds 0.
    """
    return Pairs(pairs.source, np.zeros_like(pairs.source_length), pairs.target, pairs.target_length)


def with_another_source(pairs: Pairs) -> Pairs:
    """Return the documents, each with the source of the one half of all documents further on: never its own.

    Neighbours may come from one file, and be alike. ValueError for a single document.
    """
    if len(pairs) < 2:
        raise ValueError("one document has no other's source; give two or more")
    other = np.roll(np.arange(len(pairs)), -(len(pairs) // 2))
    return Pairs(pairs.source[other], pairs.source_length[other], pairs.target, pairs.target_length)
