"""The declaration of the rolls family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_FLAGS, _COMMANDS = "bestguess.rolls.flags:", "bestguess.rolls.commands:"

FAMILY = Family(
    name="rolls",
    title="Files of uint16 values, and whether they can be predicted:",
    about="""Train a transformer to predict the next values of a file, and answer whether the past helps at all.

    Without a file, 300,000 values are drawn from a hidden Markov source, whose oracle is known; --source names
    another. The first pass over the training part is itself a test with a controlled false-alarm rate. Figures are
    of the test part at the file's end; weights and learning rates are chosen on the validation part before it.
    """,
    config="bestguess.rolls.config:RollsConfig",
    workings="bestguess.rolls.workings:RollsWorkings",
    reported="bits_per_value",
    progress="bits_per_value",
    validation="validation_bits",
    figures=(
        *("regret", "skill", "standard_error", "values", "perplexity", "top1", "top3", "top5", "bits_per_token"),
        *("floor_bits", "ceiling_bits", "ceiling_top1", "ceiling_top3", "ceiling_top5", "marginal_bits"),
        *("training_bits", "gap_bits", "first_pass_bits", "first_pass_marginal_bits"),
        *("first_pass_log10_e", "first_pass_log10_e_largest", "test_log10_e", "test_log10_e_end", "log10_m"),
        *("above_ceiling_log10_e", "alarm", "loss_spike", "diverged"),
    ),
    bases="bestguess.rolls.config:BASES",
    choosers={"preset": "Size of the model and of the training; with a file, large: 27 million parameters."},
    changed="bestguess.sweep.changes:changed",
    experiments="bestguess.rolls.experiments:EXPERIMENTS",
    commands={
        "rolls train": Command(
            "train on a file, or on a source of values, and answer whether it can be predicted",
            _FLAGS + "train_flags",
            _COMMANDS + "train_given",
            given_family=True,
        ),
        "rolls evaluate": Command(
            "measure a trained model on the test part, after a self-test",
            _FLAGS + "EvaluateFlags",
            _COMMANDS + "evaluate",
        ),
        "rolls predict": Command(
            "predict the values that follow a place in the file", _FLAGS + "ForecastFlags", _COMMANDS + "predict"
        ),
        "rolls make": Command(
            "write a file of uint16 values whose best possible prediction is known",
            _FLAGS + "MakeFlags",
            "bestguess.rolls.make:make",
        ),
        "rolls test": Command(
            "test whether a file of uint16 values can be predicted, without training",
            _FLAGS + "FileTestFlags",
            "bestguess.rolls.testing:run_test",
        ),
        "rolls analyse": Command("see `rolls report`", _FLAGS + "PointerFlags", _COMMANDS + "pointer"),
        "rolls randomness": Command("see `rolls test`", _FLAGS + "PointerFlags", _COMMANDS + "pointer"),
        "rolls audit": Command(
            "find mistakes in how a sequence model was trained and tested",
            _FLAGS + "AuditFlags",
            "bestguess.rolls.audit:audit",
        ),
    },
)
