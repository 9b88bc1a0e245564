"""What several of the room's tests need."""

from __future__ import annotations

import pytest

from bestguess.scratch.demos import copilot, data


@pytest.fixture
def few_snippets(monkeypatch) -> tuple[list[str], list[str]]:
    """25 snippets to train on, the demos among them, and 5 held out: an untrained model is slow to score."""
    train, held = data.split()
    demos = [s for s in train if s.partition("\n")[0] in data.DEMOS]
    few = demos + train[:20], held[:5]
    monkeypatch.setattr(copilot.Setting, "split", lambda self: few)
    return few
