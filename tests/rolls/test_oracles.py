"""Oracles of many windows, and of the values themselves given all before them, beside `predict` on the whole."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.rolls.sources import SOURCES, base, source_from, spec_of
from bestguess.rolls.sources.chains import Hmm, Markov
from bestguess.rolls.sources.chance import Deck, Halves, Iid, NoisyParity, Repeat
from bestguess.rolls.sources.congruential import Lcg, Pcg
from bestguess.rolls.sources.cycles import Periodic, Renewal
from bestguess.rolls.sources.dice import DiceHmac
from bestguess.rolls.sources.drifting import Drift
from bestguess.rolls.sources.linear import Lfsr, Xorshift
from bestguess.rolls.sources.twister import Mt19937

SMALL = [
    Iid(seed=1, alphabet=5, law="dirichlet"),
    Repeat(seed=1, alphabet=5, lag=3, fraction=0.4),
    Repeat(seed=1, alphabet=5, lag=2, fraction=1.0),
    Halves(seed=1, alphabet=6, epsilon=-0.3),
    Drift(seed=1, alphabet=6, amount=0.5, period=40),
    Deck(seed=1, alphabet=3, copies=2),
    Deck(seed=2, alphabet=31),
    NoisyParity(seed=1, alphabet=8, span=3, noise=0.1),
    Markov(seed=1, alphabet=3, order=2, concentration=0.7),
    Markov(seed=5, alphabet=7, order=1, concentration=0.05),
    Markov(seed=5, alphabet=2, order=5, concentration=0.5),
    Hmm(seed=1, alphabet=5, states=3, stay=0.7),
    Hmm(seed=2, alphabet=7, states=2, stay=0.05),
    Hmm(seed=2, alphabet=3, states=5, stay=1.0),
    Renewal(seed=1, alphabet=3, longest=5),
    Periodic(seed=1, alphabet=5, period=7, noise=0.2),
    Periodic(seed=2, alphabet=2, period=31, noise=0.0),
    Periodic(seed=2, alphabet=3, period=11, noise=0.9),
    Lcg(seed=1, modulus=1 << 10, multiplier=21, increment=7, drop=7),
    Lcg(seed=1, modulus=997, multiplier=7, increment=0, drop=6),
    Lcg(seed=5, modulus=720, multiplier=10, increment=3, drop=5),  # steps merge states
    Lcg(seed=1, modulus=256, multiplier=1, increment=16, drop=4),  # the lower bits never show
    Pcg(seed=1, state_bits=10, bits=3),
    Lfsr(seed=1, degree=5, tap=3, bits=3),
    Lfsr(seed=1, degree=13, tap=4, bits=2),
    Xorshift(seed=1, bits=5),
    Mt19937(seed=1, bits=3),
    DiceHmac(seed=1),
]
every = pytest.mark.parametrize("source", SMALL, ids=spec_of)
every_known = pytest.mark.parametrize("source", [one for one in SMALL if one.name != "mt19937"], ids=spec_of)


def values_of(source, n: int) -> np.ndarray:
    return source.draw(source.start(), n)[0]


def chosen(log_p: np.ndarray, values: np.ndarray) -> np.ndarray:
    return log_p[np.arange(len(values)), values]


# --------------------------------------------------------------------------------------------- windows


@every
@pytest.mark.parametrize("length", [1, 13, 29])
def test_windows_are_predicted_as_one_by_one(source, length):
    indexes = np.array([0, 1, 5, 17, 100, 211, 2])
    line = values_of(source, 211 + length)
    windows = np.stack([line[i : i + length] for i in indexes])
    found = source.predict_windows(windows, indexes)
    assert found.shape == (7, length, source.classes)
    for window, index, log_p in zip(windows, indexes.tolist(), found):
        np.testing.assert_allclose(log_p, source.predict(window, index), atol=1e-9)
        np.testing.assert_allclose(source.log_p_within(window, index), chosen(log_p, window), atol=1e-9)
    np.testing.assert_allclose(np.exp(found).sum(axis=2), 1, rtol=1e-9)


@every
def test_no_windows_and_windows_of_no_values(source):
    assert source.has_oracle
    for n, length in ((0, 13), (3, 0)):
        found = source.predict_windows(np.empty((n, length), np.uint16), np.zeros(n, np.int64))
        assert found.shape == (n, length, source.classes)


def test_windows_that_are_refused():
    with pytest.raises(ValueError, match="GiB"):
        Iid(alphabet=65_536).predict_windows(np.zeros((1 << 6, 1 << 6), np.uint16), np.zeros(1 << 6, np.int64))
    with pytest.raises(ValueError, match="values 0 to 4, not 5"):
        Iid(alphabet=5).predict_windows(np.full((1, 1), 5, np.uint16), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="first indexes"):
        Iid(alphabet=5).predict_windows(np.zeros((2, 3), np.uint16), np.zeros(3, np.int64))


@pytest.mark.parametrize("source", [Pcg(), Lcg(modulus=1 << 25, drop=10), Pcg(state_bits=26, bits=8)])
def test_too_many_states_have_no_oracle(source):
    assert not source.has_oracle
    values = np.zeros(2, np.uint16)
    with pytest.raises(ValueError, match=r"more than 2\^24"):
        source.predict_windows(values[None], np.zeros(1, np.int64))
    with pytest.raises(ValueError, match=r"more than 2\^24"):
        source.log_p(values, 0, values[:0])
    with pytest.raises(ValueError, match=r"more than 2\^24"):
        source.predict(values)


def test_hmm_windows_after_an_impossible_value_are_laws_again():
    source = Hmm(seed=1, alphabet=40, states=2, concentration=0.01)
    never = int(np.flatnonzero((source.table.p == 0).all(axis=0))[0])
    windows = np.array([[never, 0, 0], [0, 0, 0]], np.uint16)
    found = source.predict_windows(windows, np.zeros(2, np.int64))
    np.testing.assert_allclose(np.exp(found).sum(axis=2), 1)


# ------------------------------------------------------------------------------ the values themselves


@every_known
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_log_p_of_a_part_is_that_of_the_whole_file(source, data):
    line = values_of(source, 160)
    whole = chosen(source.predict(line), line)
    index = data.draw(st.integers(0, 159))
    n = data.draw(st.integers(0, 160 - index))
    memory = source.memory(index)
    assert memory <= index
    before = line[index - data.draw(st.integers(memory, index)) : index]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_PIECE", data.draw(st.sampled_from([1, 7, 50, 1 << 20])))
        found = source.log_p(line[index : index + n], index, before)
    np.testing.assert_allclose(found, whole[index : index + n], atol=1e-9)
    if memory:
        with pytest.raises(ValueError, match="before index"):
            source.log_p(line[index : index + n], index, line[index - memory + 1 : index])
    with pytest.raises(ValueError, match="before index"):
        source.log_p(line[index : index + n], index, line[: index + 1])


@pytest.mark.parametrize(
    "source",
    [
        Hmm(seed=1, alphabet=5, states=3, stay=0.4), Periodic(seed=3, alphabet=11, period=101, noise=0.3),
        Lcg(seed=2, modulus=509, multiplier=5, increment=3, drop=4), Pcg(seed=4, state_bits=8, bits=2),
        Xorshift(seed=1, bits=5), Renewal(seed=1, alphabet=3, longest=41),
    ],
    ids=lambda source: source.name,
)  # fmt: skip
def test_what_is_remembered_is_enough(source):
    """Late in a file the values within reach tell as much as all values before."""
    n = 300 if source.name == "xorshift" else 3000
    line = values_of(source, n)
    index = n - 37
    assert source.reach < index
    found = source.log_p(line[index:], index, line[index - source.reach : index])
    np.testing.assert_allclose(found, chosen(source.predict(line), line)[index:], atol=1e-9)


def test_the_twister_s_first_values_are_all_new():
    source = Mt19937(seed=1, bits=3)
    line = values_of(source, 50)
    np.testing.assert_allclose(source.log_p_within(line), chosen(source.predict(line), line))


@pytest.mark.parametrize("source", [Xorshift(seed=1, bits=5), Lcg(seed=1), Pcg(seed=1, state_bits=20, bits=5)])
def test_a_value_that_the_state_excludes_is_impossible(source):
    line = values_of(source, 3000)
    assert (source.log_p(line, 0, line[:0])[200:] == 0).all()
    line[2500] ^= 1
    found = source.log_p(line, 0, line[:0])
    assert (found[200:2500] == 0).all()
    assert found[2500] == -math.inf


def test_a_long_hmm_is_filtered_in_parallel_parts():
    source = Hmm(seed=1, alphabet=5, states=3, stay=0.9)
    line = values_of(source, 20_000)
    assert len(line) // (4 * source.reach) > 5
    np.testing.assert_allclose(source.log_p_within(line), chosen(source.predict(line), line), atol=1e-9)


@pytest.mark.parametrize(
    "source",
    # One of each kind; elimination by Python integers takes its time for every file of the two left out.
    {one.name: one for one in reversed(SMALL) if one.name not in ("mt19937", "xorshift")}.values(),
    ids=spec_of,
)
def test_a_bet_against_the_source_is_a_martingale(source):
    """E[Π q/p*] = 1 for a q with p*'s support, over files that differ in the seed."""
    index, n, files = 4, 9, 250
    products = np.empty(files)
    for seed in range(files):
        file = DiceHmac(seed=seed) if source.name == "dice-hmac" else dataclasses.replace(source, seed=seed)
        line = values_of(file, index + n)
        p = np.exp(file.predict(line)[index:])
        q = p * (1 + 0.5 * np.where(np.arange(file.classes) % 2 == line[index - 1 : -1, None] % 2, 1, -1))
        q /= q.sum(axis=1, keepdims=True)
        log_p = file.log_p(line[index:], index, line[index - file.memory(index) : index])
        products[seed] = np.exp(np.sum(np.log(chosen(q, line[index:])) - log_p))
    error = products.std(ddof=1) / files**0.5
    assert abs(products.mean() - 1) < 4 * error + 1e-9


# ------------------------------------------------------------------------------------ sources as text


@pytest.mark.parametrize("source", [*SMALL, *(kind(seed=3) for kind in SOURCES.values())], ids=spec_of)
def test_a_source_is_written_and_read(source):
    assert source_from(spec_of(source), source.seed) == source


@given(client=st.text(max_size=12), server=st.text(max_size=12), noise=st.floats(0, 1), alphabet=st.integers(2, 65_536))
@settings(deadline=None, max_examples=60)
def test_any_parameters_are_written_and_read(client, server, noise, alphabet):
    for source in (
        DiceHmac(seed=2, client_seed="".join(client.split("\x00"))[:8], server_seed=server),
        Periodic(seed=2, alphabet=alphabet, noise=noise),
    ):
        assert source_from(spec_of(source), 2) == source


def test_only_what_is_not_a_default_is_written():
    assert spec_of(Hmm(seed=9)) == "hmm"
    assert spec_of(DiceHmac(seed=9)) == "dice-hmac"
    assert spec_of(Iid(alphabet=1000, law="zipf")) == "iid alphabet=1000 law=zipf"
    assert spec_of(DiceHmac(client_seed="a b")) == "dice-hmac 'client_seed=a b'"
    assert source_from("lcg modulus=6.4e4 drop=0", 1) == Lcg(seed=1, modulus=64_000, drop=0)
    assert source_from(" dice-hmac  client-seed='a b' ", 1) == DiceHmac(seed=1, client_seed="a b")
    assert source_from("iid exponent=2 law=zipf", 1) == Iid(seed=1, exponent=2.0, law="zipf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--source : is empty"),
        ("hm", "--source hm: unknown source hm; did you mean hmm?"),
        (
            "hmm stai=.5",
            "--source hmm stai=.5: hmm has no parameter stai; did you mean stay?; it takes alphabet, states",
        ),
        ("hmm seed=1", "hmm has no parameter seed; it takes"),
        ("hmm stay", "stay has no value; write stay=0.98"),
        ("hmm stay=1 stay=1", "stay is given twice"),
        ("hmm stay=much", "stay=much is not a number such as 0.5"),
        ("hmm stay=2", "--source hmm stay=2: stay 2.0: must be 0 to 1"),
        ("hmm stay=nan", "must be 0 to 1"),
        ("hmm states=2.5", "states=2.5 is not an integer such as 1000 or 1e6"),
        ("hmm states=1e999999999", "states=1e999999999 is not an integer"),
        ("hmm states=inf", "states=inf is not an integer"),
        ("hmm states=", "states= is not an integer"),
        ("iid law=none", "law=none is not one of uniform, zipf, dirichlet"),
        ("dice-hmac client_seed='a", "No closing quotation"),
    ],
)
def test_a_text_that_names_no_source(text, said):
    with pytest.raises(UserError) as caught:
        source_from(text, 0)
    assert str(caught.value).startswith(f"--source {text}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_any_text_makes_a_source_or_one_line(text):
    refusal = "--source hmm "
    try:
        assert source_from(f"hmm {text}", 0) == Hmm()
    except UserError as error:
        refusal = str(error)
    assert refusal.startswith("--source hmm ")
    assert "\n" not in refusal
