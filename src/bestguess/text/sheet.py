"""A blind sheet for people: what two runs write for the same documents, side by side, in one file that opens offline.

Which run is A differs from document to document. The page has the key, but in a form that nobody reads by chance: the
sheet is blind by courtesy.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bestguess.command import UserError
from bestguess.files import write_text
from bestguess.report.page import FOOTER, asset, document
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.task import About
from bestguess.text.written import write

VERSION = 1
"""Of the key and of the votes."""
CHOICES = ("A", "B", "same")


class Side(NamedTuple):
    """A run of the comparison."""

    name: str
    about: About
    model: TextModel


@dataclass(frozen=True)
class Item:
    """A document of the sheet."""

    document: int
    """Its index in the test part."""
    source: str
    first: str
    """What the first run wrote."""
    second: str
    swapped: bool
    """Whether the second run is A."""


@dataclass(frozen=True)
class Sheet:
    """The documents of a sheet in the order in which they are shown."""

    runs: tuple[str, str]
    items: tuple[Item, ...]
    identical: int
    """Drawn documents that both runs write the same text for: left out."""
    seed: int

    def key(self) -> str:
        """Return which run is A in each document, in base64."""
        told = {
            "version": VERSION,
            "runs": self.runs,
            "documents": [one.document for one in self.items],
            "swapped": [int(one.swapped) for one in self.items],
            "identical": self.identical,
            "seed": self.seed,
        }
        return base64.b64encode(json.dumps(told).encode()).decode()


def name_of(key: str) -> str:
    """Return what a sheet is called by, 12 hexadecimal digits that follow from its key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def swapped(seed: int, document: int) -> bool:
    """Return whether the second run is A in a document: a bit of a hash."""
    return bool(hashlib.sha256(f"sheet {seed}:{document}".encode()).digest()[0] & 1)


def compare(sides: tuple[Side, Side], config: GenerationConfig, documents: int, seed: int) -> Sheet:
    """Return what two runs write for test documents drawn at random, both with the same settings.

    UserError unless both have the same test documents, as texts, and so many of them.
    """
    count = common(sides)
    if documents > count:
        raise UserError(
            f"--documents {documents}: the runs have {count} test documents in common; give {count} or less"
        )
    chosen = np.random.default_rng(seed).permutation(count)[:documents]
    texts = []
    for one in sides:
        found = write(one.about, one.model, config, one.about.asked[chosen], judge=False)
        texts.append([found.text(i) for i in range(documents)])
    about = sides[0].about
    items = tuple(
        Item(i, _source(about, about.asked, i), first, second, swapped(seed, i))
        for i, first, second in zip(chosen.tolist(), *texts)
        if first != second
    )
    if not items:
        raise UserError(f"--documents {documents}: both runs write the same text for each of them; give more")
    return Sheet((sides[0].name, sides[1].name), items, documents - len(items), seed)


def common(sides: tuple[Side, Side]) -> int:
    """Return how many test documents two runs have in common, the first of each; UserError if any of them differ."""
    a, b = sides
    if a.about.name != b.about.name:
        raise UserError(
            f"{b.name}: was trained on {b.about.name}, and {a.name} on {a.about.name}; give two runs of one corpus"
        )
    count = min(len(a.about.asked), len(b.about.asked))
    for i in range(count):
        if any(told(a.about, a.about.asked, i) != told(b.about, b.about.asked, i) for told in (_source, _target)):
            raise UserError(
                f"{b.name}: its test document {i} is not that of {a.name}; give two runs whose corpora are split, "
                "tokenized and cut alike"
            )
    return count


def _source(about: About, pairs: Pairs, i: int) -> str:
    return about.decode(pairs.source[i, : pairs.source_length[i]])


def _target(about: About, pairs: Pairs, i: int) -> str:
    return about.decode(pairs.target[i, : pairs.target_length[i] - 1])


def write_sheet(path: Path, sheet: Sheet, question: str) -> Path:
    """Write the sheet as one HTML file, and return its path."""
    return write_text(path, rendered(sheet, question))


def rendered(sheet: Sheet, question: str) -> str:
    """Return the sheet as HTML. Everything in it that comes from a corpus, a model or a user is escaped."""
    title = "Which text is better?"
    articles = "".join(_article(one, i, len(sheet.items)) for i, one in enumerate(sheet.items))
    key = sheet.key()
    body = (
        f'<main data-key="{key}" data-sheet="{name_of(key)}"><h1>{title}</h1>'
        f'<div class="lead"><p>{html.escape(_lead(sheet))}</p></div>'
        "<noscript><p>Voting needs JavaScript.</p></noscript>"
        f'<ol class="strip" aria-label="Documents"></ol>{articles}<section class="vote">'
        f'<h2 id="question" dir="auto">{html.escape(question)}</h2>'
        f'<div class="choices" role="group" aria-labelledby="question">{_buttons()}</div>'
        '<label>Comment on this document<textarea id="comment" rows="2" dir="auto"></textarea></label>'
        '<div class="ways"><button id="back" type="button">← Back</button><span id="place" role="status"></span>'
        '<button id="next" type="button">Next →</button></div></section>'
        '<section class="save"><label>Your name or initials, if you like<input id="rater" dir="auto"></label>'
        '<button id="save" type="button">Save the votes</button>'
        "<p>Votes are kept in this page alone, until it is closed or loaded anew. Save them as a file, <code>votes.json"
        f"</code>, and hand that in. Nothing is sent anywhere.</p></section>{FOOTER}</main>"
        f"<script>{asset('sheet.js', __package__)}</script>"
    )
    return document(title, body, asset("sheet.css", __package__))


def _lead(sheet: Sheet) -> str:
    n = len(sheet.items)
    more = f"{sheet.identical} more {'are' if sheet.identical > 1 else 'is'}"
    left_out = f" {more} left out, since both wrote the same." if sheet.identical else ""
    return (
        f"Two models wrote a text for each of {n} document{'s' * (n > 1)}. Which of them is A changes at random from "
        f"document to document.{left_out} Keys: 1 for A, 2 for B, 0 for no difference; "
        "← and → go from document to document."
    )


def _buttons() -> str:
    told = {"A": "A <kbd>1</kbd>", "B": "B <kbd>2</kbd>", "same": "No difference <kbd>0</kbd>"}
    return "".join(
        f'<button type="button" data-vote="{one}" aria-pressed="false">{told[one]}</button>' for one in CHOICES
    )


def _article(item: Item, i: int, count: int) -> str:
    a, b = (item.second, item.first) if item.swapped else (item.first, item.second)
    return (
        f'<article data-document="{item.document}"><h2>Document {i + 1} of {count}</h2>{_text(item.source)}'
        f'<div class="pair"><div><h3>A</h3>{_text(a)}</div><div><h3>B</h3>{_text(b)}</div></div></article>'
    )


def _text(text: str) -> str:
    shown = html.escape(text) if text.strip() else "<em>(no text)</em>"
    return f'<p class="text" dir="auto">{shown}</p>'
