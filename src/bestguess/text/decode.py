"""Generation with any model that reads one token at a time: greedy, sampling, beam search.

A model is two functions. `start()` reads what each of n sequences begins with, and `step(tokens, cache)` one more
token of each; both return the logits of the next token, [n, V], and a cache. The cache is a pytree whose arrays have
the sequences as their first axis; its scalars are shared by all of them, such as a length.

A sequence ends with EOS, which is its last token, or is cut after `max_tokens`. PAD, BOS, SEP and UNK are never
generated; the model's own probabilities, which are reported and rank beams, are those of its whole vocabulary all the
same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from bestguess.text.generation import GenerationConfig
from bestguess.text.tokens import BOS, EOS, PAD, SEP, UNK

Next = tuple[Float[Array, "n V"], PyTree]
"""The logits of the next token, and the cache."""
Start = Callable[[], Next]
Step = Callable[[Int[Array, " n"], PyTree], Next]

NEVER = (PAD, BOS, SEP, UNK)
"""Tokens that are never generated."""


class Generated(NamedTuple):
    """n sequences."""

    tokens: Int[Array, "n max_tokens"]
    """EOS included, where the sequence ended; PAD behind it."""
    length: Int[Array, " n"]
    """Tokens generated; EOS counts."""
    stopped: Bool[Array, " n"]
    """Whether it ended with EOS; else it was cut."""
    log_probability: Float[Array, " n"]
    """Σ log p of its tokens (nats), by the model as it is: at temperature 1, of its whole vocabulary."""


def generate(start: Start, step: Step, config: GenerationConfig, numbers: Int[Array | np.ndarray, " n"]) -> Generated:
    """Return one sequence for each of those that `start` begins.

    start, step: pytrees of Equinox, such as a module's method or an `eqx.Partial`: their arrays are then arguments
    of the compiled program; a plain function is compiled into it, with what it closes over.
    numbers: of each sequence; its random draws are a function of its number and of the seed, whatever else is in
    the batch.
    """
    config.check()
    compiled = dataclasses.replace(config, draw_seed=0)  # another seed is no other program
    return _generate(start, step, compiled, jnp.asarray(config.draw_seed), jnp.asarray(numbers))


@eqx.filter_jit
def _generate(
    start: Start, step: Step, config: GenerationConfig, seed: Int[Array, ""], numbers: Int[Array, " n"]
) -> Generated:
    if config.strategy == "beam":
        return _beam_search(start, step, config)
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
    return _one_by_one(start, step, config, keys)


# ------------------------------------------------------------------------------------------ greedy and sampling


class _Chosen(NamedTuple):
    """Where the loop stands after `t` tokens."""

    t: Int[Array, ""]
    generated: Generated
    cache: PyTree


def _one_by_one(start: Start, step: Step, config: GenerationConfig, keys: Key[Array, " n"]) -> Generated:
    """Return sequences whose tokens are picked one by one, each for good."""

    def choose(t: Int[Array, ""], logits_nV: Float[Array, "n V"], before: Generated) -> Generated:
        live = ~before.stopped
        token_n = jnp.where(live, _pick(config, logits_nV, keys, t), PAD)
        log_p_nV = jax.nn.log_softmax(logits_nV.astype(jnp.float32))
        log_p_n = jnp.take_along_axis(log_p_nV, token_n[:, None], axis=1)[:, 0]
        return Generated(
            before.tokens.at[:, t].set(token_n),
            before.length + live,
            before.stopped | (token_n == EOS),
            before.log_probability + jnp.where(live, log_p_n, 0.0),
        )

    def body(chosen: _Chosen) -> _Chosen:
        # The model reads the last token first, so that it never reads one that nothing follows.
        logits_nV, cache = step(chosen.generated.tokens[:, chosen.t - 1], chosen.cache)
        return _Chosen(chosen.t + 1, choose(chosen.t, logits_nV, chosen.generated), cache)

    def goes_on(chosen: _Chosen) -> Bool[Array, ""]:
        return (chosen.t < config.max_tokens) & ~jnp.all(chosen.generated.stopped)

    n = keys.shape[0]
    logits_nV, cache = start()
    none = Generated(
        jnp.full((n, config.max_tokens), PAD), jnp.zeros(n, int), jnp.zeros(n, bool), jnp.zeros(n, jnp.float32)
    )
    first = _Chosen(jnp.asarray(1), choose(jnp.asarray(0), logits_nV, none), cache)
    return jax.lax.while_loop(goes_on, body, first).generated


def _pick(
    config: GenerationConfig, logits_nV: Float[Array, "n V"], keys: Key[Array, " n"], t: Int[Array, ""]
) -> Int[Array, " n"]:
    """Return a token for each sequence: the most probable, or one drawn.

    Top-p (nucleus; Holtzman et al., 2020) keeps the fewest of the most probable tokens that together have the mass,
    of those that temperature and top-k leave.
    """
    logits_nV = _allowed(logits_nV.astype(jnp.float32))
    if config.strategy == "greedy":
        return jnp.argmax(logits_nV, axis=-1)
    # From the largest on, so that the smallest temperature makes no two infinities.
    logits_nV = (logits_nV - jnp.max(logits_nV, axis=-1, keepdims=True)) / config.temperature
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, t)
    draw = jax.vmap(jax.random.categorical)
    if not config.top_k and config.top_p == 1:
        return draw(keys, logits_nV)
    vocabulary = logits_nV.shape[-1]
    best_nk, token_nk = jax.lax.top_k(logits_nV, min(config.top_k or vocabulary, vocabulary))
    if config.top_p < 1:
        p_nk = jax.nn.softmax(best_nk)
        best_nk = jnp.where(jnp.cumsum(p_nk, axis=-1) - p_nk < config.top_p, best_nk, -jnp.inf)
    return jnp.take_along_axis(token_nk, draw(keys, best_nk)[:, None], axis=1)[:, 0]


def _allowed(logits: Float[Array, "*batch V"]) -> Float[Array, "*batch V"]:
    """Return the logits with −∞ for the tokens that are never generated."""
    return logits.at[..., jnp.asarray(NEVER)].set(-jnp.inf)


# ------------------------------------------------------------------------------------------ beam search


class _Beams(NamedTuple):
    """Where the search stands after `t` tokens: K sequences that go on, and the best outcome so far."""

    t: Int[Array, ""]
    tokens: Int[Array, "n K max_tokens"]
    log_p: Float[Array, "n K"]
    """−∞ for a beam that stands for no sequence."""
    cache: PyTree
    """Of the beams before the last token was chosen."""
    parent: Int[Array, "n K"]
    """Which of those beams each goes on from."""
    best: Generated
    score: Float[Array, " n"]
    """Of the best outcome."""
    done: Bool[Array, " n"]
    """Whether no beam can become better than the best outcome."""


def length_penalty(length: Int[Array, "*batch"] | int, alpha: float) -> Float[Array, "*batch"]:
    """Return what log p is divided by to rank sequences: ((5 + length) / (5 + 1))^α.

    Wu et al. (2016), equation 14, without its coverage penalty. length: tokens generated, EOS among them; neither
    the source nor what the decoder began with counts.
    """
    return ((5.0 + jnp.asarray(length)) / 6.0) ** alpha


def _beam_search(start: Start, step: Step, config: GenerationConfig) -> Generated:
    """Return the best-ranked outcome that a beam meets.

    After each token the K most probable sequences without EOS go on. Each one's end by EOS is an outcome, be it
    among the K most probable continuations or not, as is each of the K that are cut. Log probabilities only fall, so
    the search is done when the best outcome ranks above what any beam would if all its further tokens were certain.
    """
    K, M = config.beams, config.max_tokens
    penalty = lambda length: length_penalty(length, config.length_penalty)  # noqa: E731

    def choose(beams: _Beams, logits_nKV: Float[Array, "n K V"], cache: PyTree) -> _Beams:
        n, _, V = logits_nKV.shape
        log_p_nKV = beams.log_p[..., None] + jax.nn.log_softmax(logits_nKV.astype(jnp.float32))
        t = beams.t + 1
        best, score = better(beams, beams.tokens.at[:, :, beams.t].set(EOS), log_p_nKV[..., EOS], t, True)
        goes_on_nKV = _allowed(log_p_nKV).at[..., EOS].set(-jnp.inf)
        log_p_nK, place_nK = jax.lax.top_k(goes_on_nKV.reshape(n, -1), K)
        parent_nK, token_nK = place_nK // V, place_nK % V
        tokens = jnp.take_along_axis(beams.tokens, parent_nK[..., None], axis=1).at[:, :, beams.t].set(token_nK)
        done = beams.done | (score >= jnp.max(log_p_nK, axis=1) / penalty(M))
        return _Beams(t, tokens, log_p_nK, cache, parent_nK, best, score, done)

    def better(beams: _Beams, tokens_nKM, log_p_nK, length, stopped: bool) -> tuple[Generated, Float[Array, " n"]]:
        """Return the best outcome and its score, with the best of some sequences of one length among them."""
        which_n = jnp.argmax(log_p_nK, axis=1)
        log_p_n = jnp.take_along_axis(log_p_nK, which_n[:, None], axis=1)[:, 0]
        tokens_nM = jnp.take_along_axis(tokens_nKM, which_n[:, None, None], axis=1)[:, 0]
        new = Generated(tokens_nM, jnp.full_like(which_n, length), jnp.full_like(beams.done, stopped), log_p_n)
        score_n = log_p_n / penalty(length)
        take_n = ~beams.done & (score_n > beams.score)
        pick = lambda a, b: jnp.where(take_n.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
        return jax.tree.map(pick, new, beams.best), pick(score_n, beams.score)

    def body(beams: _Beams) -> _Beams:
        n = beams.done.shape[0]
        rows = (jnp.arange(n)[:, None] * K + beams.parent).reshape(-1)
        cache = jax.tree.map(lambda leaf: leaf[rows] if jnp.ndim(leaf) else leaf, beams.cache)
        logits, cache = step(beams.tokens[:, :, beams.t - 1].reshape(-1), cache)
        return choose(beams, logits.reshape(n, K, -1), cache)

    def goes_on(beams: _Beams) -> Bool[Array, ""]:
        return (beams.t < M) & ~jnp.all(beams.done)

    last = jax.lax.while_loop(goes_on, body, choose(*_first_beams(start, K, M)))
    return better(last, last.tokens, last.log_p, last.t, False)[0]


def _first_beams(start: Start, K: int, M: int) -> tuple[_Beams, Float[Array, "n K V"], PyTree]:
    """The search before its first token, and what the model returns for it: one beam stands for the empty sequence."""
    logits_nV, cache = start()
    n = logits_nV.shape[0]
    cache = jax.tree.map(lambda leaf: jnp.repeat(leaf, K, axis=0) if jnp.ndim(leaf) else leaf, cache)
    zeros = jnp.zeros(n, jnp.float32)
    none = Generated(jnp.full((n, M), PAD), jnp.zeros(n, int), jnp.zeros(n, bool), zeros)
    beams = _Beams(
        t=jnp.asarray(0),
        tokens=jnp.full((n, K, M), PAD),
        log_p=jnp.where(jnp.arange(K)[None] == 0, zeros[:, None], -jnp.inf),
        cache=cache,
        parent=jnp.zeros((n, K), int),
        best=none,
        score=jnp.full(n, -jnp.inf),
        done=jnp.zeros(n, bool),
    )
    return beams, jnp.repeat(logits_nV[:, None], K, axis=1), cache
