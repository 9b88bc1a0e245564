"""Weights that a training begins with: those of another run, whose tokens are found by their text.

A token that the other run never saw is drawn anew. Trained on a vocabulary, a model moves the embeddings of words that
never come all in one direction, away from whatever is next: they end up almost equal, and words that begin almost equal
are not told apart, since nothing pulls one of them another way than the rest.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from bestguess.command import UserError
from bestguess.config import flag, runs
from bestguess.text.config import TextConfig
from bestguess.text.model import TextModel
from bestguess.text.task import About
from bestguess.text.tokens import PAD, UNK
from bestguess.train.checkpoint import named_leaves

_OF_VOCABULARY = ("embedding", "head")
_SEEN_IN_NO_SHAPE = ("heads", "positions", "norm", "norm_place", "activation", "rope_base")


class Start(eqx.Module):
    """The models of a folder, with a leading axis of runs, and which of their tokens ours are."""

    models: TextModel
    row: Integer[Array | np.ndarray, " V"]
    """Place of each token in their vocabulary; −1: it is new, or their training never saw it."""

    def begun(self, drawn: TextModel, seed: Int[Array, ""]) -> TextModel:
        """Return the model that a run of this seed begins with: the folder's run `seed` modulo their number.

        drawn: an untrained one, which has the weights of new tokens.
        """
        count = jax.tree.leaves(self.models)[0].shape[0]
        given: TextModel = jax.tree.map(lambda leaf: jnp.asarray(leaf)[seed % count], self.models)
        row, there = jnp.maximum(jnp.asarray(self.row), 0), jnp.asarray(self.row) >= 0
        embedding = jnp.where(there[:, None], given.embedding[row], drawn.embedding)
        found = eqx.tree_at(lambda model: model.embedding, given, embedding)
        if drawn.head is not None:
            assert given.head is not None
            head = jnp.where(there, given.head[:, row], drawn.head)
            found = eqx.tree_at(lambda model: model.head, found, head)
        return found


class Anew(NamedTuple):
    """How much of a vocabulary a training draws anew, because the weights that it begins with know nothing of it."""

    vocabulary: int
    """Tokens of the vocabulary."""
    lacking: int
    """Tokens of it that the other vocabulary lacks."""
    unseen: int
    """Tokens of both vocabularies that the other training never saw."""
    tokens: int
    """Tokens of the training text; of marks the ends of targets alone."""
    anew: int
    """Of these the ones that are drawn anew."""
    share: float
    """anew / tokens."""

    def told(self) -> str:
        """Return it as a line for a reader."""
        return (
            f"{self.lacking + self.unseen:,} of {self.vocabulary:,} embeddings are drawn anew ({self.lacking:,} tokens "
            f"are not in the other vocabulary, {self.unseen:,} not in its training text); they are {self.anew:,} of "
            f"the {self.tokens:,} tokens of the training text, {self.share:.2%}"
        )


def drawn_anew(config: TextConfig, about: About) -> Anew | None:
    """Return how much of the vocabulary a training draws anew; None where it begins with no other run's weights.

    None, too, where the folder of these is gone.
    """
    from bestguess.text.family import FAMILY
    from bestguess.workflow.training import read_training_config

    folder = Path(config.objective.start)
    if not config.objective.start or not folder.is_dir():
        return None
    theirs = FAMILY.works.task(runs(read_training_config(FAMILY, folder))[0].config).about
    new, counts = places(theirs, about) < 0, counts_of(about)
    known = np.isin(about.tokens, theirs.tokens)
    tokens, anew = int(counts.sum()), int(counts[new].sum())
    return Anew(about.vocab, int((~known).sum()), int((new & known).sum()), tokens, anew, anew / max(tokens, 1))


def began(config: TextConfig, about: About) -> dict[str, int | float] | None:
    """Return what a training draws anew as a run's record keeps it."""
    found = drawn_anew(config, about)
    return None if found is None else found._asdict()


def read_start(config: TextConfig, about: About) -> Start:
    """Return the weights of the folder that `objective.start` names; UserError where they are of another shape."""
    from bestguess.text.family import FAMILY
    from bestguess.workflow.training import load_training

    folder = config.objective.start
    training = load_training(FAMILY, Path(folder))
    for name in _SEEN_IN_NO_SHAPE:
        was, ours = (getattr(one, name) for one in (training.runs[0].config.model, config.model))
        if was != ours:
            raise UserError(f"--start {folder}: was trained with {flag(name)} {was}, not {ours}; give the same")
    given, theirs = training.learnt.best, training.tasks[0].about
    context = (about.source_width, about.target_width)
    wanted = jax.eval_shape(lambda: TextModel(config.model, about.vocab, context, about.marked, key=jax.random.key(0)))
    found = {name: leaf.shape[1:] for name, leaf in named_leaves(given)}
    asked = {name: leaf.shape for name, leaf in named_leaves(wanted)}
    for name in (*asked, *found):
        if found.get(name) != asked.get(name) and not (name in _OF_VOCABULARY and name in found and name in asked):
            raise UserError(
                f"--start {folder}: {name} is {_told(found.get(name))} there, this model asks for "
                f"{_told(asked.get(name))}; give the flags of the model that it was trained with"
            )
    if given.embedding.shape[2] != config.model.d_model:
        raise UserError(f"--start {folder}: is {given.embedding.shape[2]} wide, not {config.model.d_model}")
    # What is no array is this model's own: dropout, kernels.
    return Start(jax.tree.unflatten(jax.tree.structure(wanted), jax.tree.leaves(given)), places(theirs, about))


def places(theirs: About, about: About) -> Integer[np.ndarray, " V"]:
    """Return the place of each token in the other vocabulary; −1: it is new, or the training on it never saw it."""
    seen = counts_of(theirs) > 0
    seen[:UNK] = True  # marks stand around all documents
    place = {text: token for token, text in enumerate(theirs.tokens) if seen[token]}
    return np.array([place.get(text, -1) for text in about.tokens], np.int32)


def unseen_in(about: About) -> int:
    """Return how many tokens of a vocabulary its training never sees, marks aside."""
    return int((counts_of(about)[UNK:] == 0).sum())


@functools.lru_cache(maxsize=8)  # as many as there are tasks at hand; every run of a training asks
def counts_of(about: About) -> Int[np.ndarray, " V"]:
    """Return how often each token comes in the training documents; of the marks around them the ends of targets."""
    parts = (about.training.source, about.training.target) if about.text is None else (about.text,)
    counts = np.zeros(about.vocab, np.int64)
    for part in parts:
        counts += np.bincount(part.ravel(), minlength=about.vocab)
    counts[PAD] = 0
    return counts


def _told(shape: tuple[int, ...] | None) -> str:
    return "not" if shape is None else "×".join(map(str, shape)) or "a number"
