"""Figures of texts, and how sure a mean over documents is. Imports nothing heavy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# ------------------------------------------------------------------------------------------ ROUGE


class Score(NamedTuple):
    """What a text shares with its reference, from 0 to 1."""

    precision: float
    """As a fraction of the text."""
    recall: float
    """As a fraction of the reference."""
    f: float
    """Their harmonic mean."""


ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
"""Names in code, which are those of rouge-score, and in print."""


def words(text: str) -> list[str]:
    """Return the runs of letters and digits of a text, in lower case, without stemming."""
    return re.findall(r"[^\W_]+", text.lower())


def rouge(reference: str, text: str) -> dict[str, Score]:
    """Return ROUGE-1, -2, -L and -Lsum (Lin, 2004), by the names in `ROUGE`.

    Texts are split by `words` and not stemmed; the sentences of -Lsum are lines. Of text in ASCII this is what the
    package rouge-score returns with its stemmer off, which takes no other letters.
    """
    ours, theirs = words(text), words(reference)
    lines = [[words(line) for line in of.split("\n")] for of in (reference, text)]
    shared = {
        "rouge1": (_shared_ngrams(theirs, ours, 1), len(ours), len(theirs)),
        "rouge2": (_shared_ngrams(theirs, ours, 2), len(ours) - 1, len(theirs) - 1),
        "rougeL": (int(_lcs_table(theirs, ours)[-1, -1]), len(ours), len(theirs)),
        "rougeLsum": (_shared_in_lines(*lines), len(ours), len(theirs)),
    }
    return {name: _score(*counts) for name, counts in shared.items()}


def rouge_of_documents(references: Sequence[str], texts: Sequence[str]) -> dict[str, Float[np.ndarray, "n 3"]]:
    """Return `rouge` of each document: by name, precision, recall and F."""
    if len(references) != len(texts):
        raise ValueError(f"{len(references)} references for {len(texts)} texts")
    scores = [rouge(*both) for both in zip(references, texts)]
    return {name: np.array([one[name] for one in scores], float).reshape(-1, 3) for name in ROUGE}


def _score(shared: int, of_text: int, of_reference: int) -> Score:
    if not shared:
        return Score(0.0, 0.0, 0.0)
    precision, recall = shared / of_text, shared / of_reference
    return Score(precision, recall, 2 * precision * recall / (precision + recall))


def _ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _shared_ngrams(reference: list[str], text: list[str], n: int) -> int:
    return (Counter(_ngrams(reference, n)) & Counter(_ngrams(text, n))).total()


def _lcs_table(a: list[str], b: list[str]) -> Int[np.ndarray, "I J"]:
    """Return the lengths of the longest common subsequences of the first i tokens of a and the first j of b."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    for i, token in enumerate(a, start=1):
        same = np.array([token == other for other in b], np.int64)
        # The largest of (i − 1, j), (i − 1, j − 1) with this pair, and what stands to the left, of which it is one.
        table[i, 1:] = np.maximum.accumulate(np.maximum(table[i - 1, 1:], table[i - 1, :-1] + same))
    return table


def _common(a: list[str], b: list[str]) -> set[int]:
    """Return the places in a of one longest common subsequence: that of rouge-score, where there are several."""
    table, i, j, places = _lcs_table(a, b), len(a), len(b), set()
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return places


def _shared_in_lines(reference: list[list[str]], text: list[list[str]]) -> int:
    """Return the tokens of each reference line that lie in the union of its subsequences with the text's lines.

    A token counts no more often than it occurs in either (the ROUGE-1.5.5 script; not in the paper).
    """
    left = Counter(token for line in text for token in line) & Counter(token for line in reference for token in line)
    shared = 0
    for line in reference:
        for place in set().union(*(_common(line, other) for other in text)):
            shared += left[line[place]] > 0
            left[line[place]] -= 1
    return shared


# ------------------------------------------------------------------------------------------ repetition


def distinct(texts: Sequence[Sequence[Hashable]], n: int) -> float:
    """Return the distinct n-grams of all texts as a fraction of their n-grams (Li et al., 2016); NaN of none."""
    ngrams = [one for tokens in texts for one in _ngrams(tokens, n)]
    return len(set(ngrams)) / len(ngrams) if ngrams else math.nan


def repetition(tokens: Sequence[Hashable], n: int = 4) -> float:
    """Return the fraction of a text's n-grams that stood in it before; NaN if it has fewer than n tokens."""
    return 1 - distinct([tokens], n)


# ------------------------------------------------------------------------------------------ means over documents


class Estimate(NamedTuple):
    """A figure of all documents and its interval."""

    mean: float
    low: float
    high: float


Documents = Float[np.ndarray, " n"] | Int[np.ndarray, " n"]


def bootstrap(
    values: Documents,
    others: Documents | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Return the mean over documents, or the mean difference `values − others` of pairs, and its bootstrap interval.

    As `bootstrap_ratio`.
    """
    if others is not None:
        values = -np.diff(np.stack([values, others]), axis=0)[0]
    return bootstrap_ratio(values, np.ones(len(values)), resamples=resamples, seed=seed, level=level)


def bootstrap_ratio(
    values: Documents, others: Documents, *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Return the ratio of the means of `values` and `others` over the same documents, and its bootstrap interval.

    Documents are drawn with replacement, each with both of its values. The interval is BCa: bias-corrected and
    accelerated (Efron, 1987); where all documents have one ratio, it is a point.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"a bootstrap of {n} documents: give two at least")
    both = np.stack([values, others], axis=1).astype(float)
    total = both.sum(axis=0)
    drawn, rng = [], np.random.default_rng(seed)
    for start in range(0, resamples, chunk := max(1, _MOST_DRAWN // n)):
        drawn.append(both[rng.integers(n, size=(min(chunk, resamples - start), n))].sum(axis=1))
    sums = np.concatenate(drawn)
    without = total - both
    if min(total[1], sums[:, 1].min(), without[:, 1].min()) <= 0:
        raise ValueError("the mean that is divided by is not apart from 0, so its ratio has no interval")
    found, of_draws, of_others = total[0] / total[1], sums[:, 0] / sums[:, 1], without[:, 0] / without[:, 1]
    if np.ptp(of_others) <= 1e-12 * abs(found):
        return Estimate(float(found), float(found), float(found))
    low, high = np.quantile(of_draws, _bca_levels(found, of_draws, of_others, level))
    return Estimate(float(found), float(low), float(high))


_MOST_DRAWN = 1 << 20
"""Documents drawn at once."""


def perplexity_ratio(
    nats: Documents,
    others: Documents,
    tokens: Documents,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Return the perplexity of one model divided by another's on the same tokens, and its bootstrap interval.

    nats, others: each document's summed loss by the two models. tokens: how many of it are scored, the same for both.
    """
    difference = -np.diff(np.stack([nats, others]), axis=0)[0]
    exponents = bootstrap_ratio(difference, tokens, resamples=resamples, seed=seed, level=level)
    return Estimate(*(math.exp(one) for one in exponents))


def bits_per_byte(nats: float, count: int) -> float:
    """Return a summed loss in bits for each of `count` bytes: it compares models whose tokens differ."""
    return nats / (count * math.log(2))


def _bca_levels(
    found: float, of_draws: Float[np.ndarray, " resamples"], of_others: Float[np.ndarray, " n"], level: float
) -> list[float]:
    """Return the quantiles of the draws at which the BCa interval begins and ends.

    of_others: the figure without each document.
    """
    normal = NormalDist()
    below = (np.mean(of_draws < found) + np.mean(of_draws <= found)) / 2
    least = 0.5 / len(of_draws)
    bias = normal.inv_cdf(float(np.clip(below, least, 1 - least)))
    pull = of_others.mean() - of_others
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    ends = [bias + normal.inv_cdf(tail) for tail in ((1 - level) / 2, (1 + level) / 2)]
    return [normal.cdf(bias + end / (1 - acceleration * end)) for end in ends]
