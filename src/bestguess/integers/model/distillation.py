"""One model taught by several: knowledge distillation (Hinton, Vinyals & Dean, 2015).

The mean prediction of several runs regrets less than any of them, since it is unsure where they disagree.
One model can learn it, if it is asked where they do; on the rows of training they agree. So its lessons
are sequences of the teachers' own: real beginnings, cut anywhere, that one teacher goes on with (Kim &
Rush, 2016, distil from a teacher's sequences likewise). Of the contexts that come of it, those held out
of training are left out, so that the student has seen as little of them as its teachers.

Shapes in names: M teachers, N sequences, T terms, V values (256).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16, Int, Key, PyTree, UInt8

from bestguess.command import UserError
from bestguess.integers.config import CLASSES
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.problem import IntegerProblem, Setting, phase_weights
from bestguess.integers.sequences.sampler import Sampler
from bestguess.integers.sequences.table import seen
from bestguess.train.problem import Problem, Purpose, Turn, member_key

_CHUNK = 2048


class Lesson(Problem[Setting, IntegerModel]):
    """Predict what the teachers predict, on sequences that they went on with."""

    inner: IntegerProblem
    student: IntegerModel
    """Where the student starts."""
    terms_NT: UInt8[Array, "N T"]
    p_NTV: Float16[Array, "N T V"]
    """The mean of the teachers' probabilities of the term after each."""

    packed = True

    def init(self, task: Setting, key: Key[Array, ""]) -> IntegerModel:
        """Return the student as it starts, whatever the key."""
        return self.student

    def draw(self, task: Setting, turn: Turn) -> Int[Array, ""]:
        """Return the place of one sequence; all are as likely."""
        return jax.random.randint(turn.key, (), 0, self.terms_NT.shape[0])

    def loss(
        self, model: IntegerModel, task: Setting, drawn: Int[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the cross-entropy −Σ p log q of teachers and student, summed over positions, and their number."""
        logits_TV, _ = model(self.terms_NT[drawn].astype(jnp.int32))
        lost = -jnp.sum(self.p_NTV[drawn].astype(jnp.float32) * jax.nn.log_softmax(logits_TV))
        return lost, jnp.asarray(float(self.terms_NT.shape[1]))

    def validate(self, model: IntegerModel, task: Setting, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return what the teachers' own validation measures: how the student predicts real sequences."""
        return self.inner.validate(model, task, key)


def make_lesson(problem: IntegerProblem, teachers: list[IntegerModel], first: int, count: int) -> Lesson:
    """Return the lesson of a student that starts as the teacher at index `first`.

    problem: the student's own, by which it is validated. count: sequences that the teachers go on with, an equal
    number each; those held out of training are left out. Raises UserError where none is left.
    """
    config = problem.config
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *teachers)
    mixture = phase_weights(config.task, jnp.ones(()))
    key = member_key(jnp.asarray(config.train.first_seed), Purpose.LESSON)
    keys = jax.random.split(key, (len(teachers), -(-count // len(teachers))))
    terms = np.asarray(_continued(stacked, problem.sampler, mixture, keys), np.uint8)[:count]
    terms = terms[seen(config.task, terms)]
    if not len(terms):
        raise UserError(f"--sequences {count}: all of them are held out of training; draw more")
    # The teachers' weights, in a model that drops nothing.
    like = eqx.filter_eval_shape(problem.init, Setting(jnp.zeros(())), key)
    student = jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(teachers[first]))
    return Lesson(problem, student, jnp.asarray(terms), _judged(stacked, jnp.asarray(terms)))


@eqx.filter_jit
def _continued(
    teachers: PyTree, sampler: Sampler, mixture: Float[Array, "phases"], key_MN: Key[Array, "M n"]
) -> Int[Array, "N T"]:
    """Training rows, each cut after 1 to all of its terms, and drawn on by the key's teacher."""
    length = sampler.rows.shape[1] - 1

    def of_one(model: IntegerModel, key: Key[Array, ""]) -> Int[Array, "T"]:
        row_key, cut_key, grow_key = jax.random.split(key, 3)
        terms = sampler.sequence(sampler.draw(row_key, mixture))[:length]
        real = jax.random.randint(cut_key, (), 1, jnp.sum(terms >= 0) + 1)

        def grow(place, terms):
            logits_TV, _ = model(terms)
            new = jax.random.categorical(jax.random.fold_in(grow_key, place), logits_TV[place - 1])
            return jnp.where((jnp.arange(length) == place) & (place >= real), new, terms)

        return jax.lax.fori_loop(1, length, grow, terms)

    of_teacher = lambda args: jax.lax.map(lambda key: of_one(args[0], key), args[1], batch_size=_CHUNK)  # noqa: E731
    return jax.lax.map(of_teacher, (teachers, key_MN)).reshape(-1, length)


@eqx.filter_jit
def _judged(teachers: PyTree, terms_NT: UInt8[Array, "N T"]) -> Float16[Array, "N T V"]:
    """The mean of the teachers' probabilities of what follows each term."""
    count = jax.tree.leaves(teachers)[0].shape[0]

    def of_one(terms_T):
        def add(total_TV, model):
            logits_TV, _ = model(terms_T.astype(jnp.int32))
            return total_TV + jax.nn.softmax(logits_TV), None

        total_TV, _ = jax.lax.scan(add, jnp.zeros((terms_T.shape[0], CLASSES)), teachers)
        return (total_TV / count).astype(jnp.float16)

    return jax.lax.map(of_one, terms_NT, batch_size=_CHUNK)
