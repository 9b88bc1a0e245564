"""The three answers in words: verdicts at a level, and one sentence."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from bestguess.rolls.evidence.effect import Effect
from bestguess.rolls.evidence.pipeline import Answers


def evidence(answers: Answers, effects: list[Effect], level: float) -> dict[str, Any]:
    """Return the answers in the form of `rolls test --json`.

    `log10_e` is log10 of the process's largest value. A verdict other than "no evidence" is a false alarm with
    probability at most `level`. Drift is reported only without evidence of order, because dependence resembles drift.
    """
    alarm = -math.log(level)
    order, uniform, drift = answers.order >= alarm, answers.uniform >= alarm, answers.drift >= alarm
    drifts = "explained by order" if order else "drifts"
    return {
        "order": {
            "log10_e": answers.order / math.log(10),
            "verdict": "predictable" if order else "no evidence",
            "smallest_effect": asdict(effects[0]) if effects else None,
            "smallest_effects": [asdict(one) for one in effects],
            "bet": answers.bet if order else None,
        },
        "uniform": {
            "log10_e": answers.uniform / math.log(10),
            "verdict": "not uniform" if uniform else "no evidence",
        },
        "drift": {"log10_e": answers.drift / math.log(10), "verdict": drifts if drift else "no evidence"},
    }


def sentence(found: dict[str, Any], values: int, distinct: int) -> str:
    """Return the answer to all three questions in one sentence."""
    order = found["order"]
    if order["verdict"] == "predictable":
        said = [f"predictable: at most {false_alarms(order['log10_e'])} (strongest bet: {order['bet']})"]
    elif distinct == 1:
        said = [f"no evidence after {values:,} values, which are all the same"]
    else:
        said = [f"no evidence after {values:,} values; {_would_have_been_seen(order['smallest_effects'])}"]
    if found["uniform"]["verdict"] != "no evidence":
        # A file with repeats is not iid uniform, even if its values are equally frequent.
        alone = order["verdict"] != "predictable"
        what = "the values are not equally likely" if alone else "not independent and uniform"
        said.append(f"{what} (at most {false_alarms(found['uniform']['log10_e'])})")
    if found["drift"]["verdict"] == "drifts":
        said.append(f"the distribution drifts (at most {false_alarms(found['drift']['log10_e'])})")
    return "; ".join(said)


def false_alarms(log10_e: float) -> str:
    """Return "1 false alarm in N" with N = 10^log10_e, rounded down."""
    return f"1 false alarm in {int(10**log10_e):,}" if log10_e < 6 else f"1 false alarm in 10^{math.floor(log10_e)}"


def _would_have_been_seen(effects: list[dict[str, Any]]) -> str:
    for one in effects:
        percent = f"{100 * one['size']:.6g} %"
        if one["kind"] == "repeat":
            return f"a repeat in {percent} would have been seen"
        return f"the same half twice in a row in {50 * (1 + one['size']):.6g} % of cases would have been seen"
    return "too few for any repeat to be seen"
