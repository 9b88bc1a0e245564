"""A model without an encoder becomes an encoder-decoder: its layers decode, and may encode too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from bestguess.command import UserError, check_range
from bestguess.config import runs, to_dict
from bestguess.files import plain
from bestguess.report.trackers import open_trackers
from bestguess.text.config import TextConfig
from bestguess.text.family import FAMILY
from bestguess.text.flags import ConvertFlags, CrossOutput, EncoderWeights
from bestguess.text.model import TextModel, parameters
from bestguess.text.model_config import TextModelConfig
from bestguess.text.start import unseen_in
from bestguess.train.checkpoint import named_leaves
from bestguess.train.fit import keep_fitted
from bestguess.train.folder import CHECKPOINTS, new_folder, write_config
from bestguess.workflow.training import load_training, make_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console

_OWN = ("attention/", "attention_norm/", "feed_forward/", "feed_forward_norm/")
"""Parts of a block that every kind of stack has."""


def converted(
    model: TextModel,
    config: TextModelConfig,
    context: tuple[int, int],
    encoder: EncoderWeights,
    cross: CrossOutput,
    *,
    key: Key[Array, ""],
) -> TextModel:
    """Return an encoder-decoder whose decoder, embedding and head are those of a model without an encoder.

    config: of the encoder-decoder. encoder: blocks and positions copied from the decoder's, or as drawn; its last norm
    is new, as the decoder's gain belongs to the head. cross: the output of cross-attention, new like the rest of it:
    zero, so that the model predicts what it did of a target alone, or drawn.
    """
    drawn = TextModel(config, model.embedding.shape[0], context, key=key)
    given = dict(named_leaves(model))
    leaves = []
    for name, leaf in named_leaves(drawn):
        source = name
        if name.startswith("encoder/stack/"):
            inner = name.removeprefix("encoder/stack/")
            source = f"decoder/{inner}" if encoder == "decoder" and _copied(inner) else ""
        found = given.get(source)
        if found is not None:
            leaf = found[: leaf.shape[0]] if name.endswith("/position") else found
        elif cross == "zero" and "/cross/out" in name:
            leaf = jnp.zeros_like(leaf)
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(drawn), leaves)


def _copied(inner: str) -> bool:
    """Whether an encoder's weight is one of the decoder's blocks, or its positions."""
    if inner == "position":
        return True
    return inner.startswith("blocks/") and inner.split("/", 2)[2].startswith(_OWN)


def convert_command(flags: ConvertFlags, console: Console) -> dict[str, Any]:
    """Write the converted runs; return where, how many parameters one has, and how many tokens were never seen."""
    check_range("--seed", flags.seed, 0)
    found = convert(flags.run, flags.out, flags.encoder, flags.cross_output, flags.seed)
    console.print(f"encoder-decoder, {found['parameters']:,} parameters: {found['run']}", soft_wrap=True)
    seen = f"its training never saw {found['unseen']:,} of {found['vocabulary']:,} tokens"
    console.print(f"{seen}; --start draws these anew", style="dim")
    return plain(found)


def convert(folder: Path, out: Path | None, encoder: EncoderWeights, cross: CrossOutput, seed: int) -> dict[str, Any]:
    """Write a folder whose runs are those of another one as encoder-decoders; return its path and their parameters.

    Also how many tokens the vocabulary has, and how many of them the training never saw.

    The best weights of every run are taken. UserError where they have an encoder already.
    """
    whole: TextConfig = read_training_config(FAMILY, folder)
    if whole.model.architecture == "encoder-decoder":
        raise UserError(f"{folder}: is an encoder-decoder already; give a decoder-only run or a prefix LM")
    training = load_training(FAMILY, folder, whole)
    config = dataclasses.replace(
        whole,
        model=dataclasses.replace(whole.model, architecture="encoder-decoder"),
        objective=dataclasses.replace(whole.objective, loss="target", packing=0, start=""),
    )
    config.check()
    about = training.tasks[0].about
    context = (about.source_width, about.target_width)
    models = [
        converted(training.model(i), config.model, context, encoder, cross, key=jax.random.key(seed + i))
        for i in range(len(training.runs))
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    path = new_folder(FAMILY.name, out)
    made = make_training(FAMILY, path, runs(config))
    keys = jax.random.split(jax.random.key(seed), 1)  # the validation documents are the same whatever the key
    validate = jax.jit(jax.vmap(lambda model, own: made.problem.validate(model, own, keys)))
    found = {name: np.asarray(values) for name, values in validate(stacked, made.members.task).items()}
    write_config(path, FAMILY.name, to_dict(config))
    with open_trackers((), path, {}, [dict(run.values) for run in made.runs], None) as trackers:
        for i in range(len(models)):  # a curve of one point, as of every run there is a curve
            about_run = {"sequences": config.train.steps * config.train.batch_size}
            trackers.log(config.train.steps, i, about_run | {name: float(one[i]) for name, one in found.items()})
    keep_fitted(made.problem, config.train, made.members, path / CHECKPOINTS, stacked, found["score"])
    return {
        "run": path,
        "parameters": parameters(config.model, about.vocab, context).total,
        "vocabulary": about.vocab,
        "unseen": unseen_in(about),
    }
