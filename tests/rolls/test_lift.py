"""A model's bets on the order of a block: fair over all orders, whatever the model, by brute force."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.rolls.evidence.counts import WEIGHTS
from bestguess.rolls.evidence.lift import log_factors
from bestguess.rolls.problem import Drawn
from tests.rolls.tiny import lively, made, own, tiny

T, K, V = 5, 3, 7
MULTISETS = [(0, 1, 2, 3, 4), (6, 2, 2, 5, 2), (1, 1, 4, 4, 4)]


def log_p0(seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.ones(V))
    return np.log(p).astype(np.float32)


def table_of(order: tuple[int, ...], seed: int, size: float = 2.0) -> np.ndarray:
    """Return logits [T, K, V] that are anything at all of the values before, and of nothing else."""
    of_prefix = lambda t: np.random.default_rng([seed, t, *order[:t]]).normal(size=(K, V)) * size  # noqa: E731
    return np.stack([of_prefix(t) for t in range(len(order))]).astype(np.float32)


@jax.jit
def factors(logits, target, log_p0):
    normaliser = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    return log_factors(logits, normaliser, log_p0, target)


def of_orders(orders, table) -> np.ndarray:
    """Return ln f of each order, float64 [orders, K, w]."""
    logits = jnp.asarray(np.stack([table(order) for order in orders]))
    p0 = jnp.asarray(log_p0())
    return np.asarray(jax.vmap(lambda a, b: factors(a, b, p0))(logits, jnp.asarray(orders)), np.float64)


def by_hand(logits: np.ndarray, log_p0: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Return Σ ln f [K, w] by the definition, in loops and float64."""
    length, heads, _ = logits.shape
    found = np.zeros((heads, len(WEIGHTS)))
    for h, (k, w) in itertools.product(range(heads), enumerate(WEIGHTS)):
        for t in range(length - h):
            row = logits[t, h].astype(float)
            q = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
            lift = [q[v] / math.exp(log_p0[v]) for v in target[t + h :]]
            found[h, k] += math.log((1 - w) + w * lift[0]) - math.log((1 - w) + w * sum(lift) / len(lift))
    return found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("multiset", MULTISETS)
def test_over_all_orders_of_a_block_every_bet_is_fair(multiset, seed):
    orders = list(itertools.permutations(multiset))
    log_f = of_orders(orders, lambda order: table_of(order, seed))
    mean = np.exp(log_f).mean(axis=0)
    np.testing.assert_allclose(mean, 1, atol=1e-5)
    # And it is a bet: orders differ by far more than that.
    assert np.ptp(log_f[..., 0], axis=0).min() > 0.1


def test_bets_that_look_ahead_are_not_fair():
    """Else the test above would pass for factors that are always 1."""
    orders = list(itertools.permutations(MULTISETS[0]))
    leaky = lambda order: np.roll(table_of(order, 0), -1, axis=0)  # noqa: E731 the row t is a function of target t, too
    informed = lambda order: leaky(order) + 5 * np.eye(V, dtype=np.float32)[np.asarray(order)][:, None]  # noqa: E731
    assert np.exp(of_orders(orders, informed)).mean(axis=0)[0, 0] > 1.5


def test_a_head_bets_on_nothing_before_its_first_position():
    table = table_of((0,) * T, 3)
    base = (0, 1, 2, 3, 4)
    (found,) = of_orders([base], lambda order: table)
    for h in range(1, K):
        for first in itertools.permutations(base[:h]):
            (other,) = of_orders([(*first, *base[h:])], lambda order: table)
            np.testing.assert_array_equal(other[h], found[h])
        (changed,) = of_orders([(*[6] * h, *base[h:])], lambda order: table)  # not even on their multiset
        np.testing.assert_array_equal(changed[h], found[h])
        (moved,) = of_orders([(*base[:h], *base[h:][::-1])], lambda order: table)
        assert (moved[h] != found[h]).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_a_constant_block_is_exactly_nothing(dtype, size):
    for seed in range(3):
        logits = jnp.asarray(table_of((0,) * T, seed, size), dtype)
        found = factors(logits, jnp.full(T, 4), jnp.asarray(log_p0(seed)))
        np.testing.assert_array_equal(np.asarray(found), 0)


def test_the_marginal_bets_on_nothing():
    p0 = jnp.asarray(log_p0())
    logits = jnp.broadcast_to(p0, (T, K, V))
    np.testing.assert_allclose(factors(logits, jnp.asarray(MULTISETS[0]), p0), 0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_definition(seed):
    order = tuple(np.random.default_rng(seed).integers(0, V, T).tolist())
    table = table_of(order, seed)
    found = factors(jnp.asarray(table), jnp.asarray(order), jnp.asarray(log_p0()))
    np.testing.assert_allclose(found, by_hand(table, log_p0(), order), rtol=1e-4, atol=1e-5)


def test_a_lift_beyond_float32_is_still_a_fair_bet():
    """A value that training lacks may have a lift of e^100: it is cut off, above and below alike."""
    p0 = log_p0()
    p0[3] = -150.0
    orders = [order for order in itertools.permutations(MULTISETS[0]) if order[0] == 3 or order[1] == 3]
    logits = jnp.asarray(np.stack([table_of(order, 0) for order in orders]))
    found = jax.vmap(lambda a, b: factors(a, b, jnp.asarray(p0)))(logits, jnp.asarray(orders))
    assert np.isfinite(found).all()


# ------------------------------------------------------------------------------------------ through the trainer's loss


@pytest.fixture(scope="module", params=["raw", "digits", "bits"])
def training(request):
    task = {"window": T + 1, "source": "iid alphabet=9", "tokens": request.param}
    return made(tiny(task=task, model={"outputs": K}))


def noted(training, windows, first_pass: bool = True, **more):
    problem, model, task = training.problem, lively(training), own(training)
    key = jax.random.key(0)

    @jax.jit
    @jax.vmap
    def loss(window):
        return problem.loss(model, task, Drawn(jnp.asarray(0), window, jnp.asarray(first_pass), key))[2]

    return jax.device_get(loss(jnp.asarray(windows, jnp.uint16)))


def test_the_first_pass_bets_fairly_on_every_window(training):
    """The last value of a window is the first of another, that may have been seen before: it is no part of a block."""
    windows = [(2, *order, 7) for order in itertools.permutations((0, 8, 3, 4, 3))]
    log_f = noted(training, windows).log_f.astype(float)
    assert log_f.shape == (120, K, len(WEIGHTS))
    np.testing.assert_allclose(np.exp(log_f).mean(axis=0), 1, atol=1e-5)
    assert np.ptp(log_f[..., 0], axis=0).min() > 0.01


def test_a_value_that_another_window_begins_with_is_not_bet_on(training):
    found = noted(training, [(2, 0, 8, 3, 4, 3, last) for last in range(9)])
    np.testing.assert_array_equal(found.log_f, np.broadcast_to(found.log_f[:1], found.log_f.shape))
    assert len(set(found.nats.tolist())) > 1


def test_a_later_pass_notes_nothing(training):
    for leaf in jax.tree.leaves(noted(training, [(2, 0, 8, 3, 4, 3, 7)], first_pass=False)):
        np.testing.assert_array_equal(leaf, 0)


def test_a_constant_window_is_exactly_nothing(training):
    np.testing.assert_array_equal(noted(training, [(4,) * (T + 2)]).log_f, 0)
