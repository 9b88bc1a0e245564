"""Every text of the tiny world, listed once."""

from __future__ import annotations

import pytest

from bestguess.text.errands import forward
from bestguess.text.errands.grammar import DialogueGrammar
from bestguess.text.errands.worlds import TINY


@pytest.fixture(scope="session")
def listed() -> list[tuple[tuple[int, ...], float]]:
    """Each text and its probability."""
    return list(forward.every_text(DialogueGrammar(TINY)))
