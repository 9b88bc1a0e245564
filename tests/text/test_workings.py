"""What the workings add to a training's record where the config asks for it."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from bestguess.command import UserError
from bestguess.family import Trained
from bestguess.text import workings
from bestguess.text.family import FAMILY
from tests.text.tiny import tiny


def test_attention_is_measured_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(workings, "attention_figures", lambda about, model, config, count: (about, model, count))
    for count in (0, 3):
        training = Mock(spec=Trained)
        training.runs = [Mock(config=tiny(attention_documents=count))]
        training.tasks = [Mock(about="about")]
        training.model = lambda i: f"model {i}"
        found = FAMILY.works._attention(training, 0)
        assert found == ({"attention": ("about", "model 0", 3)} if count else {})
    with pytest.raises(UserError, match="--attention-documents -1"):
        tiny(attention_documents=-1)
