"""Tokens that every corpus and every tokenizer has. Imports nothing heavy."""

from __future__ import annotations

PAD, BOS, SEP, EOS, UNK = range(5)
"""Behind a sequence's end; before its start; between source and target; a target's last token; unknown."""
SPECIAL = ("[PAD]", "[BOS]", "[SEP]", "[EOS]", "[UNK]")
"""Their names, by index: words, characters and bytes begin behind them."""
