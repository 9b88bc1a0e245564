"""The shape of a text model. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bestguess.command import UserError
from bestguess.config import added
from bestguess.nn.config import AttentionKernel, DesignConfig, Positions

Architecture = Literal["encoder-decoder", "decoder-only", "prefix-lm"]


@dataclass(frozen=True)
class TextModelConfig(DesignConfig):
    """The transformer that reads a source and predicts a target."""

    architecture: Architecture = "encoder-decoder"
    """Encoder-decoder; decoder-only, which reads source and target as one sequence; or prefix-lm, a decoder-only \
model whose source tokens attend to one another in both directions."""
    layers: int = 2
    """Number of transformer blocks; an encoder-decoder has as many on each side."""
    d_model: int = 64
    """Width of the residual stream (features)."""
    positions: Positions = "rope"
    """Positional encoding: RoPE, one learned vector per position, sinusoids, or none (an encoder then reads its \
tokens in no order). An encoder-decoder's target continues where its source ends, as in one sequence."""
    dropout: float = 0.0
    """Dropout rate of the embedding and of each sub-layer's output."""
    attention_dropout: float = 0.0
    """Dropout rate of the attention weights."""
    token_noise: float = added(0.0)
    """Fraction of the tokens read that training replaces by an earlier one of the same sequence; what is predicted \
stays as it is. Against overfitting, as dropout is (Xie et al., 2017)."""
    tied: bool = True
    """Use the token embedding as the output projection as well."""
    attention: AttentionKernel = "auto"
    """Kernel of causal self-attention. On a GPU in bfloat16, auto selects fused for up to 128 tokens and head sizes \
up to 64, else cudnn; elsewhere xla. Masked attention (encoder, prefix, cross-attention) always uses xla."""

    @property
    def random(self) -> bool:
        """Whether a training step draws anything beside its documents."""
        return bool(self.dropout or self.attention_dropout or self.token_noise)

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if the shape is impossible."""
        super().check()
        if not 0 <= self.token_noise < 1:
            raise UserError(f"--token-noise {self.token_noise:g}: a fraction of tokens, at least 0 and below 1")
        if self.architecture == "prefix-lm" and self.attention in ("cudnn", "fused"):
            raise UserError(f"--attention {self.attention}: causal only; with --architecture prefix-lm choose auto")
        if self.attention_dropout and self.attention in ("cudnn", "fused"):
            raise UserError(f"--attention {self.attention}: has no --attention-dropout; choose auto")
