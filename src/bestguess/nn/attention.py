"""Multi-head self-attention with a key-value cache: causal and with rotary positions, unless it is told otherwise.

Shapes in names: T tokens of this call, S tokens of the cache, D model width, H heads, K head size.
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.command import UserError
from bestguess.nn import masked
from bestguess.nn.config import AttentionKernel, DecoderConfig, SelectedKernel
from bestguess.nn.init import scaled_normal
from bestguess.nn.kernels import has_triton
from bestguess.nn.linear import affine


class KVCache(eqx.Module):
    """Keys and values of the tokens seen so far; rows from `length` on are yet unwritten."""

    key: Float[Array, "S H K"]
    value: Float[Array, "S H K"]
    length: Int[Array, ""]


def rope(x_THK: Float[Array, "T H K"], position_T: Int[Array, "T"], base: float | None) -> Float[Array, "T H K"]:
    """Return `x_THK` with each pair of features (i, i + K/2) turned by position · base^(−2i/K) radians.

    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), eq. 34. The
    product of a query and a key so turned depends on their distance alone. Without a base, `x_THK` as it is.
    """
    if base is None:
        return x_THK
    half = x_THK.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_T1h = position_T[:, None, None] * frequency[None, None]
    cos, sin = jnp.cos(angle_T1h), jnp.sin(angle_T1h)
    a, b = x_THK[..., :half].astype(jnp.float32), x_THK[..., half:].astype(jnp.float32)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x_THK.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def unpack(
    qkv_T3HK: Float[Array, "T 3 H K"], position_T: Int[Array, "T"], base: float | None
) -> tuple[Float[Array, "T H K"], Float[Array, "T H K"], Float[Array, "T H K"]]:
    """Return turned queries, turned keys, and values.

    A rotation's transpose turns back, so the gradient is one concatenation. Differentiation by itself
    writes it as a sum of zero-padded pieces, which takes a GPU twice as long.
    """
    q, k, v = qkv_T3HK[:, 0], qkv_T3HK[:, 1], qkv_T3HK[:, 2]
    return rope(q, position_T, base), rope(k, position_T, base), v


def _unpack_forward(qkv_T3HK, position_T, base):
    return unpack(qkv_T3HK, position_T, base), position_T


def _unpack_backward(base, position_T, cotangents):
    q, k, v = cotangents
    return jnp.stack([rope(q, -position_T, base), rope(k, -position_T, base), v], axis=1), None


unpack.defvjp(_unpack_forward, _unpack_backward)


class Attention(eqx.Module):
    """Multi-head self-attention (Vaswani et al., 2017, §3.2) with packed q, k, v; causal where no mask is given."""

    qkv: Float[Array, "D E"]
    qkv_bias: Float[Array, "E"] | None
    out: Float[Array, "D D"]
    out_bias: Float[Array, "D"] | None
    heads: int = eqx.field(static=True)
    rope_base: float | None = eqx.field(static=True)
    """None: queries and keys are not turned."""
    kernel: AttentionKernel = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    """Fraction of the weights that are set to 0, with a key."""

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        qkv_key, out_key = jax.random.split(key)
        d = config.d_model
        self.qkv = scaled_normal(qkv_key, (d, 3 * d))
        self.qkv_bias = jnp.zeros(3 * d) if config.bias else None
        # The residual stream adds 2 branches a block; this keeps its variance near 1 at the start.
        self.out = scaled_normal(out_key, (d, d), gain=(2 * config.layers) ** -0.5)
        self.out_bias = jnp.zeros(d) if config.bias else None
        self.heads = config.heads
        self.rope_base = config.rope_base if config.positions == "rope" else None
        self.kernel = config.attention
        self.dropout = config.attention_dropout

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        cache: KVCache | None = None,
        gain_D: Float[Array, "D"] | None = None,
        *,
        mask_TS: Bool[Array, "#T S"] | None = None,
        start: masked.Start | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "T D"], KVCache | None]:
        """Return what the T tokens, times the gain, read from themselves, the tokens before them and the cache.

        With a cache, the tokens stand in its rows `cache.length` onward, and the returned cache
        holds them too. Tokens beyond the cache's size S are an error of the caller: `DecoderCache`
        is made for a known number of tokens.

        mask_TS: which tokens (rows of the cache, where there is one) each of the T may read; None: none after itself.
        start: position of the first of them or of each; None: the row of the cache. Without a cache only distances
        matter, and those are of tokens that follow one another. key: for dropout of the weights.
        """
        T, D = x_TD.shape
        dropping = key is not None and self.dropout > 0
        if cache is None and mask_TS is None and not dropping:
            # Turned by positions from 0 on, wherever they start: only distances matter.
            read_TD = attend(self._packed(x_TD, gain_D), self.rope_base, self.kernel).reshape(T, D)
        elif cache is None:
            q, k, v = self.by_heads(x_TD, gain_D)
            mask_TS = _causal(T) if mask_TS is None else mask_TS
            read_TD = masked.read(q, k, v, mask_TS, self.dropout, key)
        else:
            q, k, v, cache = self._project(x_TD, cache, gain_D, start)
            if mask_TS is None:
                mask_TS = jnp.arange(k.shape[0])[None] <= (cache.length - T + jnp.arange(T))[:, None]
            mask_1TS = jnp.broadcast_to(mask_TS, (T, k.shape[0]))[None]
            read_TD = jax.nn.dot_product_attention(q, k, v, mask=mask_1TS, implementation="xla").reshape(T, D)
        return affine(read_TD, self.out, self.out_bias), cache

    def weights(self, x_TD: Float[Array, "T D"], mask_TT: Bool[Array, "#T T"] | None = None) -> Float[Array, "H T T"]:
        """Return the attention weights (rows: queries; each row sums to 1), in float32."""
        q, k, _ = self.by_heads(x_TD, None)
        return masked.weights(q, k, _causal(len(x_TD)) if mask_TT is None else mask_TT)

    def empty_cache(self, size: int, dtype: jnp.dtype) -> KVCache:
        """Return a cache for `size` tokens that holds none."""
        shape = (size, self.heads, self.out.shape[0] // self.heads)
        return KVCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32))

    def _packed(self, x_TD, gain_D) -> Float[Array, "T 3 H K"]:
        T, D = x_TD.shape
        return affine(x_TD, self.qkv, self.qkv_bias, gain_D).reshape(T, 3, self.heads, D // self.heads)

    def by_heads(self, x_TD: Float[Array, "T D"], gain_D: Float[Array, "D"] | None) -> list[Float[Array, "H T K"]]:
        """Return queries and keys, turned by positions from 0 on, and values, as `masked` reads them."""
        return masked.project(x_TD, self.qkv, self.qkv_bias, gain_D, self.heads, 2, 0, self.rope_base)

    def _project(self, x_TD, cache, gain_D, start):
        """Return queries, keys, values (of cache and tokens) and the cache that now holds the tokens."""
        T, row = x_TD.shape[0], cache.length
        position_T = jnp.asarray(masked.positions(row if start is None else start, T))
        q, k, v = unpack(self._packed(x_TD, gain_D), position_T, self.rope_base)
        k = jax.lax.dynamic_update_slice_in_dim(cache.key, k, row, axis=0)
        v = jax.lax.dynamic_update_slice_in_dim(cache.value, v, row, axis=0)
        return q, k, v, KVCache(k, v, row + T)


def _causal(tokens: int) -> Bool[Array, "T T"]:
    return masked.prefix_mask(tokens, 0)


def attend(qkv_T3HK: Float[Array, "T 3 H K"], base: float | None, kernel: AttentionKernel) -> Float[Array, "T H K"]:
    """Return softmax(q kᵀ / √K) v of turned queries and keys under a causal mask, by the kernel named.

    Raises UserError where the fused kernel is named and cannot be had.
    """
    T, _, _, K = qkv_T3HK.shape
    selected = select_kernel(kernel, qkv_T3HK.dtype, T, K)
    if selected == "fused":
        from bestguess.nn.kernels.attention import attention  # takes a tenth of a second to import

        return attention(qkv_T3HK, base)
    if selected == "cudnn" and T % 2:  # takes even lengths only; no token reads the one added after it
        qkv_T3HK = jnp.pad(qkv_T3HK, ((0, 1), (0, 0), (0, 0), (0, 0)))
    q, k, v = unpack(qkv_T3HK, jnp.arange(len(qkv_T3HK)), base)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=selected)[:T]


def select_kernel(kernel: AttentionKernel, dtype: jnp.dtype, tokens: int, head_dim: int) -> SelectedKernel:
    """Return the kernel named, or the one that auto stands for.

    The fused kernel holds all scores of a row and all gradients of a head at once. Up to 128 tokens and a head size
    of 64, that is what a program's registers hold; beyond, the compiler keeps up to 2 KB a thread in memory. Raises
    UserError where the fused kernel is named and the device or JAX has none, or the sequence is too long.
    """
    gpu = jax.default_backend() == "gpu"
    if kernel == "fused":
        if not gpu:
            raise UserError("--attention fused: needs a GPU; choose auto")
        if not has_triton():
            raise UserError(f"--attention fused: JAX {jax.__version__} has no Pallas for Triton; choose auto")
        if tokens > 256:
            raise UserError(f"--attention fused: takes up to 256 tokens, not {tokens}; choose auto")
        return "fused"
    if kernel != "auto":
        return kernel
    if not (gpu and dtype == jnp.bfloat16 and head_dim % 8 == 0):
        return "xla"
    return "fused" if tokens <= 128 and head_dim in (16, 32, 48, 64) and has_triton() else "cudnn"
