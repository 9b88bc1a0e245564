"""What the workings add to a training's record where the config asks for it."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

import bestguess
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


def test_without_an_oracle_the_size_of_a_vocabulary_is_asked_of_a_predictor(tmp_path):
    for part, count in (("train", 9), ("validation", 3), ("test", 3)):
        rows = [f"the cat sat on mat {i} and ran away to {i + 1}" for i in range(count)]
        (tmp_path / f"{part}.txt").write_text("\n".join(rows))
    changes = {"documents": "lines", "tokenizer": "words", "task__cut": "midpoint", "generated": 0, "batch_size": 2}
    subject = bestguess.open_task("text", corpus=str(tmp_path), **changes)
    vocab = subject.task.about.vocab
    bestguess.judge(subject, lambda given: np.zeros((*given.shape, vocab), np.float32))
    with pytest.raises(UserError, match=rf"every element of each, \[n, T, {vocab}\]$"):
        bestguess.judge(subject, lambda given: np.zeros((*given.shape, vocab + 1), np.float32))
