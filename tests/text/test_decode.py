"""Decoding with models that are tables: against plain loops and all sequences there are; batched and one by one."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from bestguess.command import UserError
from bestguess.text.decode import NEVER, Generated, generate, length_penalty
from bestguess.text.generation import GenerationConfig
from bestguess.text.tokens import EOS, PAD

N, V, P, M = 5, 9, 101, 4
WORDS = [5, 6, 7, 8]


class Cache(eqx.Module):
    state: Int[Array, " n"]
    length: Int[Array, ""]


class Prefixes(eqx.Module):
    """Logits are a random function of all tokens so far, of the place, and of where the sequence began."""

    table: Float[Array, "P V"]
    begin: Int[Array, " n"]

    def start(self):
        return self.table[self.begin], Cache(self.begin, jnp.asarray(1))

    def step(self, token, cache):
        state = after(cache.state, token, cache.length)
        return self.table[state], Cache(state, cache.length + 1)

    def of(self, rows: slice) -> Prefixes:
        return Prefixes(self.table, self.begin[rows])


def after(state, token, length):
    """What the model keeps of a prefix, after one more token."""
    return (31 * state + 7 * token + 5 * length + 3) % P


TABLE = np.random.default_rng(3).normal(size=(P, V)).astype(np.float32) * 1.5
TABLE[:, EOS] += 0.5
TABLE[::3, list(NEVER)] += 3  # what is never to be generated is often the most probable
LOG_P = TABLE - np.log(np.exp(TABLE.astype(float)).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def model() -> Prefixes:
    return Prefixes(jnp.asarray(TABLE), jnp.asarray([2, 3, 5, 7, 11]))


def log_p_of(model: Prefixes, row: int, prefix: tuple[int, ...]) -> np.ndarray:
    """Return the model's log p of each next token, float64, by a plain loop."""
    state = int(model.begin[row])
    for place, token in enumerate(prefix, start=1):
        state = after(state, token, place)
    return LOG_P[state]


def log_p_of_all(model: Prefixes, row: int, tokens: tuple[int, ...]) -> float:
    """Return the log p of a whole sequence."""
    return sum(log_p_of(model, row, tokens[:t])[token] for t, token in enumerate(tokens))


def run(model: Prefixes, numbers: np.ndarray | None = None, **config) -> Generated:
    numbers = np.arange(len(model.begin)) if numbers is None else numbers
    return generate(model.start, model.step, GenerationConfig(**{"max_tokens": M} | config), numbers)


def sequences(found: Generated) -> list[tuple[int, ...]]:
    return [tuple(row[:length].tolist()) for row, length in zip(np.asarray(found.tokens), np.asarray(found.length))]


STRATEGIES = [
    {"strategy": "greedy"},
    {"strategy": "sample", "temperature": 1.3},
    {"strategy": "sample", "top_k": 3},
    {"strategy": "sample", "top_p": 0.7, "temperature": 0.8, "top_k": 4},
    {"strategy": "beam", "beams": 3},
]


# ------------------------------------------------------------------------------------------ all strategies


@pytest.mark.parametrize("config", STRATEGIES, ids=str)
def test_a_sequence_is_well_formed_and_its_log_probability_is_the_models_own(model, config):
    found = run(model, max_tokens=7, **config)
    for row, tokens in enumerate(sequences(found)):
        assert not set(tokens) & set(NEVER)
        assert EOS not in tokens[:-1]
        assert bool(found.stopped[row]) == (tokens[-1] == EOS)
        assert bool(found.stopped[row]) or len(tokens) == 7
        assert (np.asarray(found.tokens)[row, len(tokens) :] == PAD).all()
        np.testing.assert_allclose(found.log_probability[row], log_p_of_all(model, row, tokens), rtol=1e-5)
    assert found.tokens.shape == (N, 7)


@pytest.mark.parametrize("config", STRATEGIES, ids=str)
def test_a_batch_is_its_sequences_one_by_one(model, config):
    together = run(model, max_tokens=7, **config)
    assert len(set(np.asarray(together.length).tolist())) > 1  # else no one would wait for another
    for row in range(N):
        alone = run(model.of(slice(row, row + 1)), np.asarray([row]), max_tokens=7, **config)
        assert sequences(alone) == [sequences(together)[row]]
        assert bool(alone.stopped[0]) == bool(together.stopped[row])
        np.testing.assert_allclose(alone.log_probability[0], together.log_probability[row], rtol=1e-6)


@pytest.mark.parametrize("config", STRATEGIES, ids=str)
def test_weights_sources_and_seeds_are_no_part_of_the_compiled_program(model, config):
    traced = []

    class Counting(Prefixes):
        def step(self, token, cache):
            traced.append(token.shape)
            return super().step(token, cache)

    run(Counting(model.table, model.begin), **config)
    before = len(traced)
    assert before
    run(Counting(model.table + 1, model.begin + 1), draw_seed=4, **config)
    assert len(traced) == before


class Ending(eqx.Module):
    """Says 5, 6, EOS with near certainty; tells of every step."""

    told: list = eqx.field(static=True)

    def start(self):
        return self._logits(jnp.full(2, 0)), jnp.asarray(1)

    def step(self, token, cache):
        jax.debug.callback(lambda place: self.told.append(int(place)), cache)
        return self._logits(jnp.full_like(token, cache)), cache + 1

    def _logits(self, place):
        return 20 * jax.nn.one_hot(jnp.asarray([5, 6, EOS, 8])[jnp.minimum(place, 3)], V)


@pytest.mark.parametrize("config", STRATEGIES, ids=str)
def test_generation_ends_when_every_sequence_has(config):
    told: list[int] = []
    ending = Ending(told)
    found = generate(ending.start, ending.step, GenerationConfig(max_tokens=50, **config), np.arange(2))
    jax.effects_barrier()
    assert sequences(found) == [(5, 6, EOS)] * 2
    assert sorted(told) == [1, 2]


# ------------------------------------------------------------------------------------------ one by one


def test_greedy_is_a_plain_loop(model):
    expected = []
    for row in range(N):
        tokens: tuple[int, ...] = ()
        while len(tokens) < 7 and EOS not in tokens:
            log_p = log_p_of(model, row, tokens)
            tokens += (max([EOS, *WORDS], key=lambda token: log_p[token]),)
        expected.append(tokens)
    assert sequences(run(model, max_tokens=7)) == expected
    # What is never generated would have been: the mask is what keeps it out.
    assert any(np.argmax(log_p_of(model, row, tokens[:t])) in NEVER for row, tokens in enumerate(expected) for t in [0])


DRAWS = 6000


def allowed(log_p: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """Return the probabilities that tokens are drawn with, by sorting."""
    log_p = np.where(np.isin(np.arange(V), NEVER), -np.inf, log_p)
    p = np.exp((log_p - log_p.max()) / temperature)
    order = np.argsort(-p)
    p[order[top_k or V :]] = 0
    p /= p.sum()
    kept, mass = [], 0.0
    for token in order:
        if mass < top_p and p[token] > 0:
            kept.append(token)
            mass += p[token]
    drawn = np.zeros(V)
    drawn[kept] = p[kept]
    return drawn / drawn.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, 0, 1.0),
        (0.4, 0, 1.0),
        (1e-39, 0, 1.0),
        (2.0, 3, 1.0),
        (1.0, 0, 0.6),
        (1.5, 4, 0.75),
        (1.0, 1, 1.0),
        (1.0, 0, 1e-6),
    ],
)
def test_tokens_are_drawn_from_what_temperature_top_k_and_top_p_leave(model, temperature, top_k, top_p):
    many = Prefixes(model.table, jnp.full(DRAWS, 13))
    found = run(many, strategy="sample", temperature=temperature, top_k=top_k, top_p=top_p, max_tokens=2)
    tokens = np.asarray(found.tokens)
    expected = allowed(log_p_of(many, 0, ()), temperature, top_k, top_p)
    counts = np.bincount(tokens[:, 0], minlength=V)
    assert not counts[expected == 0].any()
    assert counts[expected > 10 / DRAWS].all()
    assert (np.abs(counts / DRAWS - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / DRAWS)).all()
    # The second token's draw is another one.
    first = np.bincount(tokens[:, 0]).argmax()
    if first != EOS:
        second = np.bincount(tokens[tokens[:, 0] == first, 1], minlength=V)
        expected = allowed(log_p_of(many, 0, (int(first),)), temperature, top_k, top_p)
        assert (np.abs(second / second.sum() - expected) <= 4.5 * np.sqrt(expected / second.sum())).all()


def test_draws_are_a_function_of_seed_and_number(model):
    one = Prefixes(model.table, jnp.full(6, 13))

    def draw(numbers, seed):
        return sequences(run(one, np.asarray(numbers), strategy="sample", draw_seed=seed, max_tokens=9))

    found = draw([0, 1, 2, 3, 4, 5], 0)
    assert draw([5, 4, 3, 2, 1, 0], 0) == found[::-1]
    assert len(set(found)) > 2
    assert draw([0, 1, 2, 3, 4, 5], 1) != found


# ------------------------------------------------------------------------------------------ beam search


def outcomes() -> list[tuple[int, ...]]:
    """Return every sequence that ends within M tokens, and every one that is cut."""
    ended = [(*words, EOS) for length in range(M) for words in itertools.product(WORDS, repeat=length)]
    return ended + list(itertools.product(WORDS, repeat=M))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_a_beam_as_wide_as_all_sequences_is_exhaustive_search(model, alpha):
    found = run(model, strategy="beam", beams=len(WORDS) ** (M - 1), length_penalty=alpha)
    lengths = set()
    for row in range(N):
        score = lambda tokens, row=row: log_p_of_all(model, row, tokens) / ((5 + len(tokens)) / 6) ** alpha  # noqa: E731
        best = max(outcomes(), key=score)
        assert sequences(found)[row] == best
        lengths.add(len(best))
    if alpha:
        assert len(lengths) > 1


def plain_beam(model: Prefixes, row: int, beams: int, alpha: float, most: int) -> tuple[int, ...]:
    """Return the outcome that ranks first, of the beams' ends and of those cut, without ending early."""
    alive: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    best, best_score = (), -np.inf
    for t in range(most):
        longer = []
        for tokens, total in alive:
            log_p = log_p_of(model, row, tokens)
            longer += [((*tokens, word), total + log_p[word]) for word in WORDS]
            score = (total + log_p[EOS]) / ((6 + t) / 6) ** alpha
            if score > best_score:
                best, best_score = (*tokens, EOS), score
        alive = sorted(longer, key=lambda one: -one[1])[:beams]
    tokens, total = alive[0]
    return tokens if total / ((5 + most) / 6) ** alpha > best_score else best


@pytest.mark.parametrize(("beams", "alpha"), [(1, 0.0), (2, 0.6), (2, 4.0), (3, 1.0)])
def test_a_narrow_beam_is_a_plain_loop_that_never_ends_early(model, beams, alpha):
    many = Prefixes(model.table, jnp.arange(20, 43))
    found = run(many, strategy="beam", beams=beams, length_penalty=alpha, max_tokens=7)
    assert sequences(found) == [plain_beam(many, row, beams, alpha, 7) for row in range(23)]
    if alpha == 4.0:
        assert not found.stopped.all()
        assert found.stopped.any()


def test_one_beam_without_penalty_is_at_least_as_probable_as_greedy(model):
    many = Prefixes(model.table, jnp.arange(20, 43))
    beam = run(many, strategy="beam", beams=1, length_penalty=0.0, max_tokens=7)
    greedy = run(many, max_tokens=7)
    assert (beam.log_probability >= greedy.log_probability - 1e-5).all()
    assert (beam.log_probability > greedy.log_probability + 0.1).any()


def test_the_penalty_is_of_the_tokens_generated():
    np.testing.assert_allclose(length_penalty(jnp.asarray([1, 7, 13]), 2.0), [1, 4, 9], rtol=1e-6)
    np.testing.assert_allclose(length_penalty(jnp.asarray(7), 0.0), 1)


# ------------------------------------------------------------------------------------------ the config


def test_the_defaults_are_possible():
    for config in STRATEGIES:
        GenerationConfig(**config).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 5}, "--top-k 5: does nothing with --strategy greedy; add --strategy sample"),
        (
            {"temperature": 0.5, "strategy": "beam"},
            "--temperature 0.5: does nothing with --strategy beam; add --strategy",
        ),
        ({"beams": 2, "strategy": "sample"}, "--beams 2: does nothing with --strategy sample; add --strategy beam"),
        ({"length_penalty": 0.0}, "--length-penalty 0.0: does nothing with --strategy greedy"),
        (
            {"strategy": "sample", "temperature": 0.0},
            "--temperature 0.0: must be positive and finite; --strategy greedy",
        ),
        ({"strategy": "sample", "temperature": float("nan")}, "--temperature nan"),
        ({"strategy": "sample", "top_k": -1}, "--top-k -1: must not be negative"),
        ({"strategy": "sample", "top_p": 0.0}, "--top-p 0.0: must lie in (0, 1]"),
        ({"strategy": "sample", "top_p": 1.1}, "--top-p 1.1"),
        ({"strategy": "beam", "beams": 0}, "--beams 0: must be from 1 to 1,024"),
        ({"strategy": "beam", "length_penalty": -0.1}, "--length-penalty -0.1"),
        ({"max_tokens": 0}, "--max-tokens 0: must be from 1 to 1,048,576"),
        ({"draw_seed": -1}, "--draw-seed -1"),
        ({"draw_seed": 2**31}, "--draw-seed 2147483648"),
    ],
)
def test_an_impossible_value_is_named_in_one_line(change, message):
    with pytest.raises(UserError) as error:
        dataclasses.replace(GenerationConfig(), **change).check()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_configs_and_metrics_import_nothing_heavy():
    code = (
        "import sys, bestguess.text.generation, bestguess.text.metrics, bestguess.text.counting;"
        "print([name for name in ('jax', 'equinox', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
