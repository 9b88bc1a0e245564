"""A language model's weights as named arrays, so that another engine's GPT can become a decoder here, and go back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.nn.config import DesignConfig
from bestguess.nn.decoder import Decoder
from bestguess.nn.init import scaled_normal


class LanguageModel(eqx.Module):
    """A token embedding, a decoder, and a head without a bias: the logits of the next token."""

    embedding: Float[Array, "V D"]
    decoder: Decoder
    head: Float[Array, "D V"]

    def __init__(self, config: DesignConfig, vocab: int, *, key: Key[Array, ""], context: int | None = None):
        embedding_key, decoder_key, head_key = jax.random.split(key, 3)
        self.embedding = jax.random.normal(embedding_key, (vocab, config.d_model))
        self.decoder = Decoder(config, key=decoder_key, context=context)
        self.head = scaled_normal(head_key, (config.d_model, vocab))

    def __call__(self, index_T: Int[Array, "T"]) -> Float[Array, "T V"]:
        """Return the logits of the token that follows each; tokens must be 0 … V − 1."""
        x_TD, _ = self.decoder(self.embedding[index_T])
        return x_TD @ self.head


def from_arrays(arrays: Mapping[str, np.ndarray], heads: int) -> LanguageModel:
    """Return the model whose weights are `arrays`, named as `to_arrays` and the scratch GPT's `state_dict` name them.

    What there is tells the GPT's kind: positions learned or rotary, LayerNorm or RMSNorm, with or without
    biases. Arrays that do not fit together are a ValueError that names what is off.
    """
    try:
        vocab, d_model = arrays["token_embedding"].shape
        d_ff = arrays["blocks.0.feed_forward.up.weight"].shape[1]
    except (KeyError, ValueError, IndexError):
        raise ValueError("token_embedding and blocks.0.feed_forward.up.weight: not two matrices of a GPT") from None
    layers = sum(name.endswith(".attention.qkv.weight") for name in arrays)
    position = arrays.get("position_embedding")
    config = DesignConfig(
        layers=layers,
        d_model=d_model,
        heads=heads,
        d_ff=d_ff,
        norm="layer" if "norm.bias" in arrays else "rms",
        positions="rope" if position is None else "learned",
        bias="blocks.0.attention.qkv.bias" in arrays,
    )
    model = LanguageModel(config, vocab, key=jax.random.key(0), context=None if position is None else len(position))
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
    decoder = model.decoder
    named = {"token_embedding": model.embedding, "position_embedding": decoder.position}
    for i, block in enumerate(decoder.blocks):
        attention, feed_forward, at = block.attention, block.feed_forward, f"blocks.{i}."
        named |= _norm(at + "attention_norm", block.attention_norm)
        named |= {
            at + "attention.qkv.weight": attention.qkv,
            at + "attention.qkv.bias": attention.qkv_bias,
            at + "attention.out.weight": attention.out,
            at + "attention.out.bias": attention.out_bias,
        }
        named |= _norm(at + "feed_forward_norm", block.feed_forward_norm)
        named |= {
            at + "feed_forward.up.weight": feed_forward.up,
            at + "feed_forward.up.bias": feed_forward.up_bias,
            at + "feed_forward.down.weight": feed_forward.down,
            at + "feed_forward.down.bias": feed_forward.down_bias,
        }
    named |= _norm("norm", decoder.norm) | {"head.weight": model.head}
    return {name: leaf for name, leaf in named.items() if leaf is not None}


def _norm(at: str, norm: Any) -> dict[str, Any]:
    return {at + ".gain": norm.gain, at + ".bias": getattr(norm, "bias", None)}
