"""Sources draw the same values however they are cut, and their oracles and floors are exact."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import math
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.rolls.sources import SOURCES, dice, source_of
from bestguess.rolls.sources.base import measured
from bestguess.rolls.sources.chains import Hmm, Markov
from bestguess.rolls.sources.chance import Deck, Halves, Iid, NoisyParity, Repeat
from bestguess.rolls.sources.congruential import Lcg, Pcg, jump, pcg_set_up, xsh_rr
from bestguess.rolls.sources.cycles import Periodic, Renewal
from bestguess.rolls.sources.dice import DiceHmac
from bestguess.rolls.sources.drifting import Drift
from bestguess.rolls.sources.linear import Lfsr, Span, Xorshift
from bestguess.rolls.sources.sha256 import Hmac
from bestguess.rolls.sources.tables import Table, dirichlet
from bestguess.rolls.sources.twister import Mt19937

SMALL = {
    "iid": Iid(seed=1, alphabet=5, law="dirichlet"),
    "repeat": Repeat(seed=1, alphabet=5, lag=3, fraction=0.4),
    "halves": Halves(seed=1, alphabet=6, epsilon=-0.3),
    "deck": Deck(seed=1, alphabet=3, copies=2),
    "drift": Drift(seed=1, alphabet=6, amount=0.4, period=90),
    "noisy-parity": NoisyParity(seed=1, alphabet=8, span=3, noise=0.1),
    "markov": Markov(seed=1, alphabet=3, order=2, concentration=0.7),
    "hmm": Hmm(seed=1, alphabet=5, states=3, stay=0.7),
    "renewal": Renewal(seed=1, alphabet=3, longest=5),
    "periodic": Periodic(seed=1, alphabet=5, period=7, noise=0.2),
    "lcg": Lcg(seed=1, modulus=1 << 10, multiplier=21, increment=7, drop=7),
    "pcg": Pcg(seed=1, state_bits=10, bits=3),
    "lfsr": Lfsr(seed=1, degree=5, tap=3, bits=3),
    "xorshift": Xorshift(seed=1, bits=5),
    "mt19937": Mt19937(seed=1, bits=3),
    "dice-hmac": DiceHmac(seed=1),
}
every_source = pytest.mark.parametrize("name", list(SOURCES))
with_oracle = pytest.mark.parametrize("name", [name for name in SMALL if SMALL[name].has_oracle])


def values_of(source, n: int) -> np.ndarray:
    return source.draw(source.start(), n)[0]


@every_source
@given(cuts=st.lists(st.integers(0, 1500), max_size=4))
@settings(max_examples=12, deadline=None)
def test_the_same_values_however_they_are_cut(name, cuts):
    source = SMALL.get(name) or SOURCES[name](seed=1)
    whole, end = source.draw(source.start(), 1500)
    assert whole.dtype == np.uint16
    assert whole.max() < source.classes
    edges = [0, *sorted(cuts), 1500]
    state, pieces = source.start(), []
    for first, last in itertools.pairwise(edges):
        state = json.loads(json.dumps(state))  # a state outlives its process
        values, state = source.draw(state, last - first)
        pieces.append(values)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert json.dumps(state) == json.dumps(end)


@every_source
def test_seeds_differ_and_defaults_have_64_values_or_more(name):
    one, two = SOURCES[name](seed=1), SOURCES[name](seed=2)
    assert one.classes >= 64
    assert not np.array_equal(values_of(one, 300), values_of(two, 300))
    np.testing.assert_array_equal(values_of(one, 300), values_of(SOURCES[name](seed=1), 300))
    floor = one.floor()
    assert 0 <= floor.bits <= math.log2(one.classes) + 1e-12
    assert floor.says
    assert (floor.known_after is not None) == (floor.bits == 0)


@with_oracle
def test_an_oracle_is_a_distribution_and_sees_no_future(name):
    source = SMALL[name]
    n = 40 if source.classes > 100 else 200
    values = values_of(source, n)
    log_p = source.predict(values)
    assert log_p.shape == (n, source.classes)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-9)
    assert np.isfinite(log_p[np.arange(n), values]).all()
    assert len(source.predict(values[:0])) == 0
    np.testing.assert_allclose(source.predict(values[: n // 2]), log_p[: n // 2], rtol=1e-9)


@pytest.mark.parametrize(
    "source",
    [
        SMALL["repeat"], SMALL["halves"], SMALL["drift"], SMALL["noisy-parity"], SMALL["markov"], SMALL["renewal"],
        SMALL["deck"], Iid(seed=2, alphabet=9, law="zipf"), Hmm(seed=3, alphabet=9, states=3, stay=0.9),
        Periodic(seed=2, alphabet=5, period=7, noise=0.3), Repeat(seed=1, alphabet=977), DiceHmac(seed=4),
    ],
    ids=lambda source: source.name,
)  # fmt: skip
def test_the_floor_is_what_the_oracle_loses_on_the_source_s_values(source):
    n = 6000 if source.classes < 1000 else 800 if source.classes > 10_000 else 3000
    values, floor = values_of(source, n), source.floor()
    log_p = source.predict(values)[64:]
    losses = -log_p[np.arange(n - 64), values[64:]] / np.log(2)
    error = np.array([part.mean() for part in np.array_split(losses, 24)]).std(ddof=1) / 24**0.5
    assert abs(losses.mean() - floor.bits) < 5 * error + 1e-9
    told = measured(source, values, skip=64)
    assert abs(told.bits - floor.bits) < 5 * (told.standard_error + floor.standard_error) + 1e-9
    for k, mass in floor.top.items():
        ranks = (log_p > log_p[np.arange(n - 64), values[64:]][:, None]).sum(axis=1)
        assert told.top[k] == pytest.approx(mass, abs=0.03)
        # Ties are common where values are alike: fewer rank ahead of the value than would be drawn ahead of it.
        assert (ranks < k).mean() > mass - 5 * (0.25 / (n - 64)) ** 0.5 - 0.01


# ------------------------------------------------------------------------- oracles beside enumeration


def log_likelihood(source, values) -> np.ndarray:
    """ln p of a sequence and of its beginnings, from the oracle's predictions one after another."""
    values = np.array(values, np.uint16)
    return np.cumsum(source.predict(values)[np.arange(len(values)), values])


def all_sequences(source, n: int):
    return itertools.product(range(source.classes), repeat=n)


def test_markov_beside_all_contexts():
    source = SMALL["markov"]
    p, pi = source.table.p, source.stationary
    np.testing.assert_allclose(source._step(pi[:, None] * p), pi, atol=1e-12)
    for values in all_sequences(source, 4):
        total = 0.0
        for first in range(9):
            context, weight = first, pi[first]
            for value in values:
                weight *= p[context, value]
                context = (3 * context + value) % 9
            total += weight
        assert np.exp(log_likelihood(source, values)[-1]) == pytest.approx(total, rel=1e-9, abs=1e-15)


def test_hmm_beside_all_paths():
    source = SMALL["hmm"]
    p = source.table.p
    step = np.full((3, 3), 0.15) + np.eye(3) * 0.55
    for values in [(0, 1, 2, 3, 4), (4, 4, 4, 0, 0), (1, 1, 3, 1, 2)]:
        total = sum(
            np.prod([1 / 3, *(step[a, b] for a, b in itertools.pairwise(path))])
            * np.prod([p[s, v] for s, v in zip(path, values)])
            for path in itertools.product(range(3), repeat=5)
        )
        assert np.exp(log_likelihood(source, values)[-1]) == pytest.approx(total, rel=1e-9)


def test_renewal_beside_all_gaps():
    source = SMALL["renewal"]
    for values in itertools.product((0, 1), repeat=7):
        times = [t for t, value in enumerate(values) if value]
        total = 0.0
        for wait in range(5):  # P(first renewal after `wait`) ∝ 5 − wait
            first = wait if wait < 7 else 7
            if (times or [7])[0] != first and not (not times and wait >= 7):
                continue
            weight = (5 - wait) / 15
            for a, b in itertools.pairwise(times):
                weight *= 1 / 5 if b - a <= 5 else 0
            if times:
                weight *= max(0, 5 - (6 - times[-1])) / 5
            total += weight
        if not times:
            total = sum((5 - wait) / 15 for wait in range(7, 5))
        found = np.exp(log_likelihood(source, values)[-1]) if total else 0
        assert found == pytest.approx(total / 2 ** len(times), rel=1e-9)


def test_deck_beside_all_orders():
    source = Deck(alphabet=3, copies=2)
    orders = [tuple(c // 2 for c in order) for order in itertools.permutations(range(6))]
    for index in (0, 2):
        for values in [(0, 1, 2, 0), (0, 0, 1, 1), (2, 0, 2, 1)]:
            for n in range(1, 5):
                fits = np.mean([order[index : index + n] == values[:n] for order in orders])
                log_p = source.predict(np.array(values[:n], np.uint16), index)
                found = np.exp(log_p[np.arange(n), values[:n]].sum())
                assert found == pytest.approx(fits, rel=1e-9)


def test_noisy_parity_beside_all_first_bits():
    source = SMALL["noisy-parity"]
    draw = np.random.default_rng(0)
    for values in draw.integers(0, 8, (20, 6)).tolist():
        total = 0.0
        for bits in itertools.product((0, 1), repeat=3):
            weight, line = 1 / 8, list(bits)
            for value in values:
                parity = sum(line[-3:]) % 2
                weight *= 1 / 4 * (0.9 if value & 1 == parity else 0.1)
                line.append(value >> 1 & 1)
            total += weight
        # The first three predictions do not look at what the noisy bits tell of those before the file.
        given_three = source.predict(np.array(values, np.uint16))
        assert np.exp(given_three[:3]) == pytest.approx(1 / 8)
        assert np.exp(log_likelihood(source, values)[3] - log_likelihood(source, values)[2]) in (
            pytest.approx(0.9 / 4),
            pytest.approx(0.1 / 4),
        )
        assert total == pytest.approx(np.exp(log_likelihood(source, values)[-1]), rel=1e-9)


def test_periodic_beside_all_phases():
    source = SMALL["periodic"]
    pattern = source.pattern
    for values in np.random.default_rng(0).integers(0, 5, (20, 9)):
        total = np.mean([np.prod(0.04 + 0.8 * (pattern[(phase + np.arange(9)) % 7] == values)) for phase in range(7)])
        assert np.exp(log_likelihood(source, values)[-1]) == pytest.approx(total, rel=1e-9)


def test_drift_beside_its_definition():
    source = Drift(seed=3, alphabet=6, amount=0.3, period=8)
    upper = [0.2, 0.35, 0.5, 0.65, 0.8, 0.65, 0.5, 0.35]
    for index in (0, 5, 803):
        p = np.exp(source.predict(np.zeros(9, np.uint16), index))
        for t in range(9):
            assert p[t] == pytest.approx(np.repeat([1 - upper[(index + t) % 8], upper[(index + t) % 8]], 3) / 3)
    often = (values_of(source, 80_000).reshape(-1, 8) >= 3).mean(axis=0)
    np.testing.assert_allclose(often, upper, atol=5 * (0.25 / 10_000) ** 0.5)
    binary = -np.mean([p * math.log2(p) + (1 - p) * math.log2(1 - p) for p in upper])
    floor = source.floor()
    assert floor.bits == pytest.approx(math.log2(3) + binary, abs=1e-8)
    high = np.mean([max(p, 1 - p) for p in upper])
    assert floor.top == pytest.approx({1: high / 3, 3: high, 5: high + (1 - high) * 2 / 3})
    # A period longer than the floor's grid comes to the same as one on it.
    assert Drift(period=1 << 30).floor().bits == pytest.approx(Drift(period=1 << 16).floor().bits, abs=1e-6)


def test_repeat_and_halves_beside_their_definitions():
    source = SMALL["repeat"]
    p = np.exp(source.predict(np.array([0, 1, 2, 3, 1], np.uint16)))
    assert p[:3] == pytest.approx(0.2)
    assert p[3] == pytest.approx(np.array([0.52, 0.12, 0.12, 0.12, 0.12]))
    assert p[4, 1] == pytest.approx(0.52)
    p = np.exp(SMALL["halves"].predict(np.array([0, 5], np.uint16)))
    assert p[0] == pytest.approx(1 / 6)
    assert p[1] == pytest.approx([0.35 / 3] * 3 + [0.65 / 3] * 3)


def test_lcg_beside_all_states():
    source = SMALL["lcg"]
    values = values_of(source, 5)
    log_p = source.predict(values)
    for n in range(5):
        followers = []
        for state in range(1024):
            shown, x = [], state
            for _ in range(n + 1):
                shown.append(x >> 7)
                x = (21 * x + 7) % 1024
            if shown[:n] == values[:n].tolist():
                followers.append(shown[n])
        share = np.bincount(followers, minlength=8) / len(followers)
        np.testing.assert_allclose(np.exp(log_p[n]), share, atol=1e-12)
    assert sum(source.entropies(9)) == pytest.approx(10)


def test_lfsr_beside_all_registers():
    source = SMALL["lfsr"]
    values = values_of(source, 4)
    log_p = source.predict(values)
    for n in range(4):
        followers = []
        for register in range(32):
            line = [register >> k & 1 for k in (4, 3, 2, 1, 0)]
            while len(line) < 5 + 3 * (n + 1):
                line.append(line[-5] ^ line[-3])
            shown = [int("".join(map(str, line[5 + 3 * i : 8 + 3 * i])), 2) for i in range(n + 1)]
            if shown[:n] == values[:n].tolist():
                followers.append(shown[n])
        np.testing.assert_allclose(np.exp(log_p[n]), np.bincount(followers, minlength=8) / len(followers), atol=1e-12)


# ------------------------------------------------------------------------------ independent generators


@given(
    index=st.sampled_from([0, 7, 95, 9_990, 99_995, 10**9 - 3, 123_456_789]),
    seed=st.integers(0, 3),
    server=st.sampled_from(["", "s", "s" * 65]),
    client=st.sampled_from(["", "a client", "c" * 45, "c" * 54, "c" * 200]),
)
@settings(deadline=None, max_examples=20)
def test_dice_beside_the_standard_library(index, seed, server, client):
    source = DiceHmac(seed=seed, client_seed=client, server_seed=server)
    expected = []
    for nonce in range(index, index + 20):
        digest = hmac.new(source.server_seed.encode(), f"{client}:{nonce}:0".encode(), hashlib.sha256).digest()
        u = sum(byte / 256 ** (k + 1) for k, byte in enumerate(digest[:4]))
        expected.append(math.floor(u * 10_001))
    assert source.at(index, 20).tolist() == expected
    hmac_of = Hmac(source.server_seed.encode())
    together = [source.together(hmac_of, *ends) for ends in dice.stretches(index, index + 20)]
    assert np.concatenate(together).tolist() == expected


@pytest.mark.parametrize("faster", [True, False])
def test_dice_are_the_same_from_hashlib_and_from_arrays(faster, monkeypatch):
    monkeypatch.setattr(dice, "hashlib_is_faster", lambda: faster)
    found = DiceHmac(seed=8).at(95_000, 12_000)
    np.testing.assert_array_equal(found[4_990:5_050], DiceHmac(seed=8).at(99_990, 60))
    assert hashlib.sha256(found.tobytes()).hexdigest()[:12] == "3172816d97f7"


@given(key=st.binary(max_size=100), message=st.binary(min_size=1, max_size=200), data=st.data())
@settings(deadline=None, max_examples=30)
def test_any_key_and_message(key, message, data):
    differs = data.draw(st.integers(0, len(message) - 1))
    columns = [*message[:differs], np.array([message[differs], 0], np.uint8), *message[differs + 1 :]]
    digest = hmac.new(key, message, hashlib.sha256).digest()
    assert int(Hmac(key).first_words(columns)[0]) == int.from_bytes(digest[:4], "big")


def test_the_dice_s_floor():
    source = DiceHmac()
    words_of = np.rint(source.law_p * 2**32).astype(int)
    assert set(words_of.tolist()) == {429_453, 429_454}
    assert words_of.sum() == 2**32
    assert math.log2(10_001) - source.floor().bits == pytest.approx(6.6e-13, abs=4e-13)
    assert round(source.floor().bits, 6) == 13.287857
    assert DiceHmac(server_seed="known").at(0, 9).tolist() != source.at(0, 9).tolist()


def test_pcg_is_the_reference_s_demo():
    """The first outputs that `pcg32-demo` prints for state 42 and stream 54."""
    expected = [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E]
    state, increment = pcg_set_up(42, 54, 64)
    states = [state]
    for _ in range(5):
        states.append((6364136223846793005 * states[-1] + increment) % 2**64)
    assert xsh_rr(np.array(states, np.uint64), 64).tolist() == expected
    source = Pcg(seed=3)
    assert source.at(0, 6).tolist() == source.shown(source.after(np.array([source.first()], np.uint64), 0)).tolist() + [
        int(source.shown(source.after(np.array([source.first()], np.uint64), steps))[0]) for steps in range(1, 6)
    ]


@pytest.mark.parametrize(("bits", "shift", "drop", "turn"), [(16, 5, 5, 13), (32, 10, 12, 28), (64, 18, 27, 59)])
def test_small_pcgs_have_the_published_shifts(bits, shift, drop, turn):
    """`pcg_rotr_8(((state >> 5u) ^ state) >> 5u, state >> 13u)` and so on, in the reference's header."""
    half, mask = bits // 2, (1 << bits // 2) - 1
    states = np.random.default_rng(1).integers(0, 1 << bits, 300, np.uint64, endpoint=False)
    for state, output in zip(states.tolist(), xsh_rr(states, bits).tolist()):
        mixed, by = ((state >> shift ^ state) >> drop) & mask, state >> turn
        assert output == (mixed >> by | mixed << (-by % half)) & mask


def test_a_small_pcg_visits_all_states():
    for bits in (8, 10, 16):
        source = Pcg(seed=2, state_bits=bits, bits=1)
        states, x = set(), np.array([source.first()], np.uint64)
        for _ in range(1 << min(bits, 10)):
            states.add(int(x[0]))
            x = source.after(x)
        assert len(states) == 1 << min(bits, 10)
        assert int(source.after(x, (1 << bits) - len(states))[0]) == source.first()


def test_lcgs_step_by_step():
    for source in (Lcg(seed=3), Lcg(seed=3, modulus=2**31 - 1, multiplier=48_271, increment=0, drop=23),
                   Lcg(seed=3, modulus=2**32, multiplier=1_664_525, increment=1_013_904_223, drop=16)):  # fmt: skip
        x, expected = source.first(), []
        for _ in range(300):
            expected.append(x >> source.drop)
            x = (source.multiplier * x + source.increment) % source.modulus
        assert source.at(0, 300).tolist() == expected
        assert source.at(123, 50).tolist() == expected[123:173]
    with pytest.raises(ValueError, match="all states"):
        Lcg(modulus=2**32, drop=16).predict(np.zeros(3, np.uint16))
    a, c = jump(5, 3, 1000, 7919)
    x = 11
    for _ in range(1000):
        x = (5 * x + 3) % 7919
    assert (a * 11 + c) % 7919 == x


def test_a_long_piece_of_a_jumping_source_is_its_short_pieces():
    for source in (Lcg(seed=1), Xorshift(seed=1), Lfsr(seed=1), Pcg(seed=1)):
        whole = source.at(5, 140_000)
        for index in (5, 1030, 65_541, 131_100):
            np.testing.assert_array_equal(source.at(index, 99), whole[index - 5 : index + 94])


def test_xorshift_step_by_step():
    source = Xorshift(seed=9)
    state, expected = source._first(), []
    x, y, z, w = (state >> k & 0xFFFFFFFF for k in (0, 32, 64, 96))
    for _ in range(200):
        t = (x ^ x << 11) & 0xFFFFFFFF
        x, y, z = y, z, w
        w = w ^ w >> 19 ^ t ^ t >> 8
        expected.append(w >> 16)
    assert source.at(0, 200).tolist() == expected
    assert source.new_bits() == [16, 16, 16, 16, 11, 11, 11, 11, 5, 5, 5, 5]


def test_xorshift_is_known_after_12_values():
    source = Xorshift(seed=9)
    values = values_of(source, 15)
    found = source.predict(values)
    bits = -found[np.arange(15), values] / np.log(2)
    np.testing.assert_allclose(bits, [16] * 4 + [11] * 4 + [5] * 4 + [0] * 3, atol=1e-9)


def test_the_twister_beside_python_s():
    source = Mt19937(seed=4)
    state = source.start()
    theirs = random.Random()
    theirs.setstate((3, (*state["key"], state["pos"]), None))
    assert values_of(source, 1300).tolist() == [theirs.getrandbits(32) >> 16 for _ in range(1300)]
    assert source.floor().known_after == 1247


def test_the_twister_s_forms_are_its_bits():
    source = Mt19937(seed=4)
    values = values_of(source, 640).tolist()
    state = sum(word << 32 * k for k, word in enumerate(source.start()["key"]))
    for value, forms in zip(values, source.forms()):
        bits = [(form & state).bit_count() % 2 for form in forms]
        assert value == int("".join(map(str, bits)), 2)


def test_a_span_knows_what_follows():
    span = Span(4)
    assert [span.learn(0b0110, 1), span.learn(0b0011, 0), span.learn(0b0101, 1)] == [True, True, False]
    assert span.reduce(0b0101) == (0, 1)
    assert span.reduce(0b1000)[0] == 0b1000
    assert len(span) == 2


def test_tables_are_exact():
    table = Table(np.array([[1.0, 2, 1], [0, 0, 5]]))
    assert table.p.tolist() == [[0.25, 0.5, 0.25], [0, 0, 1]]
    word = np.array([0, 2**30 - 1, 2**30, 3 * 2**30 - 1, 3 * 2**30, 2**32 - 1], np.uint32)
    assert table.draw(word).tolist() == [0, 0, 1, 1, 2, 2]
    assert table.draw(word, np.array([1, 0, 1, 0, 1, 0])).tolist() == [2, 0, 2, 1, 2, 2]
    rows = dirichlet(3, 1, 2000, 4, 0.5).p
    np.testing.assert_allclose(rows.mean(axis=0), 0.25, atol=0.03)
    np.testing.assert_allclose(rows.var(axis=0), 0.25 * 0.75 / 3, atol=0.01)


# ------------------------------------------------------------------------------------- wrong parameters

_NUMBERS = st.one_of(st.integers(-3, 70), st.sampled_from([10**9, 2**64, -(10**20)]))
_FRACTIONS = st.one_of(st.floats(), st.sampled_from([0.0, 0.5, 1.0, -1.0]))


@every_source
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_parameters_make_values_or_one_line(name, data):
    given_ones = {}
    for parameter, default in SOURCES[name]().parameters().items():
        if data.draw(st.booleans()):
            if isinstance(default, str):
                given_ones[parameter] = "zipf" if parameter == "law" else data.draw(st.text(max_size=40))
            else:
                given_ones[parameter] = data.draw(_FRACTIONS if isinstance(default, float) else _NUMBERS)
    refusal = ""
    try:
        source = source_of(name, data.draw(st.integers(-1, 3)), given_ones)
    except UserError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert refusal.startswith("--")
        return
    values = values_of(source, 50)
    assert len(values) == 50
    assert values.max() < source.classes
    assert math.isfinite(source.floor().bits)


def test_a_parameter_that_a_source_does_not_have():
    with pytest.raises(UserError, match="--stay: iid has no such parameter; it takes --alphabet"):
        source_of("iid", 0, {"stay": 0.5})
    with pytest.raises(UserError, match="did you mean hmm"):
        source_of("hm", 0, {})
    with pytest.raises(ValueError, match="GiB"):
        Iid(alphabet=65_536).predict(np.zeros(1 << 12, np.uint16))
    with pytest.raises(ValueError, match="more than 2\\^24"):
        Pcg().predict(np.zeros(3, np.uint16))
