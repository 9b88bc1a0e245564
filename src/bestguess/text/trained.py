"""What a run's training adds to its record: costs, its curve, and how much it takes from the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.family import Trained
from bestguess.text.ablations import with_another_source, without_source
from bestguess.text.costs import corpus_bytes, document_flops, state_bytes, utilisation
from bestguess.text.evaluate import Evaluation, Predictor, nats_of
from bestguess.text.model import parameters
from bestguess.text.packing import documents_per_row
from bestguess.text.start import began
from bestguess.text.task import About

KEPT = 1024
"""Test documents whose own losses are kept, the first ones."""


def record(training: Trained, i: int, curve: Sequence[Mapping[str, Any]], losses: Evaluation) -> dict[str, Any]:
    """Return costs, the validation curve, and losses by document."""
    config, about = training.runs[i].config, training.tasks[i].about
    count = parameters(config.model, about.vocab, (about.source_width, about.target_width), about.marked)
    used, per_row = utilisation(config, about.training), documents_per_row(config, about.training)
    return {
        "nats_per_token": losses.loss,
        "constant_nats_per_token": _constant(losses, about),
        "document_nats": [round(float(one), 3) for one in losses.nats.sum(axis=1)[:KEPT]],
        "document_tokens": losses.pairs.target_length[:KEPT].tolist(),
        "parameters": count.total,
        "parameters_without_vocabulary": count.without_vocabulary,
        "flops_per_document": document_flops(config, about.vocab, about.source_width, about.target_width),
        "processed_per_document": used.processed,
        "utilisation": used.share,
        **_measured(training, i, count.total, used.processed, per_row),
        "curve": {
            "documents": [round(line["sequences"] * per_row) for line in curve],
            "nats_per_token": [round(float(line["loss"]), 5) for line in curve],
        },
        "start": began(config, about),
    }


def _constant(losses: Evaluation, about: About) -> float:
    """The loss of the best constant on the very tokens that are scored (nats per token)."""
    return -float(about.log_constant.astype(np.float64)[losses.pairs.target[losses.there]].mean())


def _measured(
    training: Trained, i: int, weights: int, processed: float, per_row: float = 1.0
) -> dict[str, float | int | None]:
    """Return seconds, speed and memory of one run, as this process measured them; None where it trained nothing."""
    config, learnt, about = training.runs[i].config, training.learnt, training.tasks[i].about
    names = ("seconds_per_document", "tokens_per_second", "peak_bytes", "state_bytes", "working_bytes")
    if not learnt.run_steps:
        return dict.fromkeys(names)
    seconds = learnt.seconds / learnt.run_steps / config.train.batch_size / per_row
    shared = corpus_bytes(about.vocab, about.training, about.validation)
    peak = (learnt.peak_bytes - shared) / learnt.runs_together
    state = state_bytes(config.train, weights)
    return dict(zip(names, (seconds, processed / seconds, peak, state, peak - state)))


def source_dependence(about: About, predictor: Predictor, losses: Evaluation) -> dict[str, float | None]:
    """Return the loss with other sources less that with the documents' own (nats per token); windows have none.

    shuffled: every document has another one's source. empty: a source of length 0.
    """
    found: dict[str, float | None] = {"shuffled": None, "empty": None}
    if about.window:
        return found
    ways = {"empty": without_source} | ({"shuffled": with_another_source} if len(losses.pairs) > 1 else {})
    for name, way in ways.items():
        nats = nats_of(about, predictor, way(losses.pairs))
        found[name] = float(nats.sum()) / losses.tokens - losses.loss
    return found
