"""What a test of a sweep says of the whole."""

from bestguess import __version__
from bestguess.sweep.commands import open_ledger
from bestguess.sweep.config import SweepFlags
from bestguess.sweep.extrapolate import extrapolate, in_words
from tests.sweep.conftest import toy_yaml


def test_runs_that_are_left_cost_what_those_of_their_shape_took(tmp_path):
    ledger = open_ledger(
        SweepFlags(str(toy_yaml(tmp_path, train__first_seed=[0, 1, 2], width=[1, 2])), folder=tmp_path)
    )
    assert extrapolate(ledger) is None
    runs = list(ledger.runs().values())

    def finish(run, seconds):
        ledger.finish(run, {"validation_loss": 1.0}, {"seconds": seconds, "device": "none", "version": __version__})

    narrow = [run for run in runs if run.shape == runs[0].shape]
    finish(narrow[0], 10.0)
    found = extrapolate(ledger)
    assert found == {"runs": 5, "seconds": 50.0, "unseen": 3}
    assert in_words(found).endswith(
        "about 50 s, extrapolated from the finished runs; 3 of them have shapes of which no run is finished"
    )
    wide = next(run for run in runs if run.shape != runs[0].shape)
    finish(wide, 2000.0)
    assert extrapolate(ledger) == {"runs": 4, "seconds": 2 * 10.0 + 2 * 2000.0, "unseen": 0}
    assert "one worker about 1.1 h" in in_words(extrapolate(ledger))
    for run in runs:
        finish(run, 1.0)
    assert extrapolate(ledger) is None
