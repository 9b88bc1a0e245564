"""The attention page: the texts of some documents, every head's weights on them, one model or two, in one offline file.

Weights travel as bytes, 255 √w, packed by gzip in base64: a step is 0.4 % of full weight at the top, and small weights,
of which there are most, keep three digits of their square root's range.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bestguess.command import UserError
from bestguess.files import plain, write_text
from bestguess.report.page import FOOTER, asset, document
from bestguess.text.attention.explained import COLUMNS, alignment, glossary, lead
from bestguess.text.attention.gold import gold_of
from bestguess.text.attention.weights import KINDS, Blocks, block_names, blocks_of
from bestguess.text.evaluate import ModelPredictor, evaluate
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.task import About
from bestguess.text.tokens import EOS

END = "⟨end⟩"
"""How the end of a target is shown."""
MOST_BYTES = 96 << 20
"""Weights that a page may hold: a browser unpacks those of one document at a time, but parses all."""


class Shown(NamedTuple):
    """A model on the page."""

    name: str
    about: About
    model: TextModel
    figures: Mapping[str, Any]
    """As `attention_figures`."""


def rendered(models: Sequence[Shown], documents: Sequence[int]) -> str:
    """Return the page as HTML. Everything in it that comes from a corpus or a user is escaped, and set as text.

    models: one or two of one corpus. documents: indices of test documents. UserError where the page would be too large.
    """
    chosen = [_picked(one.about, documents) for one in models]
    size = sum(_bytes(one.model, about.test) for one, about in zip(models, chosen))
    if size > MOST_BYTES:
        most = max(1, len(documents) * MOST_BYTES // size)
        raise UserError(
            f"--shown {len(documents)}: the weights of so many documents take {size / 1e6:.0f} MB, which a browser "
            f"opens slowly; give {most} or less"
        )
    packed, losses = [], []
    for one, about in zip(models, chosen):
        packed.append([pack(blocks) for blocks in blocks_of(one.model, about.test)])
        losses.append(evaluate(about, ModelPredictor(one.model), len(about.test)))
    about = chosen[0]
    golds, told = gold_of(about, about.test), []
    for i, (index, gold) in enumerate(zip(documents, golds)):
        n = int(about.test.target_length[i])
        told.append(
            {
                "index": index,
                "source": pieces(about, about.test.source[i, : about.test.source_length[i]]),
                "target": pieces(about, about.test.target[i, :n]),
                "aligned": None if gold.aligned is None else gold.aligned,
                "models": [
                    {
                        "nats": of.nats[i, :n],
                        "floor": None if of.floor is None else of.floor[i, :n],
                        "regret": None if of.regret is None else of.regret[i, :n],
                    }
                    for of in losses
                ],
            }
        )
    told_of = [_model(one, "AB"[m] if len(models) > 1 else "") for m, one in enumerate(models)]
    dialogues = about.known is not None and about.known.task == "dialogue"
    data = {
        "documents": told,
        "models": told_of,
        "columns": [[name, *told] for name, told in COLUMNS.items()],
    }
    weights = "".join(
        f'<script type="text/plain" id="w-{i}-{m}">{of[i]}</script>'
        for m, of in enumerate(packed)
        for i in range(len(documents))
    )
    title = "Attention weights"
    body = (
        f"<main><h1>{title}</h1>"
        f"{lead(about.name, models[0].figures['documents'], about.known is not None, dialogues)}"
        "<noscript><p>This page needs JavaScript.</p></noscript>"
        f'{_BAR}<div id="panes"></div>{alignment([(one["name"], of.figures) for one, of in zip(told_of, models)])}'
        f'<h2 id="heads">Heads</h2>{_TABLE}{_filter(told_of)}'
        '<div class="scroll"><table><thead><tr id="head"></tr></thead><tbody id="rows"></tbody></table></div>'
        f'{glossary()}{_KEYS}{FOOTER}</main><script type="application/json" id="data">{embedded(data)}</script>'
        f"{weights}<script>{asset('page.js', __package__)}</script>"
    )
    return document(title, body, asset("page.css", __package__))


_BAR = (
    '<div class="bar"><button id="back" type="button">← Back</button><span id="place" role="status"></span>'
    '<button id="next" type="button">Next →</button>'
    '<button id="arcs" type="button" aria-pressed="false">All gold arcs</button></div>'
)
_KEYS = (
    "<h2>Keys</h2><p><kbd>←</kbd> <kbd>→</kbd> token; <kbd>↑</kbd> source, <kbd>↓</kbd> target; <kbd>n</kbd> "
    "<kbd>p</kbd> next and previous document; <kbd>e</kbd> encoder self-attention, <kbd>d</kbd> decoder "
    "self-attention, <kbd>c</kbd> cross-attention, or the same parts of a decoder-only model; "
    "<kbd>[</kbd> <kbd>]</kbd> previous and next head there, <kbd>m</kbd> the mean of its heads; "
    "<kbd>g</kbd> all gold arcs; <kbd>Esc</kbd> deselect the "
    "token. The address keeps the document, token and heads that are shown.</p>"
)
_TABLE = (
    "<p>Measured on test documents; a dash marks a measure that does not apply. Click a column to sort by it, a row to "
    "show its head. The head with the largest value of each measure, chosen on validation documents:</p>"
    "<p id='best'></p>"
)


def _filter(models: Sequence[Mapping[str, Any]]) -> str:
    """Return the buttons that show the rows of one block; models that name it differently share one."""
    labels = {kind: " / ".join(dict.fromkeys(one["blocks"][kind] for one in models)) for kind in KINDS}
    buttons = (
        f"<button type='button' data-kind='{kind}' aria-pressed='{'false' if kind else 'true'}'>{label}</button> "
        for kind, label in {"": "all", **labels}.items()
    )
    return f"<p class='filter' role='group' aria-label='Rows that are shown'>{''.join(buttons)}</p>"


def _model(one: Shown, letter: str) -> dict[str, Any]:
    first = one.model.decoder.blocks
    best = one.figures["best"].get("gold_token_mass")
    columns = ("kind", "layer", "head", *COLUMNS)
    return {
        "name": f"{letter}: {one.name}" if letter else one.name,
        "blocks": block_names(one.model),
        "layers": len(first),
        "heads": first[0].attention.heads,
        "start": {
            "encoder": [0, 0],
            "decoder": [0, 0],
            "cross": [0, 0] if best is None else [best["layer"], best["head"]],
        },
        "about": f"{_kind(one.model)} layers of {first[0].attention.heads} heads",
        "best": [
            [COLUMNS[name][0], of["kind"], of["layer"], of["head"], of["value"]]
            for name, of in one.figures["best"].items()
        ],
        "rows": [{name: row[name] for name in columns} for row in one.figures["heads"]],
    }


def _kind(model: TextModel) -> str:
    """Return what a model is and how many layers it has."""
    count = len(model.decoder.blocks)
    if model.encoder is not None:
        return f"encoder-decoder, {count} + {count}"
    return f"{'prefix LM' if model.prefix else 'decoder-only'}, {count}"


def _picked(about: About, documents: Sequence[int]) -> About:
    """Return the corpus with these test documents alone."""
    return dataclasses.replace(about, test=about.test[np.asarray(documents)])


def _bytes(model: TextModel, pairs: Pairs) -> int:
    """Return the weights of documents without their padding, a byte each."""
    S, U = pairs.source_length.astype(np.int64), pairs.target_length.astype(np.int64)
    heads = len(model.decoder.blocks) * model.decoder.blocks[0].attention.heads
    return int(heads * (S * S + U * U + U * S).sum())


def pack(blocks: Blocks) -> str:
    """Return the weights of a document, block by block, as bytes 255 √w, by gzip in base64."""
    parts = [np.rint(255 * np.sqrt(np.clip(getattr(blocks, kind), 0, 1))).astype(np.uint8) for kind in KINDS]
    return base64.b64encode(gzip.compress(b"".join(part.tobytes() for part in parts), 6, mtime=0)).decode()


def pieces(about: About, tokens: np.ndarray) -> list[list[str]]:
    """Return [what stands before it, its text] of each token; all together they are the text, as far as tokens are."""
    alone = [END if token == EOS else about.decode(tokens[i : i + 1]) for i, token in enumerate(tokens)]
    if about.known is None:
        whole = about.decode(tokens[tokens != EOS])
        spaced = "".join(one for one, token in zip(alone, tokens) if token != EOS) != whole
        return [[" " if spaced and i else "", one] for i, one in enumerate(alone)]
    found = []
    for i, one in enumerate(alone):
        speaks = about.known.task == "dialogue" and alone[i + 1 : i + 2] == [":"]
        gap = "" if i == 0 or one in (".", ",", "?", ":") else "\n" if speaks else " "
        found.append([gap, one])
    return found


def embedded(value: Any) -> str:
    """Return a value as JSON that cannot end its script element: no "<" is left in it. Figures have five digits."""
    text = json.dumps(_rounded(plain(value)), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def write_page(path: Path, models: Sequence[Shown], documents: Sequence[int]) -> Path:
    """Write the page, whole or not at all, and return its path."""
    return write_text(path, rendered(models, documents))
