"""Checks of how a sequence model was trained and tested.

Each is a function of the protocol, and of what was measured in the file. What a check needs and the protocol does not
tell makes it "not checked", never "passed".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from bestguess.rolls.protocol import Part, Protocol
from bestguess.rolls.repeats import BY_CHANCE, Repeats
from bestguess.rolls.spans import NONE, both, gap, size, spans

PASSED: Literal["passed"] = "passed"
FAULT: Literal["fault"] = "fault"
NOT_CHECKED: Literal["not checked"] = "not checked"


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    check: str
    verdict: Literal["passed", "fault", "not checked"]
    says: str
    fix: str = ""
    """What to change; of a check that was not made, what to tell."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured in the file, if anything was."""


@dataclass(frozen=True)
class Data:
    """A file of values, as the checks ask for it; parts are spans."""

    n: int
    sha256: Callable[[], str]
    counts: Callable[[np.ndarray], np.ndarray]
    """Part → counts by value, int64 [65536]."""
    search: Callable[[np.ndarray, np.ndarray], Repeats | None]
    """(training part, test part) → the test values that stand in training too."""


# ------------------------------------------------------------------------------------------ windows


def check_training_windows(protocol: Protocol) -> Finding:
    """Is each training value a target once in one pass? Only then is the first pass itself a test."""
    return _windows(
        "training windows",
        "training",
        protocol,
        "the losses of one pass are no test, since the model has seen the values before",
        "visit windows at least `window` values apart, each once (a permutation), or rely on the test part alone",
    )


def check_test_windows(protocol: Protocol) -> Finding:
    """Is each test value a target once?"""
    return _windows(
        "test windows",
        "test",
        protocol,
        "values that are counted twice are no further evidence, and standard errors come out too small",
        "set the stride of the test windows to `window` or more",
    )


def _windows(check: str, name: str, protocol: Protocol, effect: str, fix: str) -> Finding:
    part, window = getattr(protocol, name), protocol.window
    if part is None:
        return _not_told(check, name)
    if part.with_replacement:
        return Finding(check, FAULT, f"windows are drawn with replacement: {effect}", fix)
    if window is None:
        return _not_told(check, "window")
    if part.starts is not None:
        apart = np.diff(np.sort(np.asarray(part.starts, np.int64)))
        close = int((apart < window).sum())
        if close:
            many = f"{close:,} of {len(part.starts):,} windows begin less than {window:,} values after another one"
            return Finding(check, FAULT, f"{many}: {effect}", fix)
        return Finding(check, PASSED, f"{len(part.starts):,} windows at least {window:,} values apart")
    if part.stride is None:
        return _not_told(check, f"{name}.stride")
    if part.stride < window and part.start + part.stride < part.stop:
        times = -(-window // part.stride)
        many = f"windows of {window:,} values begin every {part.stride:,}, so a value is a target up to {times:,} times"
        return Finding(check, FAULT, f"{many}: {effect}", fix)
    if name == "training" and part.with_replacement is None:
        return _not_told(check, f"{name}.with_replacement")
    return Finding(check, PASSED, f"windows of {window:,} values begin every {part.stride:,}")


def check_test_targets(protocol: Protocol) -> Finding:
    """Are there as many test values as predictions that are counted as independent?"""
    check, part, targets = "test targets", protocol.test, protocol.targets
    if targets is None or part is None:
        return _not_told(check, "targets" if targets is None else "test")
    touched = part.spans(protocol.window, protocol.heads)
    if touched is None:
        return _not_told(check, "window" if protocol.window is None else "heads")
    available, heads = size(touched), protocol.heads or 1
    if targets <= available:
        return Finding(check, PASSED, f"{targets:,} targets in {available:,} test values")
    says = f"{targets:,} predictions are counted as independent, and the test part has {available:,} values"
    if heads > 1:
        says += (
            f". {heads} heads that predict the same value are not {heads} observations: 4 heads counted as 4n alarm in "
            "13.6 % of iid files at a level of 1 %"
        )
    return Finding(check, FAULT, says, "count each test value once; test each head by itself, and average their E")


# ------------------------------------------------------------------------------------------ bins


def check_bins(protocol: Protocol) -> Finding:
    """Are the bins computed from training values alone?"""
    check, bins = "bins", protocol.bins
    if bins is not None and bins.edges is not None and not len(bins.edges):
        return Finding(check, PASSED, "no bins")
    if bins is None or bins.fitted_on is None:
        return _not_told(check, "bins" if bins is None else "bins.fitted_on")
    fitted, missing = _touched(bins.fitted_on, protocol), []
    for name in ("test", "validation"):
        part = getattr(protocol, name)
        there = None if part is None else _touched(part, protocol)
        if there is None or fitted is None:
            missing.append(name if part is None else "window" if protocol.window is None else "heads")
        elif shared := size(both(fitted, there)):
            return Finding(check, FAULT, f"fitted on {shared:,} {name} values. {_BINS_EFFECT}", _BINS_FIX)
    if missing:
        return _not_told(check, missing[0])
    return Finding(check, PASSED, "fitted on no validation or test values")


_BINS_EFFECT = "Losses and accuracies in such bins are no test; a bet on the order within blocks stays valid"
_BINS_FIX = "compute the edges from the training part alone"


def check_bin_edges(protocol: Protocol, data: Data | None, why: str) -> Finding:
    """Are the edges quantiles of the training values, or of the whole file?"""
    check, bins, training = "bin edges", protocol.bins, protocol.training
    if bins is None or bins.edges is None:
        return _not_told(check, "bins" if bins is None else "bins.edges")
    if not len(bins.edges):
        return Finding(check, PASSED, "no bins")
    if training is None:
        return _not_told(check, "training")
    if data is None:
        return Finding(check, NOT_CHECKED, why, "give the file with --u16-path")
    own = _touched(training, protocol)
    if own is None:
        return _not_told(check, "window" if protocol.window is None else "heads")
    if not size(own) or own[-1, 1] > data.n:
        return _outside(check, "training", data.n)
    start, end = int(own[0, 0]), int(own[-1, 1])
    validation = None if protocol.validation is None else _touched(protocol.validation, protocol)
    later = end if validation is None or not len(validation) else min(data.n, max(end, int(validation[-1, 1])))
    # The narrowest first: where several fit, the edges tell nothing against the training part.
    candidates = {
        "the training values": own,
        "the training and validation values": spans(np.array([start]), np.array([later])),
        "the whole file": spans(np.array([0]), np.array([data.n])),
    }
    fits = {name: matched(bins.edges, data.counts(one)) for name, one in candidates.items()}
    total = len(bins.edges)
    figures = {"edges": total, "matched": fits}
    source = next((name for name, many in fits.items() if many == total), None)
    if source is None:
        says = f"{fits['the training values']} of {total} edges are quantiles of the training values, " + (
            f"{fits['the whole file']} of the whole file: they follow another rule"
        )
        return Finding(check, NOT_CHECKED, says, "tell bins.fitted_on", figures)
    if source != "the training values":
        says = f"all {total} edges are quantiles of {source}, {fits['the training values']} of the training values"
        return Finding(check, FAULT, f"{says}. {_BINS_EFFECT}", _BINS_FIX, figures)
    also = " and of the whole file" if fits["the whole file"] == total else ""
    return Finding(check, PASSED, f"all {total} edges are quantiles of the training values{also}", figures=figures)


def matched(edges: Sequence[int | float], counts: np.ndarray) -> int:
    """Return how many edges are equal-mass quantiles of values with these counts.

    Conventions differ in which ends are listed, in rounding, and in whether an edge is its bin's last value or the
    next one's first: the best convention counts, and an edge may be off by one value and 1.5 ranks.
    """
    below = np.concatenate([[0], np.cumsum(counts)])  # values less than u
    found, top = np.asarray(edges, float), len(counts)
    low = below[np.clip(np.ceil(found) - 1, 0, top).astype(np.int64)] - 1.5
    high = below[np.clip(np.floor(found) + 1, 0, top).astype(np.int64)] + 1.5
    m = len(found)
    conventions = [np.arange(1, m + 1) / (m + 1), np.arange(m) / m, np.arange(1, m + 1) / m]
    if m > 1:
        conventions.append(np.arange(m) / (m - 1))
    ranks = [level * below[-1] for level in conventions]
    return max(int(((low <= one) & (one <= high)).sum()) for one in ranks)


# ------------------------------------------------------------------------------------------ rows


def check_training_rows(protocol: Protocol) -> Finding:
    """Do training, validation and test part share values, or lie closer than a window?"""
    check = "training rows"
    names = ("training", "validation", "test")
    told = {name: part for name in names if (part := getattr(protocol, name)) is not None}
    where = {name: there for name, part in told.items() if (there := _touched(part, protocol)) is not None}
    fix = "cut training | gap | validation | gap | test, with gaps of max(window, heads) values or more"
    close = []
    for one, other in (("training", "test"), ("training", "validation"), ("validation", "test")):
        if one not in where or other not in where:
            continue
        if shared := size(both(where[one], where[other])):
            says = f"{shared:,} {other} values are {one} values, as context or target: what is seen there is no test"
            return Finding(check, FAULT, says, fix)
        close.append((gap(where[one], where[other]), one, other))
    missing = [name for name in ("window", "heads") if getattr(protocol, name) is None]
    reach = max(protocol.window or 0, protocol.heads or 0)
    for between, one, other in close:
        if between is not None and between < reach:
            says = f"the gap between {one} and {other} is {between:,} values, and windows reach {reach:,}: they overlap"
            return Finding(check, FAULT, says, fix)
    missing = [name for name in names if name not in told] + missing
    if missing:
        return _not_told(check, missing[0])
    return Finding(check, PASSED, f"no shared values, and gaps of {reach:,} values or more")


# ------------------------------------------------------------------------------------------ repeats


def check_repeats(protocol: Protocol, data: Data | None, why: str) -> Finding:
    """Do runs of test values stand in the training part too?"""
    check = "repeats"
    if protocol.training is None or protocol.test is None:
        return _not_told(check, "training" if protocol.training is None else "test")
    if data is None:
        return Finding(check, NOT_CHECKED, why, "give the file with --u16-path")
    training, test = _touched(protocol.training, protocol), _touched(protocol.test, protocol)
    if training is None or test is None:
        return _not_told(check, "window" if protocol.window is None else "heads")
    for name, there in (("training", training), ("test", test)):
        if not len(there) or there[-1, 1] > data.n:
            return _outside(check, name, data.n)
    found = data.search(training, test)
    if found is None:
        says = "the values repeat so much by themselves, or are so few, that no length tells a copy from chance"
        return Finding(check, NOT_CHECKED, says)
    figures = asdict(found)
    compared = f"1 in {found.one_in} " if found.one_in > 1 else "all "
    chance = f"expected by chance: at most {found.expected:.1g} ({found.independent:.1g} if values were independent)"
    if not found.found or found.at is None:
        says = f"none of {found.length} values or more ({compared}{found.length}-grams compared; {chance})"
        return Finding(check, PASSED, says, figures=figures)
    one = "1 run" if found.found == 1 else f"{found.found:,} runs"
    says = (
        f"{one} of {found.length} or more test values, {found.values:,} values in all, are in the training part too; "
        f"{chance}. The longest has {found.longest:,} values: index {found.at[1]:,}, and {found.at[0]:,} in training. "
        f"Probability by chance: at most {_tail(found):.1g}. Causes: a copied block, a reused seed, a wrapped nonce"
    )
    return Finding(check, FAULT, says, "remove the copies, or test on values that are drawn anew", figures)


def _tail(found: Repeats) -> float:
    """Return a bound on P(X ≥ found) for a Poisson X: mean^k/k! ≤ (e·mean/k)^k."""
    mean = min(found.expected, BY_CHANCE)
    exponent = min(found.found, 100) * (1 + np.log(max(mean, 1e-300) / min(found.found, 100)))
    return min(mean, float(np.exp(max(exponent, -690.0))))


# ------------------------------------------------------------------------------------------ the statistic


def check_peeking(protocol: Protocol) -> Finding:
    """Was a statistic that holds at one fixed sample size looked at several times?"""
    check, looks, statistic = "peeking", protocol.looks, protocol.statistic
    if statistic is None:
        return Finding(check, PASSED, "1 look") if looks == 1 else _not_told(check, "statistic")
    if statistic == "e-process":
        return Finding(check, PASSED, "an e-process holds at all sample sizes at once")
    if looks is None:
        return _not_told(check, "looks")
    if looks == 1:
        return Finding(check, PASSED, "1 look")
    name = "z test" if statistic == "z" else statistic
    says = f"{looks:,} looks at a {name}, whose level holds for 1. A z test at 1 % alarms in 15.6 % of iid files at 100"
    return Finding(check, FAULT, f"{says} looks", "look once, at a size that is set before, or use an e-process")


def check_best_of_many(protocol: Protocol) -> Finding:
    """Was the best of several tries reported, or anything chosen on test values?"""
    check = "best of many"
    tries, combined = protocol.tries, protocol.combined
    if protocol.selected_on == "test":
        says = "weights, rates or stopping were chosen on the test part, which is then a validation part"
        return Finding(check, FAULT, says, "choose on the validation part, and test once, on other values")
    if tries is not None and tries > 1 and combined == "best":
        says = (
            f"the best of {tries:,} tries is reported. The best of 20 alarms in 18.5 % of iid files at a level of 1 %"
        )
        return Finding(
            check, FAULT, says, "report the mean of E over all tries, or test one, chosen on validation values"
        )
    missing = "tries" if tries is None else "combined" if tries > 1 and combined is None else None
    missing = missing or ("selected_on" if protocol.selected_on is None else None)
    if missing:
        return _not_told(check, missing)
    return Finding(check, PASSED, "1 try" if tries == 1 else f"the mean of {tries:,} tries")


def check_file(protocol: Protocol, data: Data | None, why: str) -> Finding:
    """Is the file the one that the protocol tells of?"""
    check = "file"
    if data is None:
        return Finding(check, NOT_CHECKED, why, "give the file with --u16-path")
    fix = "give the file that was trained on with --u16-path"
    if protocol.values is not None and protocol.values != data.n:
        return Finding(check, FAULT, f"the file has {data.n:,} values, the protocol's {protocol.values:,}", fix)
    if protocol.sha256 is None:
        return _not_told(check, "sha256")
    if (now := data.sha256()) != protocol.sha256:
        return Finding(check, FAULT, f"the file's SHA-256 is {now[:12]}…, the protocol's {protocol.sha256[:12]}…", fix)
    if protocol.values is None:
        return _not_told(check, "values")
    return Finding(check, PASSED, "length and SHA-256 are those of the protocol")


# ------------------------------------------------------------------------------------------ helpers


def _not_told(check: str, key: str) -> Finding:
    return Finding(check, NOT_CHECKED, f"{key} is not told", f"add {key} to the protocol")


def _outside(check: str, name: str, n: int) -> Finding:
    says = f"the {name} part is empty, or reaches past the file's {n:,} values"
    return Finding(check, NOT_CHECKED, says, "give the file that was trained on with --u16-path")


def _touched(part: Part, protocol: Protocol) -> np.ndarray | None:
    """Return the part's values, as spans, none past the file's end as it is told; None where that takes more keys."""
    found = part.spans(protocol.window, protocol.heads)
    if found is None or protocol.values is None:
        return found
    return both(found, spans(np.array([0]), np.array([protocol.values]))) if len(found) else NONE
