"""Sources of values, by the name that `rolls make --source` takes."""

from __future__ import annotations

import shlex
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

from bestguess.command import UserError, nearest
from bestguess.rolls.sources.base import Source
from bestguess.rolls.sources.chains import Hmm, Markov
from bestguess.rolls.sources.chance import LAWS, Deck, Halves, Iid, NoisyParity, Repeat
from bestguess.rolls.sources.congruential import Lcg, Pcg
from bestguess.rolls.sources.cycles import Periodic, Renewal
from bestguess.rolls.sources.dice import DiceHmac
from bestguess.rolls.sources.drifting import Drift
from bestguess.rolls.sources.linear import Lfsr, Xorshift
from bestguess.rolls.sources.twister import Mt19937

SOURCES: dict[str, type[Source]] = {
    one.name: one
    for one in (
        DiceHmac, Iid, Markov, Hmm, Renewal, Deck, NoisyParity, Lcg, Xorshift, Pcg, Mt19937, Lfsr, Periodic, Repeat,
        Halves, Drift,
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


def source_from(text: str, seed: int) -> Source:
    """Return the source that a text such as `lcg modulus=65536 drop=0` or `iid law=zipf alphabet=1e3` names.

    Words are quoted as in a shell. UserError "--source TEXT: …" for an invalid text.
    """

    def refusal(why: str) -> UserError:
        return UserError(f"--source {text}: {why}")

    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        empty = not text.strip()
        raise refusal("is empty; name a source" if empty else f"{error}; close the quotation") from None
    if name not in SOURCES:
        raise refusal(f"unknown source {name}{nearest(name, SOURCES)} (choose from {', '.join(SOURCES)})")
    defaults = SOURCES[name](seed=max(0, seed)).parameters()
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.replace("-", "_")
        if key not in defaults:
            known = ", ".join(defaults) or "none"
            raise refusal(f"{name} has no parameter {key}{nearest(key, defaults)}; it takes {known}")
        if not equals:
            raise refusal(f"{key} has no value; write {key}={defaults[key]}")
        if key in given:
            raise refusal(f"{key} is given twice; give it once")
        given[key] = _typed(value, type(defaults[key]))
        if given[key] is None:
            kind = "an integer such as 1000 or 1e6" if isinstance(defaults[key], int) else "a number such as 0.5"
            raise refusal(f"{key}={value} is not {kind}")
        if key == "law" and value not in LAWS:
            raise refusal(f"law={value} is not one of {', '.join(LAWS)}")
    try:
        return SOURCES[name](seed=seed, **given)
    except UserError as error:
        if seed < 0:
            raise
        raise refusal(str(error).removeprefix("--")) from None


def _typed(text: str, kind: type) -> int | float | str | None:
    """Return the value that a text writes, None if it writes none of that type."""
    if kind is str:
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if kind is float or not number.is_finite():
        return float(number) if kind is float else None
    whole = abs(number.adjusted()) < 40 and number == number.to_integral_value()
    return int(number) if whole or not number else None


def spec_of(source: Source) -> str:
    """Return the text from which `source_from` makes the source with its seed: the name and what is not a default."""
    defaults = type(source)(seed=source.seed).parameters()
    given = [f"{key}={value}" for key, value in source.parameters().items() if value != defaults[key]]
    return shlex.join([source.name, *given])
