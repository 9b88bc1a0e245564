"""Sizes that no memory holds are refused by arithmetic, before an array or a folder is made; the flag is named."""

from __future__ import annotations

import pytest

from bestguess.cli import main
from bestguess.workflow import training

HUGE = {
    "filters": [
        *(["--latent-dim", "16384"], ["--length", "65536"], ["--test-sequences", "16777216"]),
        ["--validation-sequences", "16777216"],
    ],
    "integers": [["--validation-sequences", "16777216"]],
    "rolls": [["--validation-sequences", "16777216"]],
    "text": [],
}
CASES = [(family, [*words]) for family, every in HUGE.items() for words in [*every, ["--batch-size", "16777216"]]]


@pytest.mark.parametrize(("family", "words"), CASES, ids=lambda value: value if isinstance(value, str) else value[0])
def test_what_no_memory_holds_is_refused(family, words, tmp_path, monkeypatch, capsys):
    def never(*_: object) -> None:
        raise AssertionError("a task is made")

    monkeypatch.setattr(training, "free_memory", lambda: 400_000_000)
    monkeypatch.setattr(training, "task_key", never)
    with pytest.raises(SystemExit) as stop:
        main([family, "train", *words, "--out", str(tmp_path / "new")])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith(f"bestguess: error: {' '.join(words)}: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        *(["--layers", "1000000"], ["--d-model", "99999999999999999999"], ["--seeds", "2000000000"]),
        *(["--batch-size", "100000000"], ["--latent-dim", "100000"], ["--length", "100000000"]),
        *(["--rollouts", "1000000000"], ["--learning-rate", "1e39"], ["--sigma", "nan"]),
    ],
    ids=lambda words: words[0],
)
def test_what_no_machine_could_do_is_beyond_a_bound(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["filters", "train", *words, "--out", str(tmp_path / "new")])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith(f"bestguess: error: {words[0]} ")
    assert not (tmp_path / "new").exists()
