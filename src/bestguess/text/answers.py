"""What the evaluations of a training come to: the figures of each run, by kind of token, facts, samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bestguess.family import Trained
from bestguess.task import skill
from bestguess.text.config import TextConfig
from bestguess.text.counts import beside
from bestguess.text.evaluate import Evaluation
from bestguess.text.model import parameters
from bestguess.text.packing import documents_per_row, packed
from bestguess.text.start import began
from bestguess.text.task import About
from bestguess.text.written import Written
from bestguess.train.folder import read_timing

SAMPLES = 6
"""Documents that are shown with what was generated for them."""
_KEPT = {"source": "source", "reference": "reference", "written": "marked"}
FACTS = {
    "names": "both names",
    "place": "place",
    "day": "day",
    "item": "item",
    "bringer": "who brings it",
    "chooser": "who chose the day, where it is said",
    "copied": "copied facts, all kinds together",
    "all_copied": "summaries with every copied fact right",
    "whole": "summaries wholly right",
    "label_of_oracle": "occasion, the likeliest one",
    "label": "occasion, the true one",
    "oracle_label": "occasion, the true one is the likeliest",
    "statements": "statements that are true",
    "read": "sentences that can be read",
}
"""Facts of what is generated, in words; each is a fraction of those that could be right."""


def notes(config: TextConfig, about: About) -> list[str]:
    """Return what is to be said of a corpus and a model before a training."""
    total = parameters(config.model, about.vocab, (about.source_width, about.target_width), about.marked).total
    corpus = (
        f"{about.name}: {len(about.training):,} training, {len(about.validation):,} validation, {len(about.test):,} "
        f"test documents; {about.vocab:,} tokens; sources of up to {about.source_width}, targets of up to "
        f"{about.target_width}"
    )
    if about.text is not None:
        corpus = (
            f"{about.name}: one text of {len(about.text):,} training tokens, {about.validation.target_length.sum():,} "
            f"validation tokens and {about.test.target_length.sum():,} test tokens, in windows of {about.window}; "
            f"{about.vocab:,} different ones"
        )
    said = [corpus, f"{config.model.architecture}: {total:,} parameters"]
    if config.task.windows and not config.task.test_fraction:
        said.append("--test-fraction 0: the test part is the validation part, which selects")
    if config.objective.packing:
        rows = packed(config, about.training)
        filled = (about.training.source_length + about.training.target_length).sum() / len(rows.rows) / sum(rows.widths)
        said.append(f"packing: {len(rows.rows):,} rows of {rows.documents_per_row:.1f} documents, {filled:.0%} full")
    counted = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in about.counts.items() if count)
    return [*said, counted] if counted else said


def record(losses: Evaluation, told: Written | None, about: About) -> dict[str, Any]:
    """Return one run's losses, its regret and skill where the oracle is known, and fractions of what was generated."""
    each, count = losses.nats.sum(axis=1), len(losses.pairs)
    kept: dict[str, Any] = {
        "documents": count,
        "tokens": losses.tokens,
        "nats_per_document": float(each.mean()),
        "standard_error": _error(each),
        "bits_per_token": losses.loss / math.log(2),
        "bits_per_byte": losses.bits_per_byte(about.test_bytes),
        "perplexity": math.exp(losses.loss),
        "top1": float(losses.hits.sum()) / losses.tokens,
        **dict.fromkeys(("regret_per_document", "regret_error", "floor_per_document", "ceiling_per_document", "skill")),
    }
    if losses.regret is not None:
        assert losses.floor is not None
        assert losses.ceiling is not None
        regret, floor, ceiling = (one.sum(axis=1) for one in (losses.regret, losses.floor, losses.ceiling))
        gained = float(skill(*(jnp.asarray(one.mean()) for one in (regret, floor, ceiling))))
        kept |= {
            "regret_per_document": float(regret.mean()),
            "regret_error": _error(regret),
            "floor_per_document": float(floor.mean()),
            "ceiling_per_document": float(ceiling.mean()),
            "skill": None if math.isnan(gained) else gained,
        }
    else:
        constant = about.log_constant.astype(np.float64)[losses.pairs.target[losses.there]]
        kept["constant_per_document"] = -float(constant.sum()) / count
    kept["kinds"] = kinds(losses, about)
    kept["generated"] = None if told is None else told.shares()
    kept["facts"] = None if told is None else told.facts()
    kept["rouge"] = None if told is None else told.rouge()
    return kept


def samples_of(told: Written) -> dict[str, list[str]]:
    """Return what is written for the first documents, beside sources and references, as an experiment keeps it."""
    samples = told.samples(SAMPLES)
    return {key: [one[name] for one in samples] for key, name in _KEPT.items()}


def _error(each: np.ndarray) -> float | None:
    return float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else None


def kinds(losses: Evaluation, about: About) -> dict[str, dict[str, float | int]]:
    """Return floor and regret (nats per document) and top-1 by kind of token; nothing where they have none."""
    if about.test_kinds is None or losses.regret is None:
        return {}
    assert losses.floor is not None
    found, count = {}, len(losses.pairs)
    of_token = np.where(losses.there, about.test_kinds[:count], -1)
    for kind, name in enumerate(about.kind_names):
        own = of_token == kind
        if own.any():
            found[name] = {
                "tokens": int(own.sum()),
                "floor": float(losses.floor[own].sum()) / count,
                "regret": float(losses.regret[own].sum()) / count,
                "top1": float(losses.hits[own].mean()),
            }
    return found


def figures(losses: Evaluation, told: Written | None, about: About) -> dict[str, Any]:
    """Return the record with what is told by place of the target."""
    shown = record(losses, told, about) | {"nats_by_position": losses.nats.mean(axis=0)}
    if losses.floor is not None and losses.regret is not None:
        shown |= {"floor_by_position": losses.floor.mean(axis=0), "regret_by_position": losses.regret.mean(axis=0)}
    if about.repeated is not None:
        shown["without_repeated"] = without_repeated(losses, about)
    return shown


def without_repeated(losses: Evaluation, about: About) -> dict[str, Any]:
    """Return how many test documents do not stand in the training part, and the loss on them."""
    assert about.repeated is not None
    own = ~about.repeated[: len(losses.pairs)]
    nats, tokens = float(losses.nats[own].sum()), int(losses.pairs.target_length[own].sum())
    return {"documents": int(own.sum()), "bits_per_token": nats / tokens / math.log(2) if tokens else None}


def source_line(source: Mapping[str, float | None] | None) -> str:
    """Return in a line by how much the loss rises with another document's source, and with none; "" of windows."""
    told = {"shuffled": "another document's source", "empty": "none"}
    rises = [f"{value:+.3f} with {told[name]}" for name, value in (source or {}).items() if value is not None]
    return f"change of the loss (nats per token): {', '.join(rises)}" if rises else ""


def results(training: Trained, losses: Sequence[Evaluation], told: Sequence[Written | None]) -> dict[str, Any]:
    """Return which run is shown, how many parameters it has, some of what it generates, and order-k counts."""
    shown = training.shown()
    config, about = training.runs[shown].config, training.tasks[shown].about
    own, timing = told[shown], read_timing(training.folder) or {}
    tokens = float((about.training.source_length + about.training.target_length).mean()) - bool(about.window)
    speed = timing.get("run_steps_per_second")
    tokens *= config.train.batch_size * documents_per_row(config, about.training)
    return {
        "tokens_per_second": None if speed is None else speed * tokens,
        "peak_bytes": timing.get("peak_bytes"),
        "shown": shown,
        "corpus": about.name,
        "sha256": about.sha256,
        "counts": dict(about.counts),
        "start": began(config, about),
        "parameters": parameters(
            config.model, about.vocab, (about.source_width, about.target_width), about.marked
        ).total,
        "order_k_counts": beside(about, losses[shown]),
        "samples": [] if own is None else own.samples(SAMPLES),
    }


def answer(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the run that is shown, and all the rest beside them."""
    own = evaluation["runs"][evaluation["shown"]]
    keys = (
        *("documents", "tokens", "nats_per_document", "standard_error", "regret_per_document", "regret_error"),
        *("floor_per_document", "ceiling_per_document", "skill", "bits_per_token", "bits_per_byte", "perplexity"),
        *("top1", "facts", "kinds", "generated"),
    )
    stops = None if own["generated"] is None else own["generated"]["stops"]
    later = {key: own.get(key) for key in ("rouge", "source")}  # results of before lack them
    return {key: own[key] for key in keys} | {"stops": stops} | later | dict(evaluation)
