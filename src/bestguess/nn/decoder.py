"""A transformer over embedded tokens: embedding and head belong to the family."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn.attention import KVCache
from bestguess.nn.block import Block
from bestguess.nn.config import DecoderConfig
from bestguess.nn.cross_attention import Memory
from bestguess.nn.dropout import dropout
from bestguess.nn.masked import Keys, Start, positions
from bestguess.nn.normalisation import FeatureNorm, NoNorm, make_norm

DecoderCache = tuple[KVCache, ...]
DecoderMemory = tuple[Memory, ...]
"""What each layer reads of an encoded sequence."""


class Decoder(eqx.Module):
    """A stack of blocks, causal unless a mask is given, and, where they are pre-norm, a last norm.

    Without a mask, output t depends on tokens 1..t, and on the memory where the decoder has one.
    """

    position: Float[Array, "S D"] | None
    """What is added to the token at each position, where positions are learned."""
    blocks: tuple[Block, ...]
    norm: FeatureNorm
    dtype: str = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    sinusoidal: bool = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""], context: int | None = None, cross: bool = False):
        """Return an untrained decoder.

        context: tokens that it can see at most, for learned positions. cross: whether it reads a memory.
        """
        config.check()
        self.position = None
        if config.positions == "learned":
            if context is None:
                raise ValueError("learned positions need to know how many there are: give the context")
            key, position_key = jax.random.split(key)
            # As large as what is told apart by them, or the first steps would not see them.
            self.position = jax.random.normal(position_key, (context, config.d_model))
        self.blocks = tuple(Block(config, key=k, cross=cross) for k in jax.random.split(key, config.layers))
        self.norm = make_norm(config.norm, config.d_model) if config.norm_place == "pre" else NoNorm()
        self.dtype = config.dtype
        self.dropout = config.dropout
        self.sinusoidal = config.positions == "sinusoidal"

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        cache: DecoderCache | None = None,
        key: Key[Array, ""] | None = None,
        *,
        mask_TS: Bool[Array, "#T S"] | None = None,
        start: Start | None = None,
        memory: DecoderMemory | None = None,
    ) -> tuple[Float[Array, "T D"], DecoderCache | None]:
        """Return the decoded tokens (dtype of the config), and the cache that now holds them.

        key: for dropout; without one nothing is dropped. mask_TS: which tokens, or rows of the cache, each token may
        read; None: none after itself. start: position of the first token; None: behind those in the cache. Of several
        sequences in one row, the position of each token: those that read one another are to follow one another.
        """
        keys = [None] * (len(self.blocks) + 1) if key is None else list(jax.random.split(key, len(self.blocks) + 1))
        if start is None:
            start = 0 if cache is None else cache[0].length
        x_TD = dropout(self.enter(x_TD, start), self.dropout, keys[-1])
        caches: list[KVCache] = []
        branch_TD = None
        for i, block in enumerate(self.blocks):
            x_TD, branch_TD, block_cache = block.advance(
                x_TD,
                branch_TD,
                None if cache is None else cache[i],
                keys[i],
                mask_TS=mask_TS,
                start=start,
                memory=None if memory is None else memory[i],
            )
            if block_cache is not None:
                caches.append(block_cache)
        x_TD = x_TD if branch_TD is None else x_TD + branch_TD
        return self.norm(x_TD), None if cache is None else tuple(caches)

    def memory(self, y_SD: Float[Array, "S D"], mask: Keys, start: Start = 0) -> DecoderMemory:
        """Return what every layer reads of the encoded tokens `y_SD`: those in the mask."""
        return tuple(block.cross.memory(y_SD, mask, start) for block in self.blocks)  # type: ignore[union-attr]

    def empty_cache(self, size: int) -> DecoderCache:
        """Return a cache for `size` tokens that holds none."""
        return tuple(block.attention.empty_cache(size, jnp.dtype(self.dtype)) for block in self.blocks)

    def attention_weights(self, x_TD: Float[Array, "T D"]) -> Float[Array, "layers H T T"]:
        """Return every layer's and head's attention weights (rows: queries; each row sums to 1)."""
        return self.weights(x_TD)[0]

    def weights(
        self,
        x_TD: Float[Array, "T D"],
        *,
        mask_TS: Bool[Array, "#T S"] | None = None,
        start: Int[Array, ""] | int = 0,
        memory: DecoderMemory | None = None,
    ) -> tuple[Float[Array, "layers H T T"], Float[Array, "layers H T M"] | None]:
        """Return every layer's and head's weights of the tokens on each other, and on the memory (rows: queries)."""
        x_TD = self.enter(x_TD, start)
        own: list[Array] = []
        cross: list[Array] = []
        for block, of_layer in zip(self.blocks, [None] * len(self.blocks) if memory is None else memory):
            own_HTT, cross_HTM = block.weights(x_TD, mask_TS, start, of_layer)
            own.append(own_HTT)
            cross += [] if cross_HTM is None else [cross_HTM]
            x_TD, _ = block(x_TD, mask_TS=mask_TS, start=start, memory=of_layer)
        return jnp.stack(own), None if memory is None else jnp.stack(cross)

    def enter(self, x_TD: Float[Array, "T D"], start: Start = 0) -> Float[Array, "T D"]:
        """Return what the first block is given: the tokens with their positions.

        Rotary positions are attention's; learned ones and sinusoids are added here.
        """
        if self.position is not None:
            several = not isinstance(start, int) and start.ndim > 0
            slice_TD = lambda: jax.lax.dynamic_slice_in_dim(self.position, start, x_TD.shape[0])  # noqa: E731
            x_TD = x_TD + (self.position[start] if several else slice_TD())
        if self.sinusoidal:
            x_TD = x_TD + sinusoids(jnp.asarray(positions(start, x_TD.shape[0])), x_TD.shape[1])
        return x_TD.astype(self.dtype)


def sinusoids(position_T: Int[Array, "T"], width: int) -> Float[Array, "T D"]:
    """Return sin and cos of each position over 10,000^(2i / width) as the features 2i and 2i + 1.

    Vaswani et al., "Attention Is All You Need" (2017), §3.5.
    """
    frequency = 10_000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angle_Th = position_T[:, None] * frequency[None]
    return jnp.stack([jnp.sin(angle_Th), jnp.cos(angle_Th)], axis=-1).reshape(len(position_T), -1)[:, :width]
