"""One training step of one run, from top to bottom.

A batch has sequences i, each with a summed loss ℓᵢ(θ) and a count of targets nᵢ. At step t, with learning rate η_t:

    N = Σ nᵢ                    the targets of the batch, over all its micro-batches
    L = Σ ℓᵢ(θ) / N             the mean loss of a target
    g = ∇ Σ ℓᵢ(θ) / N           its gradient
    ĝ = g · min(1, c / ‖g‖)     clipped to the norm c (and by value before, where asked)
    s ← update(s, ĝ)            the optimiser's means of ĝ and ĝ²
    θ ← θ − η_t d(s, θ)         along the optimiser's direction d
    θ̄ ← β_t θ̄ + (1 − β_t) θ     the average of the weights, where asked

Where L or ‖g‖ is not finite, θ, s and θ̄ stay as they were, and the run has stopped at the fault t.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from bestguess.train.optimizer import Optimizer, learning_rate
from bestguess.train.problem import Member, Problem, Purpose, State, member_key

Sums = tuple[Float[Array, ""], Float[Array, ""], PyTree]
"""Σ ℓᵢ, Σ nᵢ, and the sums of what the problem notes (nothing: an empty pytree)."""
Loss = Callable[[PyTree, PyTree, PyTree], Sums]
"""(model, task, what was drawn of the sequences of a micro-batch) → their sums."""


class Taken(NamedTuple):
    """What is told of a step: L, ‖g‖, and whether the run took it."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    live: Bool[Array, ""]


def start(problem: Problem, optimizer: Optimizer, member: Member) -> State:
    """Return the state of one run before its first step."""
    model = problem.init(member.task, member_key(member.seed, Purpose.INIT))
    return State(
        model=model,
        optimizer=optimizer.init(model),
        best=model,
        best_score=jnp.asarray(jnp.inf),
        best_step=jnp.asarray(0),
        stale=jnp.asarray(0),
        stopped=jnp.asarray(False),
        fault_step=jnp.asarray(-1),
        kept=problem.keep(member.task),
        average=model if optimizer.config.average else (),
    )


def step(
    loss: Loss,
    optimizer: Optimizer,
    state: State,
    member: Member,
    t: Int[Array, ""],
    micro: PyTree,
    over_devices: Callable[[PyTree], PyTree] = lambda sums: sums,
    note: Callable[[PyTree, PyTree], PyTree] = lambda kept, noted: kept,
    hold: Callable[[PyTree, PyTree], PyTree] = lambda before, after: after,
) -> tuple[State, Taken]:
    """Return the run's state after step t, and what is told of the step.

    micro: what was drawn of the batch; leaves [micro-batch, sequence, ...].
    over_devices: adds up the sums of the devices that hold a part of the batch each.
    note: makes of what the run keeps, and of the sums of the problem's notes, what it keeps after the step.
    hold: makes of the model before and after the step the one that the run goes on with.
    """
    gradient, summed, count, noted = over_devices(batch_sums(loss, state.model, member.task, micro))
    # Divided once, by all targets of the batch: a mean of micro-batches' means would weigh them wrongly.
    scale = 1 / count
    mean, norm = summed * scale, optax.tree.norm(gradient) * scale

    finite = jnp.isfinite(mean) & jnp.isfinite(norm)
    live = ~state.stopped & finite
    fault = ~state.stopped & ~finite

    seen = optimizer.update(gradient, state.optimizer, state.model, scale, live)  # clips, too
    rate = learning_rate(optimizer.config, member.learning_rate, t)

    def moved():
        direction = optimizer.direction(seen, state.model)
        return hold(state.model, jax.tree.map(lambda p, d: p - rate * d, state.model, direction))

    model = jax.lax.cond(live, moved, lambda: state.model)
    after = dataclasses.replace(
        state,
        model=model,
        optimizer=seen,
        stopped=state.stopped | fault,
        fault_step=jnp.where(fault, t, state.fault_step),
        # What was noted comes of the weights before the step, so a run that does not take it may keep it no less.
        kept=jax.tree.map(lambda new, old: jnp.where(live, new, old), note(state.kept, noted), state.kept),
    )
    if decay := optimizer.config.average:
        averaged = lambda: average(state.average, model, decay, t)  # noqa: E731
        after = dataclasses.replace(after, average=jax.lax.cond(live, averaged, lambda: state.average))
    return after, Taken(mean, norm, live)


def average(mean: PyTree, model: PyTree, decay: float, t: Int[Array, ""]) -> PyTree:
    """Return the moving average of the weights after step t, whose weights are `model`: β_t θ̄ + (1 − β_t) θ.

    β_t = min(β, (1 + t) / (10 + t)), as in TensorFlow's `ExponentialMovingAverage(decay, num_updates)`. At first the
    average is over about a ninth of the steps so far, so that it has left the initial weights behind after a few dozen
    steps, and a training shorter than 1 / (1 − β) does not average over its whole course. The usual correction of
    the bias, a division by 1 − βᵗ (Kingma & Ba, 2015), would weigh all of the first steps alike.
    """
    beta = jnp.minimum(decay, (1 + t) / (10 + t))
    return jax.tree.map(lambda old, new: old + (1 - beta) * (new - old), mean, model)


def batch_sums(
    loss: Loss, model: PyTree, task: PyTree, micro: PyTree
) -> tuple[PyTree, Float[Array, ""], Float[Array, ""], PyTree]:
    """Return (∇ Σ ℓᵢ, Σ ℓᵢ, Σ nᵢ, notes) of a batch, whose micro-batches pass through the model one by one."""

    def sums_of(drawn):
        def with_aux(model):
            summed, count, noted = loss(model, task, drawn)
            return summed, (count, noted)

        (summed, (count, noted)), gradient = jax.value_and_grad(with_aux, has_aux=True)(model)
        return gradient, summed, count, noted

    first = jax.tree.map(lambda leaf: leaf[0], micro)
    if jax.tree.leaves(micro)[0].shape[0] == 1:
        return sums_of(first)
    none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(sums_of, first))
    add = lambda sums, drawn: (jax.tree.map(jnp.add, sums, sums_of(drawn)), None)  # noqa: E731
    return jax.lax.scan(add, none, micro)[0]


def loss_of(problem: Problem) -> Loss:
    """Return the loss of a micro-batch: the problem's, of one sequence, summed over sequences."""

    def loss(model, task, drawn):
        losses, counts, *noted = jax.vmap(lambda each: problem.loss(model, task, each))(drawn)
        return jnp.sum(losses), jnp.sum(counts), jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), noted)

    return loss
