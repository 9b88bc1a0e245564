"""What a model writes for the sources of documents, and what is right in it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from bestguess.batches import in_batches
from bestguess.text.decode import generate
from bestguess.text.generation import GenerationConfig
from bestguess.text.judged import JudgedStories, JudgedSummaries, judged
from bestguess.text.metrics import distinct, repetition
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.summaries import rouge_by_length
from bestguess.text.task import About
from bestguess.text.tokens import EOS

_BATCH = 256
"""Documents whose targets are generated at once, at most."""
_BEAMS = 1024
"""Beams of all of them together, at most."""


@dataclass(frozen=True, eq=False)
class Written:
    """Targets that a model generated for documents."""

    about: About
    pairs: Pairs
    config: GenerationConfig
    tokens: np.ndarray
    """int32 [n, M]; EOS where it ended, PAD behind."""
    length: np.ndarray
    stopped: np.ndarray
    """Whether it ended by itself, bool [n]."""
    log_probability: np.ndarray
    """By the model (nats), float32 [n]."""
    judged: JudgedSummaries | JudgedStories | None
    """What the grammar says of it, where there is one."""

    def text(self, i: int) -> str:
        """Return a generated target as text, without its end."""
        return self.about.decode(_words(self.tokens[i, : self.length[i]]))

    def shares(self) -> dict[str, Any]:
        """Return how many targets were generated and how, how many ended, and how varied they and the corpus' are."""
        texts, references = (
            [_words(row[:length]).tolist() for row, length in zip(*of)]
            for of in ((self.tokens, self.length), (self.pairs.target, self.pairs.target_length))
        )
        return {
            "documents": len(self.tokens),
            "strategy": self.config.strategy,
            "stops": float(self.stopped.mean()),
            "mean_tokens": float(self.length.mean()),
            **_variety(texts),
            "reference": _variety(references),
        }

    def facts(self) -> dict[str, float | None] | None:
        """Return the fraction of each kind of fact that is right; None where no grammar can say."""
        return None if self.judged is None else self.judged.shares()

    def rouge(self) -> dict[str, Any] | None:
        """Return ROUGE of generated summaries, by length; None of what has no targets of its own."""
        references = self.about.references[: len(self.tokens)]
        if not references or self.about.known is not None:
            return None
        texts = [self.text(i) for i in range(len(self.tokens))]
        return rouge_by_length(references, texts, self.about.frequent)

    def samples(self, most: int) -> list[dict[str, Any]]:
        """Return the first documents with what was generated for them, every wrong fact marked."""
        found = []
        for i in range(min(most, len(self.tokens))):
            pairs = self.pairs
            source = self.about.decode(pairs.source[i, : pairs.source_length[i]])
            reference = self.about.decode(_words(pairs.target[i, : pairs.target_length[i]]))
            one: dict[str, Any] = {
                "source": source,
                "generated": self.text(i),
                "marked": self.text(i),
                "reference": reference,
            }
            if self.judged is not None:
                one |= {"marked": self.judged.marked(i), "facts": self.judged.told(i)}
            found.append(one)
        return found


def _variety(texts: list[list[int]]) -> dict[str, float | None]:
    """Return the distinct n-grams as a fraction of all, and the 4-grams that repeat in a text, None where too short."""
    repeated = [share for share in map(repetition, texts) if not math.isnan(share)]
    distinct_1, distinct_2 = (distinct(texts, n) for n in (1, 2))
    return {
        "distinct_1": None if math.isnan(distinct_1) else distinct_1,
        "distinct_2": None if math.isnan(distinct_2) else distinct_2,
        "repeated_4": float(np.mean(repeated)) if repeated else None,
    }


def _words(tokens: np.ndarray) -> np.ndarray:
    return tokens[:-1] if len(tokens) and tokens[-1] == EOS else tokens


def write(about: About, model: TextModel, config: GenerationConfig, pairs: Pairs, judge: bool = True) -> Written:
    """Return what a model writes for sources; a target is cut where the corpus' longest, or a window, would end.

    judge: whether the grammar says what is right in it; ValueError where it cannot say a source.
    """
    capped = dataclasses.replace(config, max_tokens=min(config.max_tokens, about.room(pairs.source.shape[1])))
    rows: list[list[np.ndarray]] = []
    most = max(1, _BEAMS // config.beams) if config.strategy == "beam" else _BATCH
    for places, count in in_batches(len(pairs), min(_BATCH, most)):
        source, length = jnp.asarray(pairs.source[places], jnp.int32), jnp.asarray(pairs.source_length[places])
        start = eqx.Partial(model.start_batch, source, length, capped.max_tokens)
        found = generate(start, model.step_batch, capped, places)
        rows.append([np.asarray(one)[:count] for one in found])
    tokens, lengths, stopped, log_p = (np.concatenate(parts) for parts in zip(*rows))
    tokens, verdict = tokens.astype(np.int32), None
    if about.known is not None and judge:
        verdict = judged(about.known, pairs, tokens, lengths - stopped)
    return Written(about, pairs, capped, tokens, lengths, stopped, log_p, verdict)


def written(about: About, model: TextModel, config: GenerationConfig, most: int) -> Written:
    """Return what a model writes for the first test documents."""
    return write(about, model, config, about.asked[: min(most, len(about.asked))])


def one_written(about: About, model: TextModel, config: GenerationConfig, source: np.ndarray) -> dict[str, Any]:
    """Return what a model writes for one source: text, log-probability, and its facts where they can be told.

    `unjudged`: why they cannot be, of a source that the grammar does not say; None.
    """
    padded = np.zeros((1, len(source) if about.window else about.source_width), np.int32)
    padded[0, : len(source)] = source
    blank = np.full((1, about.target_width), EOS, np.int32)
    pairs = Pairs(padded, np.array([len(source)], np.int32), blank, np.ones(1, np.int32))
    found, unjudged, facts = write(about, model, config, pairs, judge=False), None, None
    if about.known is not None:
        try:
            facts = judged(about.known, pairs, found.tokens, found.length - found.stopped).told(0)
        except ValueError as error:
            unjudged = str(error).removeprefix("row 0: ")
    return {
        "text": found.text(0),
        "log_probability": float(found.log_probability[0]),
        "stopped": bool(found.stopped[0]),
        "facts": facts,
        "unjudged": unjudged,
    }
