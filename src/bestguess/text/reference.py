"""The two reference models by their plain signatures: arrangements of `TextModel`, in no way other models.

Sinusoidal positions, LayerNorm, ReLU, biases and tied embeddings, as in Vaswani et al. (2017); pre-norm instead of
their post-norm, which needs a warm-up at the depth of the larger models.

Shapes in names: B sequences, T tokens of one, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from bestguess.nn.cross_entropy import cross_entropy
from bestguess.text.model import TextModel
from bestguess.text.model_config import Architecture, TextModelConfig
from bestguess.text.sequences import shift
from bestguess.text.tokens import PAD, SEP


class _Reference(eqx.Module):
    """What both models are made of."""

    ARCHITECTURE: ClassVar[Architecture]
    model: TextModel

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        n_layers: int,
        n_heads: int,
        d_ff: int,
        dropout: float,
        *,
        key: Key[Array, ""],
    ):
        config = reference_config(self.ARCHITECTURE, d_model, n_layers, n_heads, d_ff, dropout)
        self.model = TextModel(config, vocab_size, key=key)


class ReferenceTransformer(_Reference):
    """An encoder-decoder over sequences `source [SEP] target`, with PAD behind the end."""

    ARCHITECTURE = "encoder-decoder"

    def __call__(
        self,
        input_ids: Int[Array, "*B T"],
        labels: Int[Array, "*B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> dict[str, Any]:
        """Return logits [*B, T, V] of the token after each, and the loss (nats a token; None without labels).

        Nothing is predicted in the source: logits before SEP are 0, and what would be scored there is not. Labels are
        the tokens themselves, unshifted; where they are PAD, nothing is scored. Where nothing at all is scored, as in
        sequences without SEP, the loss is NaN. key: for dropout.
        """
        return _result(self._logits, input_ids, labels, key, _in_target)

    def _logits(self, token_T: Int[Array, "T"], key: Key[Array, ""] | None) -> Float[Array, "T V"]:
        source_length = _separator(token_T)
        at_T = jnp.arange(len(token_T))
        target_T = jnp.take(token_T, source_length + 1 + at_T, mode="fill", fill_value=PAD)
        logits_TV = self.model.logits(token_T, source_length, target_T, key=key)
        return jnp.where(
            (at_T >= source_length)[:, None], jnp.take(logits_TV, at_T - source_length, axis=0, mode="clip"), 0
        )


class ReferenceDecoderOnly(_Reference):
    """A decoder-only model over any sequences, with PAD behind the end."""

    ARCHITECTURE = "decoder-only"

    def __call__(
        self,
        input_ids: Int[Array, "*B T"],
        labels: Int[Array, "*B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> dict[str, Any]:
        """Return logits [*B, T, V] of the token after each, and the loss (nats a token; None without labels).

        Labels are the tokens themselves, unshifted; where they are PAD, nothing is scored. key: for dropout.
        """
        logits = lambda token_T, key: self.model.next_logits(token_T, key=key)  # noqa: E731
        return _result(logits, input_ids, labels, key, lambda token_T: jnp.ones(len(token_T), bool))


def reference_config(
    architecture: Architecture, d_model: int, n_layers: int, n_heads: int, d_ff: int, dropout: float
) -> TextModelConfig:
    """Return the config of a reference model."""
    return TextModelConfig(
        architecture=architecture,
        layers=n_layers,
        d_model=d_model,
        heads=n_heads,
        d_ff=d_ff,
        activation="relu",
        norm="layer",
        positions="sinusoidal",
        bias=True,
        dropout=dropout,
    )


def _result(logits, input_ids, labels, key, predicts) -> dict[str, Any]:
    """Return logits and loss of one sequence or of a batch; the loss is summed, then divided once.

    predicts: after which tokens of a sequence something is predicted.
    """
    rows = input_ids.reshape(-1, input_ids.shape[-1])
    keys = None if key is None else jax.random.split(key, len(rows))
    logits_BTV = jax.vmap(logits, in_axes=(0, None if keys is None else 0))(rows, keys)
    result = {"logits": logits_BTV.reshape(*input_ids.shape, -1), "loss": None}
    if labels is not None:
        _, target_BT = shift(labels.reshape(rows.shape))
        scored_BT = (target_BT != PAD) & jax.vmap(predicts)(rows)[:, :-1]
        loss_BT, _ = cross_entropy(logits_BTV[:, :-1], target_BT)
        # NaN where nothing is scored, as PyTorch's mean: a loss of 0 would hide that SEP is missing.
        result["loss"] = jnp.sum(jnp.where(scored_BT, loss_BT, 0)) / jnp.sum(scored_BT)
    return result


def _separator(token_T: Int[Array, "T"]) -> Int[Array, ""]:
    """Return the index of the first SEP; without one, the number of tokens."""
    at_T = jnp.arange(len(token_T), dtype=jnp.int32)
    return jnp.min(jnp.where(token_T == SEP, at_T, len(token_T)))


def _in_target(token_T: Int[Array, "T"]):
    return jnp.arange(len(token_T)) >= _separator(token_T)
