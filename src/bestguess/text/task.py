"""The task: a document's target is predicted, token by token, from its source. Errands has an oracle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from bestguess.task import Categorical, OracleTask, Task
from bestguess.text.errands.corpus import Errands
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import PAD, SEP

_PRIOR = 0.5
"""Pseudocount of every token (Krichevsky–Trofimov)."""


@dataclass(frozen=True, eq=False)
class About:
    """A corpus as a model sees it, on the host: three parts of equal widths, and its vocabulary."""

    name: str
    training: Pairs
    validation: Pairs
    test: Pairs
    vocab: int
    decode: Callable[[np.ndarray], str]
    """Tokens → text."""
    encode: Callable[[str], np.ndarray]
    """Text → tokens."""
    test_bytes: np.ndarray
    """UTF-8 bytes of the test targets' text, int64 [n]."""
    log_constant: np.ndarray
    """ln of the best prediction of a target's token that ignores all before it, float32 [V]."""
    continued: bool = False
    """Whether a target continues its source: raw text that was cut, or windows; not a summary of it."""
    known: Errands | None = None
    """What generated it, where its oracle is known."""
    test_kinds: np.ndarray | None = None
    """Kind of each token of the test targets, int [n, U]: an index into `kind_names`."""
    kind_names: tuple[str, ...] = ()
    counts: Mapping[str, int | float] = field(default_factory=dict)
    """What was counted on the way: documents skipped, duplicates."""
    sha256: str = ""
    repeated: np.ndarray | None = None
    """Test documents that stand in the training part too, bool [n]."""
    tokens: tuple[str, ...] = ()
    """What each token of the vocabulary stands for."""
    references: tuple[str, ...] = ()
    """The test targets as they were given, uncut, of documents that have a target of their own; none of raw text."""
    frequent: str = ""
    """The most frequent of the training targets, of such documents."""

    window: int = 0
    """Tokens of a window of one long text; 0: documents."""
    text: np.ndarray | None = None
    """Its training part, int32 [N]; `training` has the windows that are told of."""
    prompts: Pairs | None = None
    """Its test part as stretches that a model continues."""

    @property
    def marked(self) -> bool:
        """Whether a model is told where a source begins and ends."""
        return not self.window

    @property
    def asked(self) -> Pairs:
        """The sources that a model writes for, with the targets that stand there."""
        return self.test if self.prompts is None else self.prompts

    def room(self, source: int) -> int:
        """Return how many tokens a model may write behind a source of so many."""
        return self.window + 1 - source if self.window else self.target_width

    @property
    def source_width(self) -> int:
        """S, the tokens of the longest source."""
        return self.training.source.shape[1]

    @property
    def target_width(self) -> int:
        """U, the tokens of the longest target, EOS included."""
        return self.training.target.shape[1]


def laid_out(pairs: Pairs) -> Integer[np.ndarray, "n L"]:
    """Return each pair as one sequence of fixed layout: source with its padding, SEP, target with its padding."""
    between = np.full((len(pairs), 1), SEP, np.int32)
    return np.concatenate([pairs.source, between, pairs.target], axis=1).astype(np.int32)


def taken_apart(sequences: Integer[np.ndarray, "n L"], source_width: int) -> Pairs:
    """Return the pairs of sequences of that layout; lengths are counted to the last token that is no padding."""
    source, target = sequences[:, :source_width], sequences[:, source_width + 1 :]
    return Pairs(source, _ends(source), target, _ends(target))


def _ends(rows: np.ndarray) -> np.ndarray:
    there = rows != PAD
    return np.where(there.any(axis=1), rows.shape[1] - there[:, ::-1].argmax(axis=1), 0).astype(np.int32)


def constant_of(pairs: Pairs, vocab: int) -> Float[np.ndarray, "V"]:
    """Return ln of the smoothed frequency of every token of the targets, their ends included."""
    there = np.arange(pairs.target.shape[1])[None] < pairs.target_length[:, None]
    count = np.bincount(pairs.target[there], minlength=vocab) + _PRIOR
    return np.log(count / count.sum()).astype(np.float32)


class TextTask(Task):
    """Documents of the test part in the fixed layout: the target is predicted, the source is given."""

    about: About = eqx.field(static=True)

    @property
    def predicted(self) -> slice:
        """The places of the target; behind its end, padding is certain."""
        return slice(self.about.source_width + 1, None)

    def sample(self, key: Key[Array, ""]) -> Integer[Array, "L"]:
        """Return a document of the test part, chosen at random."""
        rows = laid_out(self.about.test)
        return jnp.asarray(rows)[jax.random.randint(key, (), 0, len(rows))]


class ErrandsTask(TextTask, OracleTask):
    """Documents of the grammar, whose forward algorithm is the best possible predictor."""

    def oracle(self, sequence: Integer[Array, "L"]) -> Categorical:
        """Return p*(token | the tokens before it) at every place of the target; all zeros (uniform) before it.

        All zeros, too, behind a source that the grammar does not give.
        """
        known, width, U = self.about.known, self.about.source_width, self.about.target_width
        assert known is not None

        def predict(row):
            pairs = taken_apart(np.asarray(row, np.int32)[None], width)
            try:
                log_p = known.best_log_p(pairs)[0]
            except ValueError:
                return np.zeros((U, self.about.vocab), np.float32)
            log_p[int(pairs.target_length[0]) :] = np.where(np.arange(log_p.shape[1]) == PAD, 0.0, -np.inf)
            return log_p

        shape = jax.ShapeDtypeStruct((U, self.about.vocab), jnp.float32)
        log_p = jax.pure_callback(predict, shape, sequence, vmap_method="sequential")
        return Categorical(jnp.concatenate([jnp.zeros((width + 1, self.about.vocab)), log_p]))

    def constant(self) -> Categorical:
        """Return the frequencies of the tokens, at every place."""
        length = self.about.source_width + 1 + self.about.target_width
        return Categorical(jnp.tile(jnp.asarray(self.about.log_constant)[None], (length, 1)))


@functools.lru_cache(maxsize=8)
def task_of(make: Callable[..., About], *values) -> TextTask:
    """Return the task of a corpus; the same object for the same values."""
    about = make(*values)
    return TextTask(about) if about.known is None else ErrandsTask(about)
