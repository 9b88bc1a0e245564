"""Sources of values, by the name that `rolls make --source` takes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bestguess.command import UserError, nearest
from bestguess.rolls.sources.base import Source
from bestguess.rolls.sources.chains import Hmm, Markov
from bestguess.rolls.sources.chance import Deck, Halves, Iid, NoisyParity, Repeat
from bestguess.rolls.sources.congruential import Lcg, Pcg
from bestguess.rolls.sources.cycles import Periodic, Renewal
from bestguess.rolls.sources.dice import DiceHmac
from bestguess.rolls.sources.linear import Lfsr, Mt19937, Xorshift

SOURCES: dict[str, type[Source]] = {
    one.name: one
    for one in (
        DiceHmac, Iid, Markov, Hmm, Renewal, Deck, NoisyParity, Lcg, Xorshift, Pcg, Mt19937, Lfsr, Periodic, Repeat,
        Halves,
    )
}  # fmt: skip


def source_of(name: str, seed: int, parameters: dict[str, Any]) -> Source:
    """Return the source with the given parameters and its defaults for the rest. UserError for an invalid one."""
    if name not in SOURCES:
        raise UserError(f"--source {name}: unknown{nearest(name, SOURCES)} (choose from {', '.join(SOURCES)})")
    known = [one.name for one in fields(SOURCES[name]) if one.name != "seed"]
    for one in parameters:
        if one not in known:
            flags = ", ".join("--" + other.replace("_", "-") for other in known) or "none"
            raise UserError(f"--{one.replace('_', '-')}: {name} has no such parameter; it takes {flags}")
    return SOURCES[name](seed=seed, **parameters)
