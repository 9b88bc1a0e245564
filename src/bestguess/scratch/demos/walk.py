"""A walk through a GPT's architecture: what each stage makes of one text, and which characters attention reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.scratch.demos.data import Vocabulary
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.engine.layers import Module
from bestguess.scratch.engine.node import Array, topological_order
from bestguess.scratch.fast.gpt import FastGPT


def attention_weights(model: FastGPT, tokens: Sequence[int]) -> Array:
    """Return (layers, heads, T, T): what each query (row) reads from each key; rows sum to 1.

    The engine's own GPT computes them on the way, and its graph remembers them.
    """
    simple = GPT(model.config)
    for p, trained in zip(simple.parameters(), model.parameters(), strict=True):
        p.data = trained.data
    graph = topological_order(simple(np.array([tokens])))
    return np.concatenate([node.data for node in graph if node.name == "weights"])


@dataclass(frozen=True)
class Stage:
    """A stage of the model: what goes out of it, and how many parameters it has."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    does: str


def architecture(model: FastGPT, text: str, vocabulary: Vocabulary) -> list[Stage]:
    """Return the stages that `text` goes through, in order; their parameters are all that the model has."""
    c, T = model.config, len(text)
    tokens = vocabulary.encode(text)
    weights = attention_weights(model, tokens)
    tables = model.token_embedding.data.size + model.position_embedding.data.size
    out = [
        Stage("tokens", (1, T), 0, f"each character as an integer: {text[0]!r} is {tokens[0]}"),
        Stage("embedding", (1, T, c.d_model), tables, "a vector for each character, plus one for its place"),
    ]

    def size(*modules: Module) -> int:
        return sum(module.count() for module in modules)

    for i, block in enumerate(model.blocks, 1):
        reads = []
        for head in range(c.heads):
            best = int(weights[i - 1, head, -1].argmax())
            reads.append(f"{text[best]!r} {100 * weights[i - 1, head, -1, best]:.0f} %")
        does = f"{c.heads} heads; {text[-1]!r}, the last, reads most of " + ", ".join(reads)
        out.append(Stage(f"block {i}: attention", (1, T, c.d_model), size(block.attention_norm, block.attention), does))
        does = f"each place alone: {c.d_model} to {4 * c.d_model} numbers, GELU, and back"
        inner = size(block.feed_forward_norm, block.feed_forward)
        out.append(Stage(f"block {i}: feed-forward", (1, T, c.d_model), inner, does))
    logits = model(np.array([tokens])).data[0, -1].astype(float)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    best = int(p.argmax())
    says = f"the end {100 * p[best]:.1f} %" if best < 2 else f"{vocabulary.decode([best])!r} {100 * p[best]:.1f} %"
    does = f"a number for each of {c.vocab} tokens; likeliest after {text[-1]!r}: {says}"
    out.append(Stage("norm and head", (1, T, c.vocab), size(model.norm, model.head), does))
    return out
