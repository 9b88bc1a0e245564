"""The command `text attention`: figures of every head, the page, heat maps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestguess.command import UserError, check_range
from bestguess.files import check_writable, plain
from bestguess.report.progress import results_table
from bestguess.report.render import save_png
from bestguess.text.answers import source_line
from bestguess.text.attention.figures import attention_figures
from bestguess.text.attention.heatmaps import heatmaps
from bestguess.text.attention.page import Shown, write_page
from bestguess.text.attention.tables import best_table, swaps_table
from bestguess.text.attention.weights import KINDS, block_names, blocks_of
from bestguess.text.commands import side
from bestguess.text.evaluate import ModelPredictor, evaluate
from bestguess.text.generation import GenerationConfig
from bestguess.text.sheet import Side, common
from bestguess.text.trained import source_dependence

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.text.flags import AttentionFlags

PAGE = "attention.html"
MEASURED = 256
"""Test documents that heads are measured on, at most."""


def attention(flags: AttentionFlags, console: Console) -> dict[str, Any]:
    """Write the page and the heat maps; return where they are, and the figures of every head."""
    check_range("--shown", flags.shown, 1)
    if flags.run2 is None and flags.number2 is not None:
        raise UserError(f"--number2 {flags.number2}: selects a run of a second folder; give RUN2")
    sides = [side(flags.run, "--number", flags.number)]
    if flags.run2 is not None:
        sides.append(side(flags.run2, "--number2", flags.number2))
    if any(one.about.window for one in sides):
        raise UserError(
            f"{flags.run}: reads windows of one text, which have no source and target; give a run on documents"
        )
    count = common((sides[0], sides[-1]))
    if flags.documents is not None and not 2 <= flags.documents <= count:
        raise UserError(f"--documents {flags.documents}: from 2, for a standard error, to {count}, the test documents")
    if not 0 <= flags.index < count:
        raise UserError(f"--index {flags.index}: the test part has documents 0 to {count - 1}")
    page = flags.out or flags.run / PAGE
    places = _places(page, len(sides)) if flags.heatmaps else []
    check_writable(page, "HTML")
    for path in (path for own in places for path in own.values()):
        check_writable(path, "PNG")
    measured = min(MEASURED, count) if flags.documents is None else flags.documents
    with console.status("measuring"):
        models = [_shown(one, measured) for one in sides]
        sources = [_dependence(one, measured) for one in sides]
    documents = range(flags.index, min(flags.index + flags.shown, count))
    with console.status("writing"):
        path = write_page(page, models, documents)
        pictures = [path for one, own in zip(models, places) for path in _pictures(one, own, flags.index)]
    for one, source in zip(models, sources):
        console.print(one.name, soft_wrap=True)
        console.print(results_table(*best_table(one.figures)))
        if one.figures["causal"] is not None:
            console.print(results_table(*swaps_table(one.figures)))
        console.print(source_line(source), soft_wrap=True)
    console.print(f"page: {path}", soft_wrap=True)
    figures = [{**one.figures, "source": source} for one, source in zip(models, sources)]
    found: dict[str, Any] = {"page": path, "heatmaps": pictures, **figures[0]}
    if len(models) > 1:
        found["second"] = figures[1]
    return plain(found)


def _shown(one: Side, documents: int) -> Shown:
    found = attention_figures(one.about, one.model, GenerationConfig(), documents)
    return Shown(one.name, one.about, one.model, found)


def _dependence(one: Side, documents: int) -> dict[str, float | None]:
    """Return by how much the loss rises without a document's own source: weights alone do not tell."""
    predictor = ModelPredictor(one.model)
    return source_dependence(one.about, predictor, evaluate(one.about, predictor, documents))


def _places(page: Path, models: int) -> list[dict[str, Path]]:
    """Return where each model's heat maps go, by kind: beside the page."""
    numbers = [f"_{m + 1}" if models > 1 else "" for m in range(models)]
    return [{kind: page.parent / f"{page.stem}_{kind}{number}.png" for kind in KINDS} for number in numbers]


def _pictures(one: Shown, places: dict[str, Path], index: int) -> list[Path]:
    """Write a model's heat maps of one document, and return their paths."""
    pairs = one.about.test[index : index + 1]
    (blocks,) = blocks_of(one.model, pairs)
    drawn = heatmaps(one.about, pairs, 0, blocks, block_names(one.model))
    return [
        save_png(dataclasses.replace(drawn[kind], title=f"{drawn[kind].title}: {one.name}"), path)
        for kind, path in places.items()
    ]
