"""Selection: validation scores choose the rate and the run; a rate does not win by the seeds that it lacks."""

from __future__ import annotations

import itertools
import math

import pytest

from bestguess.config import runs
from bestguess.filters.config import FiltersConfig, FilterTaskConfig
from bestguess.train.config import TrainConfig
from bestguess.workflow.select import best_rate, best_run, select

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({0.1: [3.0, 5.0], 0.2: [4.5, 3.4], 0.3: [9.0, 1.0]}, 0.2),  # the mean, not the minimum
        ({0.1: [3.0, 5.0], 0.2: [1.0]}, 0.1),  # a seed is missing
        ({0.1: [3.0, 5.0], 0.2: [1.0, nan]}, 0.1),  # a seed diverged
        ({0.1: [3.0, 5.0], 0.2: [1.0, inf]}, 0.1),
        ({0.1: [3.0, 5.0], 0.2: [1.0, -inf]}, 0.1),
        ({0.1: [nan, 2.0], 0.2: [1.0, inf]}, 0.2),  # as many each: the lower mean of those that are finite
        ({0.1: [2.0, 2.0], 0.2: [1.0, 3.0]}, 0.1),  # a tie: the first
        ({0.2: [1.0, 3.0], 0.1: [2.0, 2.0]}, 0.2),
        ({0.1: [2.0], 0.2: [2.0], 0.3: [2.0]}, 0.2),  # one within the grid
        ({0.1: [3.0], 0.3: [2.0], 0.2: [2.0]}, 0.2),
        ({0.1: [2.0], 0.2: [3.0], 0.3: [2.0]}, 0.1),  # none of those that tie is within it
        ({0.1: [2.0], 0.2: [2.0], 0.3: []}, 0.2),  # a rate at which all diverged is of the grid
        ({0.1: [nan], 0.2: [inf]}, 0.1),  # nothing is finite: the first
        ({0.1: [], 0.2: [7.0]}, 0.2),
        ({0.1: [7.0]}, 0.1),
        ({None: [7.0, 8.0]}, None),  # a sweep without a rate
    ],
)
def test_the_lowest_mean_among_the_rates_with_most_seeds(scores, chosen):
    assert best_rate(scores) == chosen


RATES, SEEDS, LAMBDAS = (1e-3, 1e-2, 1e-1), 2, (0.5, 0.9)
RUNS = runs(
    FiltersConfig(
        task=FilterTaskConfig(lambda_=LAMBDAS), train=TrainConfig(learning_rate=RATES, seeds=SEEDS, first_seed=7)
    )
)
SCORES = {
    # By λ and seed, one for each rate. The rate 1e-2 has the lowest mean of λ = 0.5, though not its lowest score.
    (0.5, 7): (3.0, 2.0, 1.0), (0.5, 8): (3.0, 1.5, 9.0),
    # Of λ = 0.9 it has one seed less.
    (0.9, 7): (8.0, 1.0, 7.5), (0.9, 8): (8.0, nan, 7.0),
}  # fmt: skip
VALIDATION = [SCORES[run.values["lambda"], run.seed][RATES.index(run.learning_rate)] for run in RUNS]


def test_each_setting_has_a_rate_of_its_own():
    assert select(RUNS, VALIDATION) == {(0.5, "diagonal"): 1e-2, (0.9, "diagonal"): 1e-1}


def test_the_run_to_show_is_the_best_of_the_selected_rate_in_its_setting():
    shown = [RUNS[best_run(RUNS, VALIDATION, (lambda_, "diagonal"))] for lambda_ in LAMBDAS]
    assert [(run.values["lambda"], run.learning_rate, run.seed) for run in shown] == [(0.5, 1e-2, 8), (0.9, 1e-1, 8)]


def test_the_order_of_runs_does_not_select():
    for order in itertools.islice(itertools.permutations(range(len(RUNS))), 0, 10_000, 997):
        shuffled = [RUNS[i] for i in order]
        scores = [VALIDATION[i] for i in order]
        assert select(shuffled, scores) == select(RUNS, VALIDATION)
        assert shuffled[best_run(shuffled, scores, (0.5, "diagonal"))].index == best_run(
            RUNS, VALIDATION, (0.5, "diagonal")
        )


def test_where_nothing_is_finite_there_is_a_run_to_show_all_the_same():
    assert best_run(RUNS, [nan] * len(RUNS), (0.9, "diagonal")) == next(
        i for i, run in enumerate(RUNS) if run.setting == (0.9, "diagonal")
    )


def test_a_faulty_seed_of_the_selected_rate_is_not_shown():
    scores = [nan if run.seed == 8 else score for run, score in zip(RUNS, VALIDATION)]
    shown = RUNS[best_run(RUNS, scores, (0.5, "diagonal"))]
    assert (shown.seed, shown.learning_rate) == (7, 1e-1)
