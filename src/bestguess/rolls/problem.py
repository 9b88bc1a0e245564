"""What the trainer is given: windows of a file in a keyed order, and the evidence of the first pass over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt16

from bestguess.nn.cross_entropy import cross_entropy
from bestguess.rolls.config import RollsConfig
from bestguess.rolls.evidence.counts import WEIGHTS
from bestguess.rolls.evidence.lift import log_factors
from bestguess.rolls.model import RollsModel, Shape
from bestguess.rolls.values import Rolls
from bestguess.train.config import TrainConfig
from bestguess.train.permutation import order_key, permuted, shift
from bestguess.train.problem import Problem, Turn

_BATCH = 128
"""Validation windows that are judged at once."""


class Data(eqx.Module):
    """What a run knows of its values: arrays."""

    values: UInt16[Array | np.ndarray, "*run n"] | None
    """The training part, where it lives on the device."""
    validation: UInt16[Array | np.ndarray, "*run m L"]
    """Windows that select, of L = T + 1 values."""
    of_value: Int[Array | np.ndarray, "*run K"]
    """The token of each value."""
    log_within: Float[Array | np.ndarray, "*run K"]
    """ln of the probability of each value within its token's bin (nats)."""
    best_in_bin: Int[Array | np.ndarray, "*run V"]
    """The most probable value of each token's bin."""
    log_p0: Float[Array | np.ndarray, "*run V"]
    """ln of the training marginal of the tokens (nats)."""


class Own(eqx.Module):
    """What sets a run apart."""

    seed: Int[Array | np.ndarray, "*run"]
    """Of the order of the windows."""
    data: Data | None
    """Its values, where they are its own."""


class Drawn(NamedTuple):
    """A window of one sequence: where it starts, or what the host read of it."""

    start: Int[Array, ""]
    window: UInt16[Array, "L"] | None
    first_pass: Bool[Array, ""]
    key: Key[Array, ""]


class Noted(NamedTuple):
    """What a window of the first pass adds to the evidence."""

    log_f: Float[Array, "k w"]
    nats: Float[Array, ""]
    """The first head's loss, in nats per raw value, summed."""
    windows: Int[Array, ""]


class Kept(eqx.Module):
    """The evidence of the first pass so far."""

    log_e: Float[Array, "*run k w"]
    """ln E of each head and weight."""
    lost: Float[Array, "*run k w"]
    """What rounding has taken off the sums (Kahan): 30,000 steps of float32 would drift by a nat."""
    largest: Float[Array, "*run"]
    """The largest ln E so far of the mean over heads and weights, at least 0."""
    nats: Float[Array, "*run"]
    windows: Int[Array, "*run"]


class RollsProblem(Problem[Own, RollsModel]):
    """Cross-entropy of the next 1 … k tokens at every position of disjoint windows, in a new order every epoch.

    The first epoch predicts every value once, and gathers the evidence. Later ones cut the windows at other places, or
    a value would stand at the same place of the same window each time, and a model learns those by heart.
    """

    data: Data | None
    """Of all runs, where they share their values; else in their tasks."""
    config: RollsConfig = eqx.field(static=True)
    shape: Shape = eqx.field(static=True)
    windows: int = eqx.field(static=True)
    """Windows of the training part."""
    last: int = eqx.field(static=True)
    """The last place of the training part where a window may start."""
    rolls: Rolls | None = eqx.field(static=True)
    """The open file that the host reads windows from, where they do not live on the device."""

    judged_at_start = True  # the untrained model is the marginal, and often nothing beats it

    @property
    def fed_bytes(self) -> int:  # type: ignore[override]
        """Bytes of a window that the host reads."""
        return 0 if self.rolls is None else 2 * (self.config.task.window + 1)

    def init(self, task: Own, key: Key[Array, ""]) -> RollsModel:
        """Return an untrained model: it predicts the marginal."""
        window = self.config.task.window
        return RollsModel(self.config.model, self.shape, window, jnp.asarray(self._data(task).log_p0), key=key)

    def _data(self, task: Own) -> Data:
        data = task.data if self.data is None else self.data
        assert data is not None
        return data

    def draw(self, task: Own, turn: Turn) -> Drawn:
        """Return the window of this turn: each once in an epoch, in an order that seed and epoch determine.

        Of a window that the host has read, the start is not computed again: it is −1.
        """
        epoch, place = turn.number // self.windows, turn.number % self.windows
        if turn.fed is not None:
            return Drawn(jnp.asarray(-1), turn.fed, epoch == 0, turn.key)
        T, epoch32 = self.config.task.window, epoch.astype(jnp.uint32)
        key = order_key(jnp.asarray(task.seed).astype(jnp.uint32), epoch32)
        place = permuted(place.astype(jnp.uint32)[None], self.windows, key)[0].astype(jnp.int32)
        moved = shift(key, epoch32, T)[0].astype(jnp.int32)
        return Drawn(jnp.minimum(place * T + moved, self.last), None, epoch == 0, turn.key)

    def feed(self, seeds: Sequence[int], first: int, count: int) -> np.ndarray | None:
        """Return the same windows, read from the file, uint16 [run, count, T + 1]."""
        if self.rolls is None:
            return None
        T, workers = self.config.task.window, self.config.task.workers
        return np.stack([self.rolls.windows(self.starts(seed, first, count), T + 1, workers) for seed in seeds])

    def starts(self, seed: int, first: int, count: int) -> np.ndarray:
        """Return where the windows of turns `first` to `first + count` of a run with this seed start, int64 [count]."""
        number, T = np.arange(first, first + count), self.config.task.window
        found = np.empty(count, np.int64)
        for epoch in range(first // self.windows, (first + count - 1) // self.windows + 1):
            own, epoch32 = number // self.windows == epoch, np.asarray(epoch, np.uint32)
            key = order_key(np.asarray(seed, np.uint32), epoch32)
            place = permuted((number[own] % self.windows).astype(np.uint32), self.windows, key).astype(np.int64)
            found[own] = np.minimum(place * T + shift(key, epoch32, T).astype(np.int64), self.last)
        return found

    def loss(self, model: RollsModel, task: Own, drawn: Drawn) -> tuple[Float[Array, ""], Float[Array, ""], Noted]:
        """Return the summed loss of a window's targets, all heads', their number, and what the first pass notes."""
        data, T = self._data(task), self.config.task.window
        window = drawn.window
        if window is None:
            window = jax.lax.dynamic_slice(jnp.asarray(data.values), (drawn.start,), (T + 1,))
        window = window.astype(jnp.int32)
        token = jnp.asarray(data.of_value)[window]
        seen, masked, dropout_key = self._augmented(token[:-1], data, drawn.key)
        logits = model(seen, masked, dropout_key)
        target, there = targets(token, self.config.model.outputs)
        loss, normaliser = cross_entropy(logits, target, self.config.objective.label_smoothing)
        log_p0 = jnp.asarray(data.log_p0)
        first = drawn.first_pass.astype(jnp.float32)
        own = jnp.take_along_axis(logits[:, 0], target[:, :1], axis=1)[:, 0].astype(jnp.float32) - normaliser[:, 0]
        noted = Noted(
            # Without the window's last value: it is the first of another window, whose turn may have come before, and
            # given that value the orders of this block would no longer be equally likely.
            first * log_factors(logits[:-1], normaliser[:-1], log_p0, token[1:-1]),
            first * jax.lax.stop_gradient(-jnp.sum(own) - jnp.sum(jnp.asarray(data.log_within)[window[1:]])),
            drawn.first_pass.astype(jnp.int32),
        )
        return jnp.sum(jnp.where(there, loss, 0.0)), jnp.sum(there).astype(jnp.float32), noted

    def _augmented(self, token_T, data: Data, key: Key[Array, ""]):
        """Return the inputs as the model is given them, which of them are masked, and a key for dropout."""
        objective, dropout = self.config.objective, self.config.model.dropout
        noise_key, value_key, mask_key, dropout_key = jax.random.split(key, 4)
        masked = None
        if objective.noise:
            replaced = jax.random.bernoulli(noise_key, objective.noise, token_T.shape)
            others = jax.random.categorical(value_key, jnp.asarray(data.log_p0), shape=token_T.shape)
            token_T = jnp.where(replaced, others, token_T)
        if objective.masking:
            masked = jax.random.bernoulli(mask_key, objective.masking, token_T.shape)
        return token_T, masked, dropout_key if dropout else None

    def remedies(self, config: TrainConfig) -> tuple[str, str]:
        """Return the guide's flag for the windows at a time, and the guide's four remedies."""
        said = (
            "reduce --batch (to 64), raise --gradient_accumulation (to 8), use a smaller model "
            "(--d_model 256 --nlayers 6), or --use_amp"
        )
        return f"--batch {config.batch_size // config.accumulate}", said

    def validate(self, model: RollsModel, task: Own, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return the first head's loss (nats per token), bits per value and top-1 accuracy on the validation windows.

        They are the same windows every time: the keys' number does not matter here, it has chosen them before.
        """
        data = self._data(task)
        of_value, log_within = jnp.asarray(data.of_value), jnp.asarray(data.log_within)
        best = jnp.asarray(data.best_in_bin)
        likely = log_within[best]  # of each token, ln of the probability of its most probable value within

        def of_window(window):
            window = window.astype(jnp.int32)
            token = of_value[window]
            logits = model(token[:-1])[:, 0].astype(jnp.float32)
            nats = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, token[1:, None], axis=1)[:, 0]
            hit = best[jnp.argmax(logits + likely[None], axis=-1)] == window[1:]
            return jnp.sum(nats), -jnp.sum(log_within[window[1:]]), jnp.sum(hit)

        windows = jnp.asarray(data.validation)
        nats, within, hits = jax.lax.map(of_window, windows, batch_size=min(_BATCH, windows.shape[0]))
        count = windows.shape[0] * self.config.task.window
        bits = (jnp.sum(nats) + jnp.sum(within)) / (count * math.log(2))
        return {"score": bits, "bits_per_value": bits, "loss": jnp.sum(nats) / count, "top1": jnp.sum(hits) / count}

    def keep(self, task: Own) -> Kept:
        """Return no evidence: E = 1."""
        zeros = jnp.zeros((self.config.model.outputs, len(WEIGHTS)))
        return Kept(zeros, zeros, jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def note(self, kept: Kept, noted: PyTree) -> Kept:
        """Return the evidence after a step. A step's windows are scored by weights that had seen none of them."""
        (one,) = noted
        more = one.log_f - kept.lost
        log_e = kept.log_e + more
        lost = (log_e - kept.log_e) - more
        return Kept(
            log_e,
            lost,
            jnp.maximum(kept.largest, log_mean(log_e)),
            kept.nats + one.nats,
            kept.windows + one.windows,
        )

    def kept_measures(self, kept: Kept) -> dict[str, Float[Array, ""]]:
        """Return log10 of the first pass's E, of its largest value, and the bits per value of the first pass so far."""
        windows, T = kept.windows.astype(jnp.float32), self.config.task.window
        return {
            "log10_e": log_mean(kept.log_e) / math.log(10),
            "log10_e_largest": kept.largest / math.log(10),
            "first_pass_bits": kept.nats / (jnp.maximum(windows, 1) * (T * math.log(2))),
            "first_pass_values": windows * (T - 1),
        }


def log_mean(log_e: Float[Array, "k w"]) -> Float[Array, ""]:
    """Return ln of the mean of E over heads and weights; exactly 0 where all are 1."""
    return jnp.where(jnp.all(log_e == 0), 0.0, jax.nn.logsumexp(log_e) - math.log(log_e.size))


def targets(token: Int[Array, "L"], outputs: int) -> tuple[Int[Array, "T k"], Bool[Array, "T k"]]:
    """Return what each head predicts at each position of a window, and whether it lies within the window."""
    T = token.shape[0] - 1
    place = jnp.arange(T)[:, None] + jnp.arange(1, outputs + 1)[None]
    return token[jnp.minimum(place, T)], place <= T
