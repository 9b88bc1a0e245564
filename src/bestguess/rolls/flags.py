"""The flags of the rolls commands. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from bestguess.family import Family
from bestguess.workflow.flags import TrainingFlags, config_flags


def _count(text: str) -> int:
    """Return an integer, also from `1e9`; exact, as a float is not above 2^53."""
    found = re.fullmatch(r"(\d{1,18})(?:\.(\d{1,18}))?(?:[eE]\+?(\d{1,2}))?", text, re.ASCII)
    whole, fraction, exponent = (one or "" for one in found.groups()) if found else ("", "", "")
    power = int(exponent or 0) - len(fraction)
    if not found or not 0 <= power <= 18:
        raise ValueError(f"{text} is not an integer such as 300000 or 1e9")
    return int(whole + fraction) * 10**power


_Count = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="COUNT",
        instance_from_str=lambda args: _count(args[0]),
        is_instance=lambda instance: isinstance(instance, int),
        str_from_instance=lambda instance: [str(instance)],
    ),
]


@dataclass(frozen=True)
class MakeFlags:
    """Write a file of uint16 values whose best possible prediction is known, and a side file with its floor.

    Interrupt it at any time and run it again: it resumes, and the bytes are the same. Each source has its own
    parameters and defaults; any other parameter is an error.
    """

    MOST: ClassVar[dict[str, int]] = {"n": 1 << 40, **dict.fromkeys(("modulus", "multiplier", "increment"), 1 << 32)}

    source: Literal[
        "dice-hmac", "iid", "markov", "hmm", "renewal", "deck", "noisy-parity", "lcg", "xorshift", "pcg", "mt19937",
        "lfsr", "periodic", "repeat", "halves", "drift",
    ] = "hmm"  # fmt: skip
    """Source of the values."""
    n: _Count = 300_000
    """Number of values, such as 1e9."""
    out: Path = Path("rolls.u16")
    """Output file. FILE.json beside it holds the source, its parameters, the floor and the SHA-256."""
    seed: int = 0
    """Random seed."""
    alphabet: int | None = None
    """Number of different values (iid, markov, hmm, renewal, deck, noisy-parity, periodic, repeat, halves,\
 drift)."""
    law: Literal["uniform", "zipf", "dirichlet"] | None = None
    """Law of the iid values."""
    exponent: float | None = None
    """Exponent of the Zipf law (iid)."""
    concentration: float | None = None
    """Concentration of the Dirichlet prior of the laws (iid, markov, hmm). Small: few likely values."""
    order: int | None = None
    """Order of the Markov chain (markov)."""
    states: int | None = None
    """Number of hidden states (hmm)."""
    stay: float | None = None
    """Probability of staying in the hidden state (hmm)."""
    longest: int | None = None
    """Longest gap between renewals (renewal)."""
    copies: int | None = None
    """Copies of each value in the deck (deck)."""
    span: int | None = None
    """Number of earlier values in the parity (noisy-parity)."""
    noise: float | None = None
    """Probability of a wrong parity (noisy-parity), or of a uniform value in place of the pattern's (periodic)."""
    modulus: int | None = None
    """Modulus of the linear congruential generator, at most 4294967296 (lcg)."""
    multiplier: int | None = None
    """Multiplier of the linear congruential generator (lcg)."""
    increment: int | None = None
    """Increment of the linear congruential generator (lcg)."""
    drop: int | None = None
    """Number of low bits dropped from each state (lcg)."""
    bits: int | None = None
    """Bits per value (xorshift, pcg, mt19937, lfsr)."""
    state_bits: int | None = None
    """Bits of the state, an even number from 8 to 64 (pcg)."""
    degree: int | None = None
    """Length of the shift register in bits (lfsr)."""
    tap: int | None = None
    """Second tap of the shift register (lfsr)."""
    period: int | None = None
    """Length of the pattern in values (periodic); values from one lowest probability to the next (drift)."""
    lag: int | None = None
    """Lag of the repeats (repeat)."""
    fraction: float | None = None
    """Fraction of values that are repeats (repeat)."""
    epsilon: float | None = None
    """Strength of the dependence: P(same half as the value before) = (1 + epsilon)/2 (halves)."""
    amount: float | None = None
    """How far the probability of the upper half drifts from 1/2, each way (drift)."""
    server_seed: str | None = None
    """Key of the HMAC, by default the SHA-256 of the seed in hexadecimal (dice-hmac)."""
    client_seed: str | None = None
    """Public part of the message (dice-hmac)."""
    processes: int = 2
    """Number of processes, for sources that can start at any index."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Device that makes the values: gpu is for dice-hmac alone. The bytes are the same."""

    def parameters(self) -> dict[str, Any]:
        """Return the source's parameters among the flags, without those left at None."""
        own = ("source", "n", "out", "seed", "processes", "device")
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in own}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class FileTestFlags:
    """Test whether a file of uint16 values can be predicted, at a controlled false-alarm rate, without training.

    Three questions, each tested at the same level: Does the past help to predict the next value? Are the values
    independent and uniform? Does their distribution drift?
    """

    file: tyro.conf.Positional[Path]
    """File of unsigned 16-bit values, little-endian, without a header."""
    level: float = 0.01
    """Probability of a false alarm, per question."""
    alphabet: int | None = None
    """Number of possible values, from 0 up, such as 10001. By default the range is that of the file."""
    seconds: float | None = None
    """Time limit in seconds: test a part of the file, spread over all of it. By default the whole file is tested."""
    control: bool = False
    """Negative control: shuffle the values within each block first. The order then holds no evidence."""
    seed: int = 0
    """Random seed of the shuffle of --control and of the sample for the smallest detectable effect."""
    processes: int = 2
    """Number of processes, 1 or 2. The result is the same."""


@dataclass(frozen=True)
class GuideFlags(TrainingFlags):
    """Flags by the names of the training guide; they say how the others' values come about."""

    nlayers: int | None = None
    """Number of transformer blocks; the same as --layers."""
    nhead: int | None = None
    """Number of attention heads; the same as --heads."""
    dim_ff: int | None = None
    """Hidden width of a plain feed-forward layer. A gated one (swiglu) gets two thirds, for as many parameters: 2048 \
gives 1344, a multiple of 64. --d-ff is the width itself."""
    batch: int | None = None
    """Windows at a time; a step is --batch times --gradient-accumulation windows."""
    gradient_accumulation: int | None = None
    """Micro-batches per step. With a file, if not given: 4, or 1 where an epoch has fewer than 1,000 steps."""
    lr: tuple[float, ...] | None = None
    """Peak learning rate; the same as --learning-rate."""
    warmup_ratio: float | None = None
    """Fraction of the steps that warm up, in place of --warmup-steps. With --epochs: 0.1, if not given."""
    eval_every: int | None = None
    """Steps between validations; the same as --validate-every."""
    use_amp: bool = False
    """Compute in bfloat16; the same as --dtype bfloat16."""
    ckpt: Path | None = None
    """File for the best weights, besides the run's folder: safetensors, whatever it is called."""

    WITH_RESUME: ClassVar[tuple[str, ...]] = ("--track", "--ckpt")

    def config(self) -> Any:
        """Return the config with what the guide's flags say in it."""
        from bestguess.rolls.guide import completed

        return completed(self.as_given(), self, self.base())

    def is_given(self, name: str) -> bool:
        """Return whether a field of the config's `train` was chosen, by its own flag or by the guide's."""
        return super().is_given(name) or (name == "warmup_steps" and self.warmup_ratio is not None)

    @classmethod
    def supposed(cls, args: Sequence[str]) -> Mapping[str, str]:
        """Return the presets that other flags imply: with a file, the large one."""
        names = [arg.partition("=")[0].replace("_", "-") for arg in args]
        return {"preset": "large"} if "--u16-path" in names else {}


def train_flags(family: Family) -> type:
    """Return the flags of `rolls train`: the config's own, and the guide's."""
    return config_flags(family, "TrainFlags", family.about, GuideFlags)


@dataclass(frozen=True)
class EvaluateFlags:
    """Measure a trained model on the test part of its file, after a self-test, and answer whether it is predictable."""

    MOST: ClassVar[dict[str, int]] = {"max_samples": 1 << 40}

    run: tyro.conf.Positional[Path | None] = None
    """Folder written by `rolls train`."""
    ckpt: Path | None = None
    """File written by `rolls train --ckpt`, in place of a folder."""
    u16_path: Path | None = None
    """The file of the training, where it lies elsewhere now. Its hash is checked."""
    max_samples: int | None = None
    """Most values of the test part that are predicted."""
    analyze_predictions: bool = False
    """Print how confident the predictions are, and how well calibrated."""
    use_amp: bool = False
    """Compute in bfloat16."""
    control: bool = False
    """Negative control: shuffle the values within each window first. The order then holds no evidence."""
    out: Path | None = None
    """Folder for the page and the figures of --ckpt (default: a new folder under runs/rolls)."""


@dataclass(frozen=True)
class ForecastFlags:
    """Predict the values that follow a place in the file, and compare with the source where it is known."""

    MOST: ClassVar[dict[str, int]] = {"idx": 1 << 40}

    run: tyro.conf.Positional[Path | None] = None
    """Folder written by `rolls train`."""
    ckpt: Path | None = None
    """File written by `rolls train --ckpt`, in place of a folder."""
    u16_path: Path | None = None
    """The file of the training, where it lies elsewhere now. Its hash is checked."""
    idx: int | None = None
    """Index of the first value to predict, from the values before it. By default the file's length: what comes next."""
    topk: int = 5
    """Number of guesses."""


@dataclass(frozen=True)
class PointerFlags:
    """The page of a training has this analysis: see `rolls report`."""

    u16_path: Path | None = None
    """File of values."""
    ckpt: Path | None = None
    """File of weights."""


@dataclass(frozen=True)
class AuditFlags:
    """Find mistakes in how a sequence model was trained and tested.

    Overlapping windows, bins fitted on test values, tests on training values, repeats between the two parts, peeking,
    the best of many tries, another file. What the protocol does not tell is reported as "not checked". The exit status
    is 1 if there is a fault.
    """

    protocol: tyro.conf.Positional[Path]
    """Folder of a `rolls train`, or a protocol in JSON or YAML."""
    u16_path: Path | None = None
    """File of unsigned 16-bit values, little-endian. By default the file that the protocol names."""
