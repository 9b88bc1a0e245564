"""What the three experiments on files of values test, as the heads of their YAMLs state it. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import (
    At,
    Contrast,
    Difference,
    Experiment,
    Factor,
    Hypothesis,
    Mean,
    Measure,
    Proportion,
    Reading,
)
from bestguess.rolls.config import RollsConfig

# ------------------------------------------------------------------------------------------ measures


def _alarm(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(figures["alarm"])


def _evidence(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(figures["log10_m"])


def _over_marginal(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    """Of the live weights: those that validation selects may be the untrained ones, which are the marginal."""
    return Reading(figures["first_pass_bits"] - figures["first_pass_marginal_bits"])


def _reached(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    if figures["regret"] is None:
        return Reading(math.nan)
    return Reading(float(figures["top1"] >= 0.99 * figures["ceiling_top1"]))


def _share(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.nan if figures["regret"] is None else figures["top1"] / figures["ceiling_top1"])


def _regret(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.log(figures["regret"]))


def _top1(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    """One value more than were right, so that none has a logarithm."""
    return Reading(math.log(figures["top1"] + 1 / figures["values"]))


def _gap(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(figures["gap_bits"])


def _spike(config: RollsConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(figures["loss_spike"])


def _plain(value: Any) -> Any:
    return value


ALARM = Measure("alarm", "alarms", "of files", _alarm, "alarm", "alarms (fraction of files)", _plain)
EVIDENCE = Measure(
    "evidence",
    "evidence of the model alone",
    "log10",
    _evidence,
    "evidence",
    "evidence of the model alone (log10)",
    _plain,
)
OVER = Measure(
    "over",
    "bits of the first pass over the marginal's",
    "bits",
    _over_marginal,
    "over",
    "bits per value in the first pass over the marginal's",
    _plain,
)
REACHED = Measure(
    "reached",
    "99 % of the oracle's top-1",
    "of files",
    _reached,
    "reached",
    "files with 99 % of the oracle's top-1 (fraction)",
    _plain,
)
SHARE = Measure("share", "top-1 over the oracle's", "fraction", _share, "share", "top-1 over the oracle's", _plain)
REGRET = Measure("regret", "regret", "ln", _regret, "regret", "regret (bits per value)", np.exp, log=True)
REGRET_HIGH = Measure(
    "regret_high",
    "regret at the highest rate",
    "ln",
    _regret,
    "regret_high",
    "regret at the highest rate (bits per value)",
    np.exp,
    log=True,
    rate="highest",
)
TOP1 = Measure("top1", "top-1 accuracy", "ln", _top1, "top1", "top-1 accuracy", np.exp, log=True)
GAP = Measure("gap", "gap to training", "bits", _gap, "gap", "bits on test less those on training windows", _plain)
SPIKE = Measure(
    "spike",
    "largest rise of the training loss, highest rate",
    "nats",
    _spike,
    "spike",
    "largest rise of the training loss at the highest rate (nats)",
    _plain,
    rate="highest",
)

# ------------------------------------------------------------------------------------------ false alarms

NULLS = {
    "A": ("uniform values", "iid alphabet=256"),
    "B": ("values of a Zipf law", "iid alphabet=256 law=zipf"),
    "C": ("two values", "iid alphabet=2"),
    "D": ("10,001 values in adaptive bins", "iid alphabet=10001"),
    "E": ("a slow drift", "drift alphabet=256 amount=0.2 period=20000"),
}
"""Files whose past does not help, by the letter of their hypotheses."""
OVERCONFIDENT = "train.learning_rate=1 train.warmup_steps=0 train.schedule=constant"

_FILES = {source: what for what, source in NULLS.values()}
SOURCE = Factor("task.source", "file of", label=lambda level: _FILES.get(level, level))
TRAINED = Factor(
    "change", "training", base="nothing", label=lambda level: "as usual" if level == "nothing" else "overconfident"
)


def _false_alarms(name: str, source: str, trained: str, claim: str) -> Hypothesis:
    contrast: Contrast = {"task.source": At(source), "change": At(trained)}
    return Hypothesis(name, claim, contrast, "", ("alarm",), proportion=Proportion(at_most=0.01))


# ------------------------------------------------------------------------------------------ power

_LARGE = (
    "model.layers=4 model.d_model=256 model.heads=8 model.dtype=bfloat16 train.batch_size=128 train.steps=10000 "
    "train.learning_rate=0.001"
)
_MEDIUM = "model.layers=2 model.d_model=128 model.heads=4 train.steps=6000"
LEARNT = {
    "lcg16": "task.source='lcg modulus=65536 drop=0' task.tokens=raw task.n=1048576 task.test_samples=1024 "
    "train.steps=4000",
    "lcg16-cut-short": "task.source='lcg modulus=65536 drop=8' task.n=131072",
    "lcg16-cut": f"task.source='lcg modulus=65536 drop=8' task.n=1048576 {_MEDIUM}",
    "lcg16-cut-large": f"task.source='lcg modulus=65536 drop=8' task.n=1048576 {_LARGE}",
    "lcg20-cut": f"task.source='lcg modulus=1048576 drop=10' task.n=2097152 {_LARGE}",
    "lcg20-cut-bits": f"task.source='lcg modulus=1048576 drop=10' task.n=2097152 task.tokens=bits {_LARGE}",
    "lcg24-cut": f"task.source='lcg modulus=16777216 drop=16' task.n=2097152 task.test_samples=4096 {_LARGE}",
    "minstd": f"task.source='lcg modulus=2147483647 multiplier=48271 increment=0 drop=23' task.n=2097152 {_LARGE}",
    "pcg16": f"task.source='pcg state_bits=16 bits=8' task.n=1048576 {_LARGE}",
    "pcg64": f"task.source='pcg bits=8' task.n=1048576 {_MEDIUM}",
    "xorshift-bits": f"task.source='xorshift bits=12' task.n=1048576 task.tokens=bits task.test_samples=4096 {_MEDIUM}",
    "xorshift-raw": f"task.source='xorshift bits=12' task.n=1048576 task.tokens=raw task.test_samples=4096 {_MEDIUM}",
    "parity3": f"task.source='noisy-parity span=3' task.n=1048576 {_MEDIUM}",
    "parity6": f"task.source='noisy-parity span=6' task.n=1048576 {_MEDIUM}",
    "markov": "task.source='markov alphabet=64' task.n=131072",
    "hmm": "task.source=hmm task.n=131072",
    "halves05-short": "task.source='halves epsilon=0.05' task.n=15000 task.test=0.2 train.batch_size=4 train.steps=400 "
    "train.warmup_steps=10",
    "halves05": "task.source='halves epsilon=0.05' task.n=131072 task.test=0.2 task.test_samples=262144 "
    "train.batch_size=16",
    "halves02": "task.source='halves epsilon=0.02' task.n=1048576 task.test=0.2 task.test_samples=262144 "
    "train.batch_size=16 train.steps=6000",
    "period1009": "task.source='periodic alphabet=256 period=1009' task.n=131072",
    "period10007": "task.source='periodic alphabet=256 period=10007' task.n=131072 train.steps=6000",
}
"""What is learnt, and with what, by a short name: levels of `change`."""
_NAMES = {level: name for name, level in LEARNT.items()}
WHAT = Factor("change", "what is learnt", label=lambda level: _NAMES.get(level, level))


def _learns(name: str, claim: str, what: str, measure: str, most: bool = True) -> Hypothesis:
    """Return the claim that most files reach a measure, or that most do not."""
    bound = Proportion(at_least=0.5) if most else Proportion(at_most=0.5)
    return Hypothesis(name, claim, {"change": At(LEARNT[what])}, "", (measure,), proportion=bound)


# ------------------------------------------------------------------------------------------ the guide

WIDE = "hmm alphabet=4096 states=4 stay=0.95 concentration=0.05"
LEARNABLE = (
    "markov alphabet=256 concentration=0.1",
    WIDE,
    "lcg modulus=4096 drop=4",
    "halves alphabet=256 epsilon=0.3",
)
_BOTH = "train.schedule=cosine train.warmup_steps=150"
ALL = (
    f"model.positions=rope model.activation=swiglu model.d_ff=168 model.norm_place=pre {_BOTH} task.tokens=adaptive "
    "objective.noise=0.05 objective.masking=0.1 objective.label_smoothing=0.1 train.patience=5"
)
"""All of the guide's improvements but the capacity."""
SWIGLU = "model.activation=swiglu model.d_ff=168"
"""With as many parameters as the base."""
CAPACITY = "model.d_model=192 model.d_ff=768"
_CHANGES = {
    "nothing": "the base",
    "model.positions=rope": "RoPE",
    "model.positions=none": "no positions",
    SWIGLU: "SwiGLU",
    "model.activation=gelu": "GELU",
    "model.norm_place=pre": "pre-norm",
    "model.norm_place=none": "no norm",
    "train.warmup_steps=150": "warm-up",
    "train.schedule=cosine": "cosine",
    _BOTH: "cosine with warm-up",
    "task.tokens=adaptive": "adaptive bins",
    "objective.noise=0.05": "noise",
    "objective.masking=0.1": "masking",
    "objective.label_smoothing=0.1": "label smoothing",
    "train.patience=5": "early stopping",
    CAPACITY: "nine times the weights",
    "train.batch_size=128 train.accumulate=4": "batch × 4",
    ALL: "all of them",
}
IMPROVEMENT = Factor("change", "change", base="nothing", label=lambda level: _CHANGES.get(level, level))
_LEARNABLE = dict(zip(LEARNABLE, ("Markov", "hidden Markov", "LCG", "halves")))
IN_WHAT = Factor("task.source", "file:", label=lambda level: _LEARNABLE.get(level, level))


def _over_sources(change: str, than: str = "nothing") -> Contrast:
    return {"task.source": Mean(), "change": Difference(change, than)}


def _lower(name: str, claim: str, change: str, measure: str, than: str = "nothing") -> Hypothesis:
    """Return the claim that a change alone makes a measure smaller, in the mean over the sources."""
    return Hypothesis(name, claim, _over_sources(change, than), "", (measure,), direction=-1)


EXPERIMENTS = {
    "rolls_false_alarms": Experiment(
        title="False alarms",
        question="Of files whose past does not help, how many does a trained model call predictable at a level of 1 %?",
        factors=(SOURCE, TRAINED),
        measures=(ALARM, EVIDENCE, OVER),
        hypotheses=(
            *(
                _false_alarms(f"H1{letter.lower()}", source, "nothing", f"At most 1 % of files alarm: {what}.")
                for letter, (what, source) in NULLS.items()
            ),
            *(
                _false_alarms(
                    f"H2{letter.lower()}", source, OVERCONFIDENT, f"At most 1 % alarm, overconfident: {what}."
                )
                for letter, (what, source) in NULLS.items()
            ),
            *(
                Hypothesis(
                    f"H3{letter.lower()}",
                    f"Overconfident is wrong: {what}.",
                    {"task.source": At(source), "change": At(OVERCONFIDENT)},
                    "",
                    ("over",),
                )
                for letter, (what, source) in NULLS.items()
            ),
        ),
        small=(
            "task.source=" + ",".join(source for _, source in NULLS.values()),
            *("train.first_seed=0,1,2,3", "train.steps=100", "train.warmup_steps=10", "train.validate_every=50"),
        ),
        tuned=False,
    ),
    "rolls_power": Experiment(
        title="What a transformer finds",
        question="Which generators and dependences does a transformer find in one file, and with what?",
        factors=(WHAT,),
        measures=(
            Measure("detected", "detected", "of files", _alarm, "detected", "files detected (fraction)", _plain),
            REACHED,
            EVIDENCE,
            SHARE,
        ),
        hypotheses=(
            _learns("H1", "A full LCG of m = 2^16 is learnt, raw.", "lcg16", "reached"),
            _learns("H2a", "A period of 1,009 is learnt.", "period1009", "reached"),
            _learns("H2b", "A period of 10,007 is learnt.", "period10007", "reached"),
            _learns("H3a", "The upper 8 bits of m = 2^16 are learnt.", "lcg16-cut-large", "reached"),
            _learns("H3b", "The same are detected by a medium model.", "lcg16-cut", "detected"),
            _learns("H3c", "The same are detected in two periods.", "lcg16-cut-short", "detected"),
            _learns("H4a", "The upper 10 bits of m = 2^20 are learnt.", "lcg20-cut", "reached"),
            _learns("H4b", "The same are learnt through bits.", "lcg20-cut-bits", "reached"),
            _learns("H5", "The upper 8 bits of m = 2^24 are detected.", "lcg24-cut", "detected"),
            _learns("H6", "The top 8 bits of minstd are detected.", "minstd", "detected"),
            _learns("H7a", "PCG with a state of 16 bits is detected.", "pcg16", "detected"),
            _learns("H7b", "PCG with a state of 64 bits is not.", "pcg64", "detected", most=False),
            _learns("H8a", "xorshift128 is detected through bits.", "xorshift-bits", "detected"),
            _learns("H8b", "xorshift128 is not detected as tokens.", "xorshift-raw", "detected", most=False),
            _learns("H9a", "A noisy parity of 3 bits is detected.", "parity3", "detected"),
            _learns("H9b", "A noisy parity of 6 bits is not.", "parity6", "detected", most=False),
            _learns("H10a", "A Markov chain is detected in 131,072 values.", "markov", "detected"),
            _learns("H10b", "A hidden Markov chain is, in 131,072 values.", "hmm", "detected"),
            _learns("H11a", "Halves of ε = .05: in 15,000 values.", "halves05-short", "detected"),
            _learns("H11b", "Halves of ε = .05: in 131,072 values.", "halves05", "detected"),
            _learns("H11c", "Halves of ε = .02: in 1,048,576 values.", "halves02", "detected"),
        ),
        small=(
            "train.first_seed=0,1",
            "then=task.n=4000 task.test_samples=128 task.window=16 model.layers=1 model.d_model=16 model.heads=2 "
            "train.batch_size=4 train.steps=20 train.warmup_steps=2 train.validate_every=10 "
            "train.validation_sequences=4",
        ),
        tuned=False,
    ),
    "rolls_guide": Experiment(
        title="The training guide, one improvement at a time",
        question="By how much does each improvement of the training guide help alone, on files in which something can "
        "be learnt?",
        factors=(IMPROVEMENT, IN_WHAT),
        measures=(REGRET, TOP1, GAP, REGRET_HIGH, SPIKE),
        hypotheses=(
            _lower("H1a", "RoPE helps: less regret than learned positions.", "model.positions=rope", "regret"),
            _lower("H1b", "Learned positions help beside none.", "nothing", "regret", "model.positions=none"),
            _lower("H2a", "SwiGLU helps: less regret than ReLU.", SWIGLU, "regret"),
            _lower("H2b", "GELU helps: less regret than ReLU.", "model.activation=gelu", "regret"),
            _lower("H3a", "Pre-norm helps beside post-norm.", "model.norm_place=pre", "regret"),
            _lower("H3b", "Post-norm helps beside none.", "nothing", "regret", "model.norm_place=none"),
            _lower("H4a", "Warm-up helps.", "train.warmup_steps=150", "regret"),
            _lower("H4b", "A cosine schedule helps.", "train.schedule=cosine", "regret"),
            _lower("H4c", "A cosine schedule with warm-up helps.", _BOTH, "regret"),
            Hypothesis(
                "H5",
                "Adaptive bins help beside uniform ones, of 4,096 values.",
                {"task.source": At(WIDE), "change": Difference("task.tokens=adaptive", "nothing")},
                "",
                ("regret",),
                direction=-1,
            ),
            _lower("H6a", "Noise helps.", "objective.noise=0.05", "regret"),
            _lower("H6b", "Masking helps.", "objective.masking=0.1", "regret"),
            _lower("H6c", "Label smoothing helps.", "objective.label_smoothing=0.1", "regret"),
            _lower("H6d", "Early stopping helps.", "train.patience=5", "regret"),
            _lower("H7", "Nine times the parameters help.", CAPACITY, "regret"),
            _lower("H8", "Batches four times as large help.", "train.batch_size=128 train.accumulate=4", "regret"),
            _lower("H9", "All of them together help.", ALL, "regret"),
            Hypothesis(
                "H10",
                "All of them give 15 % more top-1 accuracy or more.",
                _over_sources(ALL),
                "",
                ("top1",),
                beyond=math.log(1.15),
            ),
            _lower("H11a", "Pre-norm is more stable at a high rate.", "model.norm_place=pre", "spike"),
            _lower("H11b", "Warm-up is more stable at a high rate.", "train.warmup_steps=150", "spike"),
            _lower("H11c", "All of them are more stable at a high rate.", ALL, "spike"),
            _lower("H12a", "Noise reduces overfitting.", "objective.noise=0.05", "gap"),
            _lower("H12b", "Masking reduces overfitting.", "objective.masking=0.1", "gap"),
            _lower("H12c", "Label smoothing reduces overfitting.", "objective.label_smoothing=0.1", "gap"),
            _lower("H12d", "Early stopping reduces overfitting.", "train.patience=5", "gap"),
            _lower("H12e", "All of them reduce overfitting.", ALL, "gap"),
        ),
        small=(
            f"task.source={WIDE}",
            "train.first_seed=0,1",
            "train.learning_rate=0.003,0.009",
            "then=task.n=4000 task.window=16 task.test_samples=128 model.layers=1 model.d_model=16 model.d_ff=32 "
            "model.heads=2 train.steps=20 train.warmup_steps=2 train.validate_every=10 train.batch_size=4 "
            "train.accumulate=1 train.validation_sequences=4",
        ),
    ),
}
