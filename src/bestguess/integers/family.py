"""The declaration of the integers family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_FLAGS, _COMMANDS, _ANSWERS = (f"bestguess.integers.{room}:" for room in ("flags", "commands", "answers"))

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
    bases="bestguess.integers.config:BASES",
    choosers={
        "preset": "Size of the task and of the model: all phases, or phase 1 only for a laptop CPU.",
        "design": "Defaults of the other flags: the best design found, the original design (docs/decisions.md), or the "
        "original design with width 64.",
    },
    changed="bestguess.config:changed",
    commands={
        "integers generate": Command(
            "continue a sequence term by term, compared with the oracle",
            _FLAGS + "GenerateFlags",
            _COMMANDS + "generate",
        ),
        "integers distill": Command(
            "distill the average prediction of several runs into one model",
            _FLAGS + "DistillFlags",
            "bestguess.integers.distill:distill",
        ),
        "integers export": Command(
            "export the model of one run as a small file for `integers predict`",
            _FLAGS + "ExportFlags",
            _COMMANDS + "export",
        ),
        "integers memory": Command(
            "estimate training memory, by a formula and as measured by XLA",
            _FLAGS + "memory_flags",
            "bestguess.integers.memory:memory",
            given_family=True,
        ),
        "integers predict": Command(
            "predict the next number with the bundled model: no training needed",
            _FLAGS + "PredictFlags",
            _ANSWERS + "predict",
        ),
        "integers explain": Command(
            "list the recurrences that fit a sequence, and its likely next terms (no model)",
            _FLAGS + "ExplainFlags",
            _ANSWERS + "explain",
        ),
    },
    experiments="bestguess.integers.experiments:EXPERIMENTS",
)
