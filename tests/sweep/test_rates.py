"""A sweep whose cells train at the rates that a search chose."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bestguess import __version__
from bestguess.command import Failure, UserError, make_console
from bestguess.sweep.commands import open_ledger, sweep
from bestguess.sweep.config import SweepFlags
from bestguess.sweep.keys import RATE, SEED
from bestguess.sweep.rates import at_rates
from bestguess.sweep.source import ABOUT, RUNS, about_of, of_ledger, write_table

TEXT = """
name: {name}
method: grid
metric: {{name: validation_loss, goal: minimize}}
parameters:
  family: {{value: filters}}
  preset: {{value: small}}
  train.steps: {{value: {steps}}}
  task.lambda: {{values: [0.5, 0.9]}}
  train.learning_rate: {{values: [0.001, 0.003, 0.01]}}
  train.first_seed: {{values: {seeds}}}
"""
ABOUT_OF_RUN = {"seconds": 1.0, "device": "none", "version": __version__}


def ledger_of(folder, name, steps, seeds, **more):
    path = folder / f"{name}.yaml"
    path.write_text(TEXT.format(name=name, steps=steps, seeds=seeds))
    return open_ledger(SweepFlags(str(path), folder=folder / "sweeps", **more))


@pytest.fixture
def search(tmp_path):
    """A search that is done: the rate 0.003 is best at every λ, but for what `best` says."""

    def done(best=lambda config: 0.003, leave=0):
        ledger = ledger_of(tmp_path, "search", 100, [7, 8])
        runs = list(ledger.runs().values())
        for run in runs[: len(runs) - leave]:
            ledger.finish(
                run,
                {"validation_loss": float(run.config[RATE] != best(run.config)), "normalised_loss": 1.1},
                ABOUT_OF_RUN,
            )
        return ledger

    return done


def test_every_cell_trains_at_its_own_rate_and_at_no_other(tmp_path, search):
    found = search()
    judged = ledger_of(tmp_path, "judged", 400, [0, 1, 2], rates=found.id)
    configs = [run.config for run in judged.runs().values()]
    assert {(one["task.lambda"], one[SEED], one[RATE]) for one in configs} == {
        (lambda_, seed, 0.003) for lambda_ in (0.5, 0.9) for seed in (0, 1, 2)
    }
    assert len(configs) == judged.planned == 6
    assert {one["train.steps"] for one in configs} == {400}
    assert judged.about["lacks"] == []
    assert judged.about["rates"] == found.id
    assert judged.id != ledger_of(tmp_path, "judged", 400, [0, 1, 2]).id


def test_a_search_that_is_no_ground_to_judge_on_is_refused(tmp_path, search):
    def judge(seeds=(0, 1), **more):
        return ledger_of(tmp_path, "judged", 400, list(seeds), rates=found.id, **more)

    found = search(leave=1)
    with pytest.raises(Failure, match="11 of 12 runs done"):
        judge()
    found = search(lambda config: 0.01 if config["task.lambda"] == 0.9 else 0.003)
    with pytest.raises(
        UserError, match=r"1 of 2 cells to train is at the edge of its grid \(such as 0.01 of task.lambda 0.9"
    ):
        judge()
    with pytest.raises(UserError, match="1 of 1 cells to train"):
        judge(set_=("task.lambda=0.9",))
    settled = judge(set_=("task.lambda=0.5",))  # whose own rate is no edge, whatever the search has of others
    assert {run.config[RATE] for run in settled.runs().values()} == {0.003}
    with pytest.raises(UserError, match=r"tuned on train\.first_seed 8, which this sweep has too"):
        judge((0, 8))


def test_several_searches_are_one_so_that_a_single_cell_can_be_widened(tmp_path, search):
    best = lambda config: 0.01 if config["task.lambda"] == 0.9 else 0.003  # noqa: E731
    found = search(best)
    wider = ledger_of(tmp_path, "search", 100, [7, 8], set_=("task.lambda=0.9", f"{RATE}=0.03"))
    judge = lambda: ledger_of(tmp_path, "judged", 400, [0, 1], rates=f"{found.id},{wider.id}")  # noqa: E731
    with pytest.raises(Failure, match="0 of 2 runs done"):
        judge()
    for run in wider.runs().values():
        wider.finish(run, {"validation_loss": 0.5, "normalised_loss": 1.1}, ABOUT_OF_RUN)
    configs = [run.config for run in judge().runs().values()]
    assert {(one["task.lambda"], one[RATE]) for one in configs} == {(0.5, 0.003), (0.9, 0.01)}
    with pytest.raises(UserError, match=r"is at the edge of its grid"):
        ledger_of(tmp_path, "judged", 400, [0, 1, 2], rates=found.id)


def test_a_rate_at_which_training_diverges_is_tried_and_no_edge(tmp_path, search):
    found = search(leave=1)
    (left,) = (run for run in found.runs().values() if found.record(run.run) is None)
    assert left.config[RATE] == 0.01
    assert left.config[SEED] == 8
    found.fail(left.run, "killed", "died", "first")
    with pytest.raises(Failure, match="11 of 12 runs done"):
        ledger_of(tmp_path, "judged", 400, [0, 1], rates=found.id)
    found.fail(left.run, "loss not finite at step 5", "not finite", "second")
    judged = ledger_of(tmp_path, "judged", 400, [0, 1], rates=found.id)
    assert {run.config[RATE] for run in judged.runs().values()} == {0.003}


def test_several_cells_share_one_of_the_search(tmp_path, search):
    found = search(lambda config: 0.003)
    grid = [{"family": "filters", "task.lambda": value, SEED: 0} for value in (0.6, 0.8, 0.95)]
    shared = lambda one: {**one, "task.lambda": 0.5 if one["task.lambda"] < 0.7 else 0.9}  # noqa: E731
    runs = at_rates(grid, tmp_path / "sweeps", found.id, shared)
    assert runs == [one | {RATE: 0.003} for one in grid]
    with pytest.raises(UserError, match=r"has no rate for task\.lambda 0\.6"):
        at_rates(grid, tmp_path / "sweeps", found.id)


def tabled(found, folder):
    """Write the table of a search, and return its name for --rates."""
    folder.mkdir()
    source = of_ledger(found)
    write_table(folder, source, (RATE, SEED), [])
    (folder / ABOUT).write_text(json.dumps(about_of(source)))
    return str(folder / RUNS)


def test_rates_of_a_table_are_those_of_its_ledger(tmp_path, search):
    best = lambda config: 0.01 if config["task.lambda"] == 0.9 else 0.003  # noqa: E731
    found = search(best)
    wider = ledger_of(tmp_path, "search", 100, [7, 8], set_=("task.lambda=0.9", f"{RATE}=0.03,0.1"))
    *others, last = wider.runs().values()
    for run in others:
        wider.finish(run, {"validation_loss": 0.5, "normalised_loss": 1.1}, ABOUT_OF_RUN)
    wider.fail(last.run, "loss not finite at step 5", "not finite", "first")  # its rate was tried
    tables = [tabled(one, tmp_path / one.id) for one in (found, wider)]
    judged = ledger_of(tmp_path, "judged", 400, [0, 1], rates=f"{found.id},{wider.id}")
    assert {run.config[RATE] for run in judged.runs().values()} == {0.003, 0.01}
    configs = [run.config for run in judged.runs().values()]
    for names in (tables, [found.id, tables[1]], [tables[0], wider.id]):
        again = at_rates([{**one, RATE: None} for one in configs], tmp_path / "sweeps", ",".join(names))
        assert again == configs
    # The same sweep, wherever its rates are read from: what is done of it is found again.
    path = tmp_path / "judged.yaml"
    path.write_text(TEXT.format(name="judged", steps=400, seeds=[0, 1]))
    there = open_ledger(SweepFlags(str(path), folder=tmp_path / "new", rates=",".join(tables)))
    assert there.id == judged.id
    assert [run.config for run in there.runs().values()] == configs


def test_a_table_of_a_search_that_is_not_done_is_refused(tmp_path, search):
    name = tabled(search(leave=1), tmp_path / "t")
    with pytest.raises(Failure, match=r"--rates .*t/runs\.csv: 11 of 12 runs done; finish the search search-"):
        ledger_of(tmp_path, "judged", 400, [0, 1], rates=name)
    assert not list(tmp_path.glob("sweeps/judged-*"))


def test_a_table_that_tells_rates_needs_no_score_but_one_that_stands_for_runs_does(tmp_path, search):
    source, table = of_ledger(search()), tmp_path / "table"
    kept = [one | {"metrics": {"validation_loss": one["metrics"]["validation_loss"]}} for one in source.records]
    write_table(table, replace(source, records=kept), [RATE, SEED], [])
    (table / ABOUT).write_text(json.dumps(about_of(source)))
    judged = ledger_of(tmp_path, "judged", 400, [0, 1], rates=str(table))
    assert {run.config[RATE] for run in judged.runs().values()} == {0.003}
    with pytest.raises(UserError, match=r"--reuse .*runs\.csv: run 0000: normalised_loss: no number in its figures"):
        ledger_of(tmp_path, "search", 101, [7, 8], reuse=(str(table),))


def test_a_search_is_widened_beyond_its_edges_until_none_is_left(tmp_path, search):
    top = {0.5: 0.003, 0.9: 0.09}
    found = search(lambda config: min(0.01, top[config["task.lambda"]]))
    names, tried = [found.id], []
    widen = lambda: SweepFlags(str(tmp_path / "search.yaml"), folder=tmp_path / "sweeps", widen=",".join(names))  # noqa: E731
    for _ in range(3):
        wider = open_ledger(widen())
        runs = list(wider.runs().values())
        assert {(run.config["task.lambda"], run.config[SEED]) for run in runs} == {(0.9, 7), (0.9, 8)}
        assert wider.about["lacks"] == []
        assert wider.about["widen"] == ",".join(names)
        tried += sorted({run.config[RATE] for run in runs})
        with pytest.raises(Failure, match="0 of 2 runs done"):
            ledger_of(tmp_path, "judged", 400, [0, 1], rates=f"{','.join(names)},{wider.id}")
        for run in runs:
            loss = abs(run.config[RATE] - 0.09) - 1
            wider.finish(run, {"validation_loss": loss, "normalised_loss": 1.1}, ABOUT_OF_RUN)
        names.append(wider.id)
    assert tried == [0.033, 0.11, 0.37]  # each as far from the edge as its neighbour is, to two digits
    told = sweep(widen(), make_console(json=True))
    assert told["sweep"] is None
    assert told["planned"] == 0
    judged = ledger_of(tmp_path, "judged", 400, [0, 1], rates=",".join(names))
    assert {(run.config["task.lambda"], run.config[RATE]) for run in judged.runs().values()} == {
        (0.5, 0.003),
        (0.9, 0.11),
    }


def test_a_search_is_widened_downwards_too_and_below_a_rate_that_diverged(tmp_path, search):
    found = search(lambda config: 0.001 if config["task.lambda"] == 0.5 else 0.003)
    wider = open_ledger(SweepFlags(str(tmp_path / "search.yaml"), folder=tmp_path / "sweeps", widen=found.id))
    assert {(run.config["task.lambda"], run.config[RATE]) for run in wider.runs().values()} == {(0.5, 0.00033)}


def test_what_cannot_be_widened_is_refused(tmp_path, search):
    found = search(lambda config: 0.01)
    flags = SweepFlags(str(tmp_path / "search.yaml"), folder=tmp_path / "sweeps", widen=found.id)
    with pytest.raises(UserError, match="--widen: a search has rates to try"):
        replace(flags, rates=found.id).check()
    with pytest.raises(UserError, match=r"--widen: the sweep search-\w+ is planned already; give its YAML"):
        sweep(replace(flags, sweep=found.id), make_console(json=True))
    other = tmp_path / "other.yaml"
    other.write_text(TEXT.format(name="other", steps=100, seeds=[7, 8]) + "  task.length: {value: 32}\n")
    with pytest.raises(UserError, match=r"--widen search-\w+: is no search of .*other\.yaml: it has no task\.length"):
        sweep(replace(flags, sweep=str(other)), make_console(json=True))
    unfinished = ledger_of(tmp_path, "search", 101, [7, 8])
    with pytest.raises(Failure, match="0 of 12 runs done"):
        sweep(replace(flags, widen=unfinished.id), make_console(json=True))
