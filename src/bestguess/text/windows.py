"""One long text in windows: training takes them anywhere, validation and test side by side, each token scored once.

A window has `context` tokens, of which each but the first is predicted from those before it, and the token behind the
last: as nanoGPT reads a text. Nothing marks where a window begins. A window of a text that is scored is a pair: the
source is what a model reads first, the target its last `stride` tokens and the one behind.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from bestguess.text.cuts import CutDocuments
from bestguess.text.documents import Document
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import PAD


def window(text: Integer[Array, " N"], first: Int[Array, ""], context: int) -> Document:
    """Return the window of a text that begins at `first`: its first token is the source, those behind the target."""
    found = jax.lax.dynamic_slice_in_dim(text, first, context + 1).astype(jnp.int32)
    return Document(found[:1], jnp.asarray(1), found[1:], jnp.asarray(context))


def scored(
    tokens: Integer[np.ndarray, " N"], n_bytes: Integer[np.ndarray, " N"], context: int, stride: int
) -> CutDocuments:
    """Return the windows in which every token of a text but its first is scored, once.

    The first ones have fewer tokens before their target, the last may have a shorter target. n_bytes: of each token.
    """
    first = np.arange(1, len(tokens), stride)
    source = np.minimum(first, context - stride + 1)
    target = np.minimum(len(tokens) - first, stride)
    pairs = Pairs(*_rows(tokens, first - source, source), *_rows(tokens, first, target))
    before = np.concatenate([[0], np.cumsum(n_bytes, dtype=np.int64)])
    return CutDocuments(pairs, before[first + target] - before[first], np.zeros(len(first), np.int64), {})


def apart(tokens: Integer[np.ndarray, " N"], context: int, stride: int) -> Pairs:
    """Return the whole windows of a text that begin `context` tokens apart, as pairs of the same widths."""
    first = np.arange(context - stride + 1, len(tokens) - stride + 1, context)
    source, target = np.full(len(first), context - stride + 1), np.full(len(first), stride)
    return Pairs(*_rows(tokens, first - source, source), *_rows(tokens, first, target))


def prompts(windows: CutDocuments, context: int) -> Pairs:
    """Return a text in stretches of `context` tokens: the first half is given to a model, which writes the rest."""
    text = np.concatenate([windows.pairs.source[0, :1], _targets(windows.pairs)])
    half = context // 2
    first = np.arange(0, max(1, len(text) - context + 1), context)
    source = np.full(len(first), min(half, len(text) - 1))
    target = np.minimum(len(text) - first, context) - source
    return Pairs(*_rows(text, first, source), *_rows(text, first + source, target))


def _targets(pairs: Pairs) -> np.ndarray:
    return pairs.target[np.arange(pairs.target.shape[1])[None] < pairs.target_length[:, None]]


def _rows(tokens: np.ndarray, first: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches of a text as rows, PAD behind them, and their lengths; int32."""
    at = np.arange(int(length.max()))
    found = tokens[np.minimum(first[:, None] + at, len(tokens) - 1)]
    return np.where(at < length[:, None], found, PAD).astype(np.int32), length.astype(np.int32)
