"""How text is generated. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from bestguess.command import UserError, check_range
from bestguess.config import MOST, flag

Strategy = Literal["greedy", "sample", "beam"]

_OF_STRATEGY: dict[str, Strategy] = {
    "temperature": "sample",
    "top_k": "sample",
    "top_p": "sample",
    "beams": "beam",
    "length_penalty": "beam",
}


@dataclass(frozen=True)
class GenerationConfig:
    """How text is generated."""

    strategy: Strategy = "greedy"
    """The most probable token each time, a random one, or beam search."""
    temperature: float = 1.0
    """What the logits are divided by before a token is drawn."""
    top_k: int = 0
    """Number of most probable tokens to draw from; 0 for all."""
    top_p: float = 1.0
    """Probability mass of the most probable tokens to draw from, after --top-k: the fewest that reach it; 1 for all."""
    beams: int = 4
    """Number of beams."""
    length_penalty: float = 0.6
    """Exponent α of the length penalty: sequences are ranked by log p / ((5 + tokens) / 6)^α; 0 ranks by log p."""
    max_tokens: int = 128
    """Number of tokens after which a sequence is cut, if it has not ended."""
    draw_seed: int = 0
    """Seed of what --strategy sample draws."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible or would do nothing."""
        for name, strategy in _OF_STRATEGY.items():
            default = next(one.default for one in fields(self) if one.name == name)
            if self.strategy != strategy and getattr(self, name) != default:
                raise UserError(
                    f"{flag(name)} {getattr(self, name)}: does nothing with --strategy {self.strategy}; "
                    f"add --strategy {strategy}"
                )
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"--temperature {self.temperature}: must be positive and finite; --strategy greedy is its limit at 0"
            )
        if self.top_k < 0:
            raise UserError(f"--top-k {self.top_k}: must not be negative; 0 draws from all tokens")
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p}: must lie in (0, 1]; 1 draws from all tokens")
        for name, most in (("beams", 1024), ("max_tokens", 1 << 20)):
            check_range(flag(name), getattr(self, name), 1, most)
        check_range("--length-penalty", self.length_penalty, 0, 5)  # beyond, that of long texts is no float32
        check_range("--draw-seed", self.draw_seed, 0, MOST)
