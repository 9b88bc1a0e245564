"""The declaration of the rolls family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_FLAGS = "bestguess.rolls.flags:"

FAMILY = Family(
    name="rolls",
    title="Files of uint16 values, and whether they can be predicted:",
    commands={
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
    },
)
