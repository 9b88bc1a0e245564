"""ROUGE of summaries by the length of their references, beside the most frequent summary's."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from bestguess.text.answers import samples_of
from bestguess.text.config import TextTaskConfig
from bestguess.text.corpus import about_of
from bestguess.text.generation import GenerationConfig
from bestguess.text.metrics import ROUGE, rouge
from bestguess.text.summaries import STRATA, rouge_by_length
from bestguess.text.tokens import EOS
from bestguess.text.written import Written

REFERENCES = ["None.", "no known allergies", "the patient denies fever, chills and cough " * 5, "x " * 200]
TEXTS = ["None.", "allergies to cats", "denies fever", "y"]


def test_strata_add_up_and_the_baseline_is_that_of_one_text():
    found = rouge_by_length(REFERENCES, TEXTS, "None.")
    assert found["documents"] == 4
    assert {name: one["documents"] for name, one in found["by_length"].items()} == {
        "below 20": 2, "100 to 299": 1, "300 and more": 1,
    }  # fmt: skip
    for name in ROUGE:
        every = [rouge(*both)[name].f for both in zip(REFERENCES, TEXTS)]
        assert found[name] == pytest.approx(np.mean(every))
        assert found["by_length"]["below 20"][name] == pytest.approx(np.mean(every[:2]))
        assert found["baseline"][name] == pytest.approx(0 if name == "rouge2" else 1 / 4)  # one word, right once
    assert found["by_length"]["100 to 299"]["baseline"]["rougeL"] == 0


def test_every_length_has_one_stratum():
    ends = list(STRATA.values())
    assert ends[0][0] == 0
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))


def test_of_files_references_are_whole_and_the_most_frequent_summary_is_that_of_training(tmp_path):
    """As in MTS-Dialog: CSV, its parts by name, summaries longer than what the model may write."""
    rows = {
        "TrainingSet": [(f"Doctor: {i}?\nPatient: Yes.", "None." if i % 3 else f"Note {i}.") for i in range(12)],
        "ValidationSet": [("Doctor: A?", "B."), ("Doctor: C?", "D.")],
        "TestSet-1": [("Doctor: E?", "a very long note " * 9), ("Doctor: G?", "None."), ("Doctor: H?", "I.")],
    }
    for name, own in rows.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [("ID", "section_header", "section_text", "dialogue")]
                + [(i, "X", b, a) for i, (a, b) in enumerate(own)]
            )
    task = TextTaskConfig(corpus=str(tmp_path), tokenizer="words", max_target=10)
    about = about_of(task, 12, 2, 3)
    assert about.frequent == "None."
    assert [one.strip() for one in about.references] == [text.strip() for _, text in rows["TestSet-1"]]
    assert len(about.tokens) == about.vocab
    assert about.decode(np.array([about.tokens.index("None")])) == "None"
    tokens = np.full((3, 3), EOS, np.int32)
    tokens[:, 0] = about.encode("None.")[0]
    two = np.full(3, 2)
    told = Written(about, about.test, GenerationConfig(), tokens, two, two > 0, np.zeros(3), None)
    kept = samples_of(told)
    assert kept["written"] == [told.text(i) for i in range(3)]
    assert kept.keys() == {"source", "reference", "written"}
    found = told.rouge()
    assert found == rouge_by_length(about.references, ["None"] * 3, "None.")
    assert found["rouge1"] == pytest.approx(1 / 3)
