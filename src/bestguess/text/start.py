"""Weights that a training begins with: those of another run, whose tokens are found by their text.

A token that the other run never saw is drawn anew. Trained on a vocabulary, a model moves the embeddings of words that
never come all in one direction, away from whatever is next: they end up almost equal, and words that begin almost equal
are not told apart, since nothing pulls one of them another way than the rest.
"""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from bestguess.command import UserError
from bestguess.config import flag
from bestguess.text.config import TextConfig
from bestguess.text.model import TextModel
from bestguess.text.task import About
from bestguess.text.tokens import UNK
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
    seen = seen_in(theirs)
    place = {text: token for token, text in enumerate(theirs.tokens) if seen[token]}
    row = np.array([place.get(text, -1) for text in about.tokens], np.int32)
    # What is no array is this model's own: dropout, kernels.
    return Start(jax.tree.unflatten(jax.tree.structure(wanted), jax.tree.leaves(given)), row)


def seen_in(about: About) -> Bool[np.ndarray, " V"]:
    """Return which tokens a training on these documents sees: those that come in them, and the marks around them."""
    parts = (about.training.source, about.training.target) if about.text is None else (about.text,)
    counts = np.zeros(about.vocab, np.int64)
    for part in parts:
        counts += np.bincount(part.ravel(), minlength=about.vocab)
    counts[:UNK] += 1
    return counts > 0


def _told(shape: tuple[int, ...] | None) -> str:
    return "not" if shape is None else "×".join(map(str, shape)) or "a number"
