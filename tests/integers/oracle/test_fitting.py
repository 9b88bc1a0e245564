"""What fits integers as typed: against the table, and on true integers beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.integers.config import IntegerTaskConfig
from bestguess.integers.oracle.exact import Oracle, oracle_of
from bestguess.integers.oracle.fitting import fit
from bestguess.integers.sequences.table import table_of
from tests.integers.oracle.by_table import recurrences

CONFIG = IntegerTaskConfig(prior="narrow")
ENDING = IntegerTaskConfig(overflow="end", length=5, prior="narrow")
WIDE = IntegerTaskConfig(phases=2, length=4)


@pytest.fixture(scope="module", params=[CONFIG, ENDING, WIDE], ids=["wrap", "end", "wide"])
def both(request) -> tuple[IntegerTaskConfig, Oracle]:
    return request.param, oracle_of(request.param)


@settings(max_examples=25)
@given(data=st.data())
def test_the_posterior_is_the_tables(both, data):
    """Two ways to one distribution: rows of the sorted table, and every family's grid gone through."""
    config, oracle = both
    place = data.draw(st.integers(0, len(oracle.table.rows) - 1))
    count = data.draw(st.integers(1, int(oracle.table.lengths[place])))
    terms = oracle.table.rows[place, : min(count, config.length)].tolist()
    answer, expected = fit(config, terms), oracle.predict(terms)
    if expected is None:
        assert answer.residues is None
    else:
        np.testing.assert_allclose(answer.residues, expected, rtol=1e-9, atol=1e-12)
    assert sum(one.probability for one in answer.fits) == pytest.approx(1.0)
    formulas = {name for one in answer.fits for name in (one.formula, *one.others)}
    of_table = {one.formula for one in recurrences(oracle, terms)}
    assert formulas <= of_table
    if not answer.exact:  # nothing was left out for fitting modulo 256 alone
        assert formulas == of_table


@pytest.mark.parametrize(
    ("terms", "words", "following"),
    [
        ((2, 4, 6, 8), "each term is 2 more than the one before", 10),
        ((1, 3, 9, 27), "each term is 3 times the one before", 81),
        ((5, 3, 1, -1), "each term is 2 less than the one before", -3),
        ((10**30, 10**30 + 2, 10**30 + 4, 10**30 + 6), "each term is 2 more than the one before", 10**30 + 8),
        ((-200, 300, -200, 300), "−200 and 300 in turn", -200),
        ((64, 128, 256, 512), "each term is twice the one before", 1024),
        ((257, 258, 515, 773), "each term is the sum of the two before", 1288),
    ],
)
def test_the_simplest_rule_leads_and_runs_on_true_integers(terms, words, following):
    answer = fit(CONFIG, terms)
    assert answer.exact
    assert (answer.fits[0].words, answer.fits[0].following[0]) == (words, following)
    assert next(iter(answer.next)) == following


def test_rules_that_the_terms_do_not_tell_apart_are_one():
    answer = fit(CONFIG, (2, 4, 6, 8))
    assert len(answer.fits) == 1
    assert len(answer.fits[0].others) == 4  # by parity, and by the last two, each with either factor
    assert len({one.following for one in fit(CONFIG, (1, 2)).fits}) == len(fit(CONFIG, (1, 2)).fits)


def test_what_fits_modulo_256_alone_is_said_to():
    answer = fit(CONFIG, (250, 252, 254, 0, 2))
    assert not answer.exact
    assert next(iter(answer.next)) == 4
    assert not fit(ENDING, (250, 252, 254, 0, 2)).fits
    assert fit(CONFIG, (255, 1, 77)).fits == ()


def test_steps_are_run_as_far_as_asked():
    assert fit(CONFIG, (1, 2, 4, 8, 16), 70).fits[0].following[69] == 2**74
    assert fit(ENDING, (60, 120)).fits[0].following  # 240 is inside, 480 is not
    assert (240,) in {one.following for one in fit(ENDING, (60, 120)).fits}


def test_the_wide_prior_is_a_table_that_holds_the_narrow_one():
    narrow, wide = table_of(IntegerTaskConfig(length=4, prior="narrow")), table_of(IntegerTaskConfig(length=4))
    rows = {row.tobytes() for row in wide.rows}
    assert {row.tobytes() for row in narrow.rows} <= rows
    assert len(rows) > 1.5 * len(narrow.rows)
    np.testing.assert_allclose(wide.prior.sum(axis=1), 1.0)
    for terms, following in (
        ((1, 2, 5, 12), 29),
        ((1, 3, 7, 15), 31),
        ((100, 90, 81, 73), 66),
        ((1, 2, 3, 4), 5),
        ((1, 8, 27, 64), 125),
        ((1, 2, 6, 24), 120),
        ((7, 1, 4, 7), 1),
    ):
        assert next(iter(fit(IntegerTaskConfig(), terms).next)) == following
