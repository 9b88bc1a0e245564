"""A language model's weights as named arrays, so that another engine's GPT can become a decoder here, and go back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.nn.config import DecoderConfig
from bestguess.nn.decoder import Decoder
from bestguess.nn.init import scaled_normal


class LanguageModel(eqx.Module):
    """A token embedding, a decoder, and a head without a bias: the logits of the next token."""

    embedding: Float[Array, "V D"]
    decoder: Decoder
    head: Float[Array, "D V"]

    def __init__(self, config: DecoderConfig, vocab: int, *, key: Key[Array, ""]):
        embedding_key, decoder_key, head_key = jax.random.split(key, 3)
        self.embedding = jax.random.normal(embedding_key, (vocab, config.d_model))
        self.decoder = Decoder(config, key=decoder_key)
        self.head = scaled_normal(head_key, (config.d_model, vocab))

    def __call__(self, index_T: Int[Array, "T"]) -> Float[Array, "T V"]:
        """Return the logits of the token that follows each; tokens must be 0 … V − 1."""
        x_TD, _ = self.decoder(self.embedding[index_T])
        return x_TD @ self.head


def from_arrays(arrays: Mapping[str, np.ndarray], heads: int) -> LanguageModel:
    """Return the model whose weights are `arrays`, named as `to_arrays` and the scratch GPT's `state_dict` name them.

    The GPT must be of the decoder's kind: pre-norm with RMSNorm, rotary positions and no biases. One that
    is not, and arrays that do not fit together, are a ValueError that names what is off.
    """
    foreign = sorted(n for n in arrays if n == "position_embedding" or n.endswith(".bias"))
    if foreign:
        raise ValueError(
            f"{foreign[0]}: the decoder has rotary positions, RMSNorm and no biases; "
            "train the GPT with position='rope', norm='rms', bias=False"
        )
    try:
        vocab, d_model = arrays["token_embedding"].shape
        d_ff = arrays["blocks.0.feed_forward.up.weight"].shape[1]
    except (KeyError, ValueError, IndexError):
        raise ValueError("token_embedding and blocks.0.feed_forward.up.weight: not two matrices of a GPT") from None
    layers = sum(name.endswith(".attention.qkv.weight") for name in arrays)
    config = DecoderConfig(layers=layers, d_model=d_model, heads=heads, d_ff=d_ff)
    model = LanguageModel(config, vocab, key=jax.random.key(0))
    own = _named(model)
    if own.keys() != arrays.keys():
        missing, unknown = sorted(own.keys() - arrays.keys()), sorted(arrays.keys() - own.keys())
        raise ValueError(f"missing {missing}, unknown {unknown}")
    for name, leaf in own.items():
        if leaf.shape != arrays[name].shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, wants {leaf.shape}")
    leaves = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in own.items()]
    return eqx.tree_at(lambda model: list(_named(model).values()), model, leaves)


def to_arrays(model: LanguageModel) -> dict[str, np.ndarray]:
    """Return every weight by the name that the scratch GPT gives it, as float32."""
    return {name: np.array(leaf, np.float32) for name, leaf in _named(model).items()}


def _named(model: Any) -> dict[str, Any]:
    """Return every leaf of a language model by its name, whatever the leaves are (Equinox wraps them to find them)."""
    named = {"token_embedding": model.embedding}
    for i, block in enumerate(model.decoder.blocks):
        named |= {
            f"blocks.{i}.attention_norm.gain": block.attention_norm.gain,
            f"blocks.{i}.attention.qkv.weight": block.attention.qkv,
            f"blocks.{i}.attention.out.weight": block.attention.out,
            f"blocks.{i}.feed_forward_norm.gain": block.feed_forward_norm.gain,
            f"blocks.{i}.feed_forward.up.weight": block.feed_forward.up,
            f"blocks.{i}.feed_forward.down.weight": block.feed_forward.down,
        }
    return named | {"norm.gain": model.decoder.norm.gain, "head.weight": model.head}
