"""Three ways to generate agree token for token; a beam finds what an exhaustive search does."""

from __future__ import annotations

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.integers.config import IntegerModelConfig
from bestguess.integers.model.decode import _after_windows, _window, beam_search, generate
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.sequences.sampler import PADDING
from tests.compiled import whole

LENGTH = 5
DESIGNS = {
    "rope": IntegerModelConfig(layers=2, d_model=12, heads=3, positions="rope", head="classification"),
    "learned positions, post-norm": IntegerModelConfig(
        layers=2, d_model=12, heads=3, positions="learned", norm="layer", norm_place="post", embedding="fourier"
    ),
    "regression": IntegerModelConfig(layers=1, d_model=8, heads=2, head="regression"),
}


@functools.cache
def model_of(name="rope", seed=0):
    """An untrained model whose head has random weights, so that its guesses differ from term to term."""
    model = IntegerModel(DESIGNS[name], LENGTH, key=jax.random.key(seed))
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(tree, [leaf + 0.4 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("terms", [(3,), (7, 2, 250), (1, 2, 3, 4, 5), (9, 8, 7, 6, 5, 4, 3)])
def test_cached_naive_and_parallel_agree_token_for_token(name, temperature, terms):
    model, steps = model_of(name), 7
    found = {
        method: generate(model, terms, steps, LENGTH, method=method, temperature=temperature, seed=3)
        for method in ("naive", "cached", "parallel")
    }
    naive = found["naive"]
    assert len(naive.terms) == steps
    if name == "rope":
        assert len(set(naive.terms)) > 1
    for method, other in found.items():
        assert other.terms == naive.terms, method
        np.testing.assert_allclose(other.probabilities, naive.probabilities, atol=2e-5)
        np.testing.assert_allclose(other.log_probability, naive.log_probability, atol=1e-3)
    assert found["parallel"].passes <= steps + 1


def test_greedy_takes_the_most_probable_term_of_the_last_terms():
    model = model_of()
    found = generate(model, (7, 2), 6, LENGTH)
    terms = [7, 2]
    run = eqx.filter_jit(lambda terms: model(terms)[0])
    for term, p in zip(found.terms, found.probabilities):
        logits = run(jnp.asarray(terms[-LENGTH:]))
        np.testing.assert_allclose(p, jax.nn.softmax(logits[-1]), atol=1e-5)
        assert term == int(np.argmax(logits[-1]))
        terms.append(term)
    expected = sum(np.log(p[term]) for term, p in zip(found.terms, found.probabilities))
    np.testing.assert_allclose(found.log_probability, expected)


def test_drawn_terms_have_the_model_s_probabilities():
    """χ² of the first drawn term over seeds, at two temperatures."""
    model = model_of()
    for temperature in (1.0, 0.5):
        logits = np.asarray(whole(model, jnp.asarray([7, 2]))[0][-1], np.float64) / temperature
        p = np.exp(logits - logits.max())
        p /= p.sum()
        noise = np.stack([np.random.default_rng([seed, 0]).gumbel(size=256) for seed in range(6_000)])
        count = np.bincount((logits + noise).argmax(axis=1), minlength=256)
        often = p * len(noise) > 5
        assert often.sum() > 3
        statistic = ((count - p * len(noise))[often] ** 2 / (p * len(noise))[often]).sum()
        assert statistic < 3 * often.sum() + 40
        for seed in range(5):
            drawn = generate(model, (7, 2), 1, LENGTH, temperature=temperature, seed=seed).terms[0]
            assert drawn == int((logits + noise[seed]).argmax())


def test_temperature_draws_differ_by_seed():
    model = model_of()
    drawn = {generate(model, (7,), 4, LENGTH, temperature=1.5, seed=seed).terms for seed in range(6)}
    assert len(drawn) > 3


@pytest.mark.parametrize("method", ["cached", "naive"])
def test_a_wide_beam_finds_the_best_of_all_continuations(method):
    """Among the 256² continuations of two terms, where the beam keeps every first term."""
    model = model_of()
    found = beam_search(model, (7, 2, 4, 4), 2, LENGTH, 256, method)
    first = jax.nn.log_softmax(whole(model, jnp.asarray([7, 2, 4, 4]))[0][-1])
    then = jax.vmap(lambda t: model(jnp.asarray([7, 2, 4, 4, 0]).at[4].set(t))[0][-1])
    second = jax.nn.log_softmax(whole(then, jnp.arange(256)))
    both = np.asarray(first)[:, None] + np.asarray(second)
    a, b = np.unravel_index(both.argmax(), both.shape)
    assert found[0].terms == (a, b)
    np.testing.assert_allclose(found[0].log_probability, both[a, b], atol=1e-4)
    scores = [one.log_probability for one in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("terms", [(7,), (1, 2, 3, 4)])
def test_beams_agree_between_methods_beyond_the_window(terms):
    model = model_of()
    naive = beam_search(model, terms, 6, LENGTH, 3, "naive")
    cached = beam_search(model, terms, 6, LENGTH, 3, "cached")
    assert [one.terms for one in naive] == [one.terms for one in cached]
    assert len({one.terms for one in naive}) == 3
    for one, other in zip(naive, cached):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-5)
    greedy = generate(model, terms, 6, LENGTH)
    assert naive[0].log_probability >= greedy.log_probability - 1e-4
    assert beam_search(model, terms, 6, LENGTH, 1)[0].terms == greedy.terms


def test_rotated_positions_alone_cannot_count():
    """Why the default design learns its positions: among equal terms, rotation tells no place from another."""
    sevens = jnp.full(LENGTH, 7)
    rotated = np.asarray(whole(model_of("rope"), sevens)[0])
    np.testing.assert_allclose(rotated, np.broadcast_to(rotated[:1], rotated.shape), atol=1e-4)
    learned = np.asarray(whole(model_of("learned positions, post-norm"), sevens)[0])
    assert np.abs(learned[1:] - learned[0]).max(axis=1).min() > 0.1


def test_a_window_slides_and_is_padded_behind():
    assert _window([1, 2, 3], 5).tolist() == [1, 2, 3, PADDING, PADDING]
    assert _window([1, 2, 3, 4, 5, 6], 5).tolist() == [2, 3, 4, 5, 6]
    model = model_of()
    for terms in itertools.accumulate(([7], [2], [9]), lambda a, b: a + b):
        padded = _after_windows(model, jnp.asarray(_window(terms, LENGTH)[None]))[0]
        np.testing.assert_allclose(padded, whole(model, jnp.asarray(terms))[0][-1], atol=1e-5)
