"""The declaration of the integers family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_COMMANDS = "bestguess.integers.commands."

FAMILY = Family(
    name="integers",
    title="Integer sequences compared with an exact Bayes predictor:",
    about="""Train transformers to predict integer sequences, compared with the exact Bayes predictor.

    All combinations of --alpha, --learning-rate and seed train together in one program. The learning rate is selected
    on validation data; the reported figures are from test data. The other `integers` commands take the folder that
    this command writes.
    """,
    config="bestguess.integers.config:IntegersConfig",
    workings="bestguess.integers.workings:IntegerWorkings",
    reported="regret",
    progress="accuracy",
    validation="validation_score",
    figures=(
        *("accuracy", "relative_accuracy", "distance", "loss", "floor", "ceiling"),
        *("mean.*", "whole_sequence.*", "by_position.*", "seen.*", "validation.*"),
    ),
    bases="bestguess.integers.config:BASES",
    choosers={
        "preset": "Size of the task and of the model: all phases, or phase 1 only for a laptop CPU.",
        "design": "Defaults of the other flags: the best design found, the original design (docs/decisions.md), the "
        "original design with width 64, or an earlier reading of the original, with two digits for a number.",
    },
    changed="bestguess.sweep.changes:changed",
    commands={
        "integers generate": Command(
            "continue a sequence term by term, compared with the oracle",
            _COMMANDS + "generate:GenerateFlags",
            _COMMANDS + "generate:generate",
        ),
        "integers distill": Command(
            "distill the average prediction of several runs into one model",
            _COMMANDS + "distill:DistillFlags",
            _COMMANDS + "distill:distill",
        ),
        "integers export": Command(
            "export the model of one run as a small file for `integers predict`",
            _COMMANDS + "export:ExportFlags",
            _COMMANDS + "export:export",
        ),
        "integers memory": Command(
            "estimate training memory, by a formula and as measured by XLA",
            _COMMANDS + "memory:memory_flags",
            _COMMANDS + "memory:memory",
            given_family=True,
        ),
        "integers predict": Command(
            "predict the next number with the bundled model: no training needed",
            _COMMANDS + "predict:PredictFlags",
            _COMMANDS + "predict:predict",
        ),
        "integers explain": Command(
            "list the recurrences that fit a sequence, and its likely next terms (no model)",
            _COMMANDS + "explain:ExplainFlags",
            _COMMANDS + "explain:explain",
        ),
    },
    experiments="bestguess.integers.experiments:EXPERIMENTS",
)
