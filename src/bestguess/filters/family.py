"""The declaration of the filters family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_FLAGS, _COMMANDS = "bestguess.filters.flags:", "bestguess.filters.commands:"

FAMILY = Family(
    name="filters",
    title="Linear state-space sequences compared with the Kalman filter:",
    about="""Train transformers to predict linear state-space sequences, compared with the Kalman filter.

    All combinations of --lambda, --structure, --learning-rate and seed train together in one program. The learning
    rate is selected on validation data; the reported figures are from test data. `filters evaluate`, `filters rollout`
    and `filters report` take the folder that this command writes.
    """,
    config="bestguess.filters.config:FiltersConfig",
    workings="bestguess.filters.workings:FilterWorkings",
    reported="normalised_loss",
    progress="normalised_loss",
    levels={"skill": (0.9, 0.99)},
    figures=(
        *("skill", "standard_error", "headroom", "spectral_radius", "equivalent_memory", "sequences_to_excess_0.001"),
        *("rollout.*", "trained.*", "held_out.*"),
    ),
    bases="bestguess.filters.config:PRESETS",
    choosers={
        "preset": "Defaults of the other flags: the full size (docs/decisions.md), the same with reversible instance "
        "normalisation (brief), or a size for a laptop CPU (small)."
    },
    changed="bestguess.sweep.changes:changed",
    commands={
        "quickstart": Command(
            "train small transformers and compare them with the Kalman filter: 3 minutes on a laptop",
            _FLAGS + "QuickstartFlags",
            _COMMANDS + "quickstart",
        ),
        "filters evaluate": Command(
            "measure the regret of every run on test data, after a self-test",
            _FLAGS + "EvaluateFlags",
            "bestguess.filters.beyond:evaluate",
        ),
        "filters rollout": Command(
            "feed predictions back and compare with the Kalman filter at each horizon",
            _FLAGS + "RolloutFlags",
            _COMMANDS + "rollout",
        ),
        "filters inspect": Command(
            "show what the transformers have learnt, beside the filter's coefficients and state",
            _FLAGS + "InspectFlags",
            "bestguess.filters.inspect_page:inspect",
        ),
    },
    repeats=("task.system_seed",),
    experiments="bestguess.filters.declared:EXPERIMENTS",
)
