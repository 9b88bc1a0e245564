"""The shape of a transformer. Imports nothing heavy: the command line is made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bestguess.command import UserError
from bestguess.config import check_bounds, flag

Activation = Literal["gelu", "relu", "silu", "swiglu"]
Dtype = Literal["float32", "bfloat16"]
AttentionKernel = Literal["auto", "xla", "cudnn", "fused"]
SelectedKernel = Literal["xla", "cudnn", "fused"]
Norm = Literal["rms", "layer"]
NormPlace = Literal["pre", "post", "none"]
Positions = Literal["rope", "learned", "sinusoidal", "none"]


@dataclass(frozen=True)
class DecoderConfig:
    """The transformer.

    A pre-norm decoder with RMSNorm and rotary positions, which suits most families. `DesignConfig` makes the
    properties `norm`, `norm_place`, `positions`, `bias` and `dropout` flags; `attention_dropout` is a family's to
    declare.
    """

    MOST: ClassVar[dict[str, int]] = {"layers": 256, "d_model": 1 << 16, "heads": 1 << 16, "d_ff": 1 << 20}
    """Beyond these, nothing could be compiled, or not in hours."""

    layers: int = 4
    """Number of transformer blocks."""
    d_model: int = 256
    """Width of the residual stream (features)."""
    heads: int = 4
    """Number of attention heads. Must divide --d-model; with RoPE the head size must be even."""
    d_ff: int | None = None
    """Hidden width of the feed-forward layer (features); None: 4 × d_model, or two thirds of that for swiglu, which \
has three matrices instead of two."""
    activation: Activation = "gelu"
    """Activation function of the feed-forward layer."""
    rope_base: float = 10_000.0
    """Base of the RoPE wavelengths (tokens)."""
    dtype: Dtype = "float32"
    """Compute dtype of the blocks. Parameters, optimiser state, outputs and loss are float32."""
    attention: AttentionKernel = "auto"
    """Attention kernel. On a GPU in bfloat16, auto selects fused for up to 128 tokens and head sizes up to 64, else \
cudnn; elsewhere xla."""

    @property
    def norm(self) -> Norm:
        """Normalisation of features."""
        return "rms"

    @property
    def norm_place(self) -> NormPlace:
        """Where blocks normalise."""
        return "pre"

    @property
    def positions(self) -> Positions:
        """Positional encoding."""
        return "rope"

    @property
    def bias(self) -> bool:
        """Whether the linear layers of the blocks have a bias."""
        return False

    @property
    def dropout(self) -> float:
        """Fraction of features that dropout sets to 0 in training."""
        return 0.0

    @property
    def attention_dropout(self) -> float:
        """Fraction of attention weights that dropout sets to 0 in training."""
        return 0.0

    @property
    def head_dim(self) -> int:
        """Features per head."""
        return self.d_model // self.heads

    @property
    def hidden_dim(self) -> int:
        """Hidden width of the feed-forward layer (features)."""
        if self.d_ff is not None:
            return self.d_ff
        if self.activation != "swiglu":
            return 4 * self.d_model
        return 8 * round(self.d_model / 3)  # 2/3 of 4 d_model, rounded to a multiple of 8 for tensor cores

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if the shape is impossible."""
        check_bounds(self)
        for name in DecoderConfig.MOST:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{flag(name)} {value}: must be positive")
        if not 1 <= self.rope_base < math.inf:
            raise UserError(f"--rope-base {self.rope_base}: at least 1 and finite")
        turns = self.positions == "rope"
        if self.d_model % self.heads:
            sizes = [(h, self.d_model // h) for h in range(1, self.d_model + 1) if self.d_model % h == 0]
            fits = [heads for heads, size in sizes if not (turns and size % 2)]
            raise UserError(
                f"--heads {self.heads}: does not divide --d-model {self.d_model}; "
                f"choose from {fits or 'an even --d-model'}"
            )
        if turns and self.head_dim % 2:
            raise UserError(
                f"--d-model {self.d_model} over --heads {self.heads} gives head size {self.head_dim}, which is odd; "
                "RoPE rotates pairs of features, so it must be even"
            )
        if self.attention == "cudnn" and (self.dtype != "bfloat16" or self.head_dim % 8):
            raise UserError("--attention cudnn: needs --dtype bfloat16 and a head size that is a multiple of 8")
        if self.attention == "fused" and (self.dtype != "bfloat16" or self.head_dim not in range(16, 129, 16)):
            raise UserError("--attention fused: needs --dtype bfloat16 and a head size of 16, 32, 48, … 128")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout:g}: a fraction of features, at least 0 and below 1")
        if not 0 <= self.attention_dropout < 1:
            raise UserError(
                f"--attention-dropout {self.attention_dropout:g}: a fraction of weights, at least 0 and below 1"
            )


@dataclass(frozen=True)
class DesignConfig(DecoderConfig):
    """A transformer whose every design decision is a flag."""

    norm: Norm = "rms"
    """Normalisation layer: RMSNorm or LayerNorm."""
    norm_place: NormPlace = "pre"
    """Pre-norm (the input of each sub-layer), post-norm (the residual stream after each sub-layer), or none."""
    positions: Positions = "rope"
    """Positional encoding: RoPE, one learned vector per position, sinusoids, or none (the causal mask still \
identifies the first token)."""
    bias: bool = False
    """Add a learned bias to every linear layer of the blocks."""
    dropout: float = 0.0
    """Dropout rate of the embedding and of each sub-layer's output."""
