"""The flags of the rolls commands. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


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

    source: Literal[
        "dice-hmac", "iid", "markov", "hmm", "renewal", "deck", "noisy-parity", "lcg", "xorshift", "pcg", "mt19937",
        "lfsr", "periodic", "repeat", "halves",
    ] = "hmm"  # fmt: skip
    """Source of the values."""
    n: _Count = 300_000
    """Number of values, such as 1e9."""
    out: Path = Path("rolls.u16")
    """Output file. FILE.json beside it holds the source, its parameters, the floor and the SHA-256."""
    seed: int = 0
    """Random seed."""
    alphabet: int | None = None
    """Number of different values (iid, markov, hmm, renewal, deck, noisy-parity, periodic, repeat, halves)."""
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
    degree: int | None = None
    """Length of the shift register in bits (lfsr)."""
    tap: int | None = None
    """Second tap of the shift register (lfsr)."""
    period: int | None = None
    """Length of the pattern in values (periodic)."""
    lag: int | None = None
    """Lag of the repeats (repeat)."""
    fraction: float | None = None
    """Fraction of values that are repeats (repeat)."""
    epsilon: float | None = None
    """Strength of the dependence: P(same half as the value before) = (1 + epsilon)/2 (halves)."""
    server_seed: str | None = None
    """Key of the HMAC, by default the SHA-256 of the seed in hexadecimal (dice-hmac)."""
    client_seed: str | None = None
    """Public part of the message (dice-hmac)."""
    processes: int = 2
    """Number of processes, for sources that can start at any index."""

    def parameters(self) -> dict[str, Any]:
        """Return the source's parameters among the flags, without those left at None."""
        own = ("source", "n", "out", "seed", "processes")
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
