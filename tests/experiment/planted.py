"""Ledgers whose figures are planted, so that an experiment's analysis can be tested without training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bestguess import __version__
from bestguess.sweep.commands import open_ledger
from bestguess.sweep.config import SweepFlags
from bestguess.sweep.keys import RATE, SEED
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import config_of

ROOT = Path(__file__).parents[2]
HORIZONS = (2, 4, 8, 16, 32, 64)

SHRUNK = ("eigenvalue", "structure", "patching", "observed")
FEWER = ("train.learning_rate=0.0003,0.001,0.003", "train.first_seed=0,1,2,3")
"""What makes the experiments on filters as small as they were once: three rates and four seeds."""

ABOUT = {"seconds": 2.5, "device": "1 × NVIDIA Test", "version": __version__}

Law = Callable[[dict[str, Any]], float]
"""From a run's dotted config to its difficulty: the logarithm by which excess, sequences and regret grow."""

Figures = Callable[[dict[str, Any], Law, float, float], dict[str, Any]]
"""From a run's dotted config, the law, the noise and the best rate to the run's figures."""


def planted(
    folder: Path,
    name: str,
    law: Law,
    *,
    noise: float = 0.05,
    best_rate: float = 0.001,
    leave: int = 0,
    only: Callable[[dict[str, Any]], bool] = lambda config: True,
    score: Figures | None = None,
) -> Ledger:
    """Return the ledger of a shipped experiment, all but the last `leave` runs done, with figures that follow `law`.

    only: of these runs, those that are done.

    Each seed has an offset of its own, ten times the noise, which pairing must take out. Rates other than
    `best_rate` are worse in validation and, as a trap, much better in the figures of test data.
    """
    path = ROOT / "experiments" / f"{name}.yaml"
    ledger = open_ledger(SweepFlags(str(path), set_=FEWER if name in SHRUNK else (), folder=folder))
    runs = list(ledger.runs().values())
    for run in (one for one in runs[: len(runs) - leave] if only(one.config)):
        ledger.finish(run, (score or figures)(run.config, law, noise, best_rate), ABOUT)
    return ledger


def figures(config: dict[str, Any], law: Law, noise: float, best_rate: float) -> dict[str, Any]:
    """Return what the filters family would score, by `law`."""
    hard, rng = _hard(config, law, noise, best_rate)
    _, made = config_of(config)
    budget = made.train.steps * made.train.batch_size
    reached = {level: 4000 * math.exp(hard) * (1 if level == 0.9 else 6) for level in (0.9, 0.99)}
    first = made.train.validate_every * made.train.batch_size
    return {
        "validation_loss": 1.01 + (config[RATE] != best_rate) + 0.001 * rng.random(),
        "normalised_loss": 1 + 1e-3 * math.exp(hard),
        "standard_error": 1e-5,
        "skill": 1 - 2e-3 * math.exp(hard),
        "headroom": 0.5,
        "equivalent_memory": 12.5,
        "spectral_radius": config.get("task.lambda", 0.9),
        **{f"sequences_to_skill_{k:g}": None if n > budget else max(n, first) for k, n in reached.items()},
        "sequences_to_excess_0.001": min(max(reached[0.9], first), budget),
        "rollout": {
            str(h): {
                "normalised_loss": 1 + 0.005 * math.exp(hard),
                "standard_error": 1e-4,
                "skill": 1 - 0.01 * math.exp(hard) if h < 64 or config["task.lambda"] > 0.9 else None,
                "headroom": 0.5 if h < 64 or config["task.lambda"] > 0.9 else 1e-6,
            }
            for h in HORIZONS
        },
        "self_test": 1e-6,
    }


def integer_figures(config: dict[str, Any], law: Law, noise: float, best_rate: float) -> dict[str, Any]:
    """Return what the integers family would score, by `law`: held-out rows are as hard as seen ones, but for noise."""
    hard, rng = _hard(config, law, noise, best_rate)
    return {
        "validation_loss": 1.01 + (config[RATE] != best_rate) + 0.001 * rng.random(),
        "regret": math.exp(hard),
        "mean": {"regret": 2 * math.exp(hard)},
        "seen": {"regret": math.exp(hard + noise * rng.normal())},
    }


def _hard(config: dict[str, Any], law: Law, noise: float, best_rate: float) -> tuple[float, np.random.Generator]:
    digest = hashlib.sha256(repr(sorted(config.items())).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    own = np.random.default_rng(config[SEED]).normal() * 10 * noise
    trap = 0.0 if config[RATE] == best_rate else -3.0
    return law(config) + own + trap + noise * rng.normal(), rng
