"""The experiments that the filters family declares, by the name of the sweep. Nothing heavier than NumPy."""

from __future__ import annotations

from bestguess.filters.experiments import EXPERIMENTS as ONE_SYSTEM
from bestguess.filters.in_context.experiment import IN_CONTEXT
from bestguess.filters.normalisation import NORMALISATION

EXPERIMENTS = {**ONE_SYSTEM, "in_context": IN_CONTEXT, "normalisation": NORMALISATION}
