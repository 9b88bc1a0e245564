"""The shape of a transformer. Imports nothing heavy: the command line is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bestguess.command import UserError

Activation = Literal["gelu", "relu", "silu", "swiglu"]
Dtype = Literal["float32", "bfloat16"]
AttentionKernel = Literal["auto", "xla", "cudnn"]


@dataclass(frozen=True)
class DecoderConfig:
    """The transformer."""

    layers: int = 4
    """Number of blocks, each attention then feed-forward."""
    d_model: int = 256
    """Width of the residual stream (features)."""
    heads: int = 4
    """Number of attention heads; must divide --d-model into an even head size (RoPE turns pairs)."""
    d_ff: int | None = None
    """Hidden width of the feed-forward layer (features); None means 4 × d_model, and two thirds of that \
for swiglu, which has three matrices instead of two."""
    activation: Activation = "gelu"
    """Feed-forward nonlinearity."""
    rope_base: float = 10_000.0
    """Base of the rotary embedding's wavelengths (tokens)."""
    dtype: Dtype = "float32"
    """What blocks compute in; parameters, optimiser, outputs and loss stay float32."""
    attention: AttentionKernel = "auto"
    """Attention kernel; auto takes cudnn on a GPU in bfloat16 and xla elsewhere."""

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
        for name in ("layers", "d_model", "heads", "d_ff", "rope_base"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} {value}: must be positive")
        if self.d_model % self.heads:
            fits = [h for h in range(1, self.d_model + 1) if self.d_model % h == 0 and self.d_model // h % 2 == 0]
            raise UserError(
                f"--heads {self.heads}: does not divide --d-model {self.d_model}; "
                f"choose from {fits or 'an even --d-model'}"
            )
        if self.head_dim % 2:
            raise UserError(
                f"--d-model {self.d_model} over --heads {self.heads} gives head size {self.head_dim}, which is odd; "
                "RoPE turns pairs of features, so make it even"
            )
        if self.attention == "cudnn" and (self.dtype != "bfloat16" or self.head_dim % 8):
            raise UserError("--attention cudnn: needs --dtype bfloat16 and a head size that is a multiple of 8")
