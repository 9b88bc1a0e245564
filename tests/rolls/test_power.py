"""How often the test is wrong, and how soon it is right: the figures of the page, in small.

`BESTGUESS_ROLLS_FILES=200 pytest -n 0 -s -m slow tests/rolls/test_power.py` measures those of the page.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from bestguess.rolls.sources import source_of
from tests.rolls.processes import ALARM, log_drifting, log_e, log_uniform, values_until

FILES = int(os.environ.get("BESTGUESS_ROLLS_FILES", "10"))
NULLS = ("uniform 1,024", "uniform 10,001", "zipf", "two atoms", "slow drift")


def null_file(kind: str, draw: np.random.Generator, n: int) -> np.ndarray:
    match kind:
        case "uniform 1,024":
            values = draw.integers(0, 1024, n)
        case "uniform 10,001":
            values = draw.integers(0, 10_001, n)
        case "zipf":
            p = 1 / np.arange(1, 1025)
            values = draw.choice(1024, n, p=p / p.sum())
        case "two atoms":
            atoms = draw.choice([3, 900], n, p=[0.7, 0.3])
            values = np.where(draw.random(n) < 0.5, atoms, draw.integers(0, 1024, n))
        case _:
            values = (draw.random(n) < np.linspace(0.4, 0.6, n)) * 512 + draw.integers(0, 512, n)
    return values.astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NULLS)
def test_false_alarms_at_1_percent(kind):
    """At a rate of 1 % or less, more than 1 + 2.5 % of the files have a probability below 1 in 100."""
    alarms = np.zeros(3, int)
    for seed in range(FILES):
        values = null_file(kind, np.random.default_rng((seed, NULLS.index(kind))), 8192)
        alarms += [
            log_e(values).max() >= ALARM,
            kind.startswith("uniform") and log_uniform(values) >= ALARM,
            kind != "slow drift" and log_drifting(values) >= ALARM,
        ]
    print(f"{kind}: {FILES} files, alarms {alarms.tolist()}")
    assert (alarms <= 1 + 0.025 * FILES).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "n", "files", "most"),
    [
        ("repeat", {}, 1000, 9, 1000),
        ("repeat", {"lag": 1, "fraction": 0.01}, 4000, 9, 4000),
        ("halves", {}, 30_000, 9, 15_000),
        ("halves", {"alphabet": 2}, 30_000, 5, 15_000),
        ("halves", {"epsilon": 0.02}, 150_000, 5, 100_000),
        ("hmm", {}, 5000, 9, 1500),
        ("hmm", {"stay": 0.9}, 8000, 9, 3000),
        ("markov", {}, 3000, 3, 1500),
        ("periodic", {}, 13_000, 3, 10_300),
        ("lcg", {"modulus": 1 << 16, "multiplier": 25_173, "increment": 13_849, "drop": 0}, 5000, 2, 4000),
        ("lcg", {"modulus": 1 << 16, "multiplier": 64_525, "increment": 1, "drop": 0}, 70_000, 2, 66_100),
    ],
    ids=str,
)
def test_values_until_evidence_of_100(name, flags, n, files, most):
    found = []
    for seed in range(files):
        source = source_of(name, seed, flags)
        found.append(values_until(log_e(source.draw(source.start(), n)[0], most=ALARM)))
    print(f"{name} {flags}: median {np.median(found):,.0f} of {sorted(found)}")
    assert np.median(found) <= most
