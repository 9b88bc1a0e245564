"""A decoder-only run as an encoder-decoder, and trainings that begin with the weights of another."""

from __future__ import annotations

import dataclasses
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from bestguess.command import Absent, UserError
from bestguess.config import runs, to_dict
from bestguess.text.convert import convert, convert_command
from bestguess.text.errands.worlds import WORLDS
from bestguess.text.family import FAMILY
from bestguess.text.flags import ConvertFlags
from bestguess.text.model import TextModel, parameters
from bestguess.text.sequences import shift
from bestguess.text.start import Anew, drawn_anew
from bestguess.text.tokens import SEP
from bestguess.train.checkpoint import named_leaves
from bestguess.train.fit import keep_fitted
from bestguess.train.folder import CHECKPOINTS, write_config
from bestguess.workflow.commands import train_config
from bestguess.workflow.training import load_training, make_training
from tests.compiled import whole
from tests.text.tiny import tiny

STORIES = {"task": "story"}
ONE = {"architecture": "decoder-only", "layers": 2}


def kept(folder, config, seed: int = 0):
    """Write a folder of untrained runs, whose gains and biases are no ones and zeros, and return their weights."""
    made = make_training(FAMILY, folder, runs(config))
    about = made.tasks[0].about

    def model(i: int) -> TextModel:
        drawn = TextModel(config.model, about.vocab, (about.source_width, about.target_width), key=jax.random.key(i))
        keys = iter(jax.random.split(jax.random.key(seed + i), len(jax.tree.leaves(drawn))))
        return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), drawn)

    models = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[model(i) for i in range(len(made.runs))])
    write_config(folder, FAMILY.name, to_dict(config))
    keep_fitted(made.problem, config.train, made.members, folder / CHECKPOINTS, models, np.arange(len(made.runs)))
    return models


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    kept(folder, tiny(task=STORIES, model=ONE, objective={"loss": "full"}, train={"seeds": 2}))
    return folder


@pytest.fixture(scope="module")
def after(before, tmp_path_factory):
    """With the decoder's weights in the encoder, and no output of cross-attention."""
    return convert(before, tmp_path_factory.mktemp("after") / "run", "decoder", "zero", 0)["run"]


def test_what_is_written_is_what_is_read(before):
    again = load_training(FAMILY, before)
    assert again.validation == [0.0, 1.0]
    assert again.shown() == 0
    assert (np.asarray(again.learnt.best_step) == again.config.steps).all()


def test_with_no_output_of_cross_attention_it_predicts_what_it_did_of_a_target_alone(before, after):
    old, new = load_training(FAMILY, before), load_training(FAMILY, after)
    target = jnp.asarray([7, 9, 6, 8, 11], jnp.int32)
    inputs = shift(jnp.concatenate([jnp.full(1, SEP, jnp.int32), target]))[0]
    for i in range(2):
        ours = whole(new.model(i).logits, jnp.asarray([8, 5, 9], jnp.int32), 3, target)
        np.testing.assert_allclose(ours, whole(old.model(i).next_logits, inputs), atol=2e-5)
    assert np.isfinite(new.validation).all()
    assert [[line["score"] for line in own] for own in new.curves()] == [[one] for one in new.validation]


def test_the_encoder_has_the_decoder_s_blocks_or_others(before, after, tmp_path):
    weights = dict(named_leaves(load_training(FAMILY, after).learnt.best))
    given = dict(named_leaves(load_training(FAMILY, before).learnt.best))
    copied = [name for name in weights if name.startswith("encoder/stack/blocks/")]
    assert len(copied) == len([name for name in given if name.startswith("decoder/blocks/")])
    for name in copied:
        np.testing.assert_array_equal(weights[name], given[name.replace("encoder/stack", "decoder")])
    for name in given:
        np.testing.assert_array_equal(weights[name], given[name])
    assert (weights["encoder/stack/norm/gain"] == 1).all()
    other = convert(before, tmp_path / "run", "random", "random", 3)
    drawn = load_training(FAMILY, other["run"])
    weights = dict(named_leaves(drawn.learnt.best))
    for name in copied:
        source = given[name.replace("encoder/stack", "decoder")]
        assert not np.allclose(weights[name], source), name
    assert np.abs(weights["decoder/blocks/1/cross/out"]).min(axis=(1, 2)).max() > 0
    about = drawn.tasks[0].about
    config = drawn.runs[0].config.model
    count = parameters(config, about.vocab, (about.source_width, about.target_width)).total
    assert other["parameters"] == count


def test_the_command_and_what_it_refuses(before, after, tmp_path):
    console = Console(file=io.StringIO())
    found = convert_command(ConvertFlags(before, out=tmp_path / "new"), console)
    theirs = load_training(FAMILY, before).tasks[0].about
    never = len(set(theirs.tokens) - words_of(theirs))
    assert set(found) == {"run", "parameters", "vocabulary", "unseen"}
    assert (found["vocabulary"], found["unseen"]) == (theirs.vocab, never)
    said = " ".join(console.file.getvalue().split())
    assert f"its training never saw {never} of {theirs.vocab} tokens; --start draws these anew" in said
    assert 0 < never < theirs.vocab
    assert (tmp_path / "new" / "config.yaml").is_file()
    with pytest.raises(UserError, match="already holds a training"):
        convert_command(ConvertFlags(before, out=tmp_path / "new"), console)
    with pytest.raises(UserError, match="is an encoder-decoder already"):
        convert_command(ConvertFlags(after, out=tmp_path / "again"), console)
    assert not (tmp_path / "again").exists()


# ------------------------------------------------------------------------------------------ beginning with weights


def begun(start, **rooms):
    config = tiny(model={"layers": 2, **rooms.pop("model", {})}, objective={"start": str(start)}, **rooms)
    FAMILY.works.check_new(config)
    return make_training(FAMILY, start, runs(config))


def words_of(about):
    """Return the words that come in training documents, by counting them one by one, and the marks around these."""
    rows = [*about.training.source.tolist(), *about.training.target.tolist()]
    return {about.tokens[token] for row in rows for token in row} | {"[PAD]", "[BOS]", "[SEP]", "[EOS]"}


def test_words_are_found_by_their_text_and_new_ones_are_drawn(tmp_path):
    """Seeds 0 to 2 take the folder's runs 0, 1, 0; stories have words that dialogues lack."""
    kept(tmp_path, tiny(model={"layers": 2}, train={"seeds": 2}))
    before = load_training(FAMILY, tmp_path)
    given, theirs = before.learnt.best, before.tasks[0].about.tokens
    seen = words_of(before.tasks[0].about)
    training = begun(tmp_path, task=STORIES, train={"seeds": 3})
    ours, problem = training.tasks[0].about.tokens, training.problem
    lacking = set(ours) - set(theirs)
    assert lacking
    told = drawn_anew(training.runs[0].config, training.tasks[0].about)
    assert (told.lacking, told.unseen) == (len(lacking), len((set(ours) & set(theirs)) - seen))
    for seed, run in ((0, 0), (1, 1), (2, 0)):
        own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], training.members.task)
        model = problem.init(own, jax.random.key(9))
        drawn = TextModel(training.runs[0].config.model, len(ours), problem.context, key=jax.random.key(9))
        for token, word in enumerate(ours):
            expected = given.embedding[run, theirs.index(word)] if word in seen else drawn.embedding[token]
            np.testing.assert_array_equal(model.embedding[token], expected)
        np.testing.assert_array_equal(
            model.decoder.blocks[1].cross.key_value, given.decoder.blocks[1].cross.key_value[run]
        )


def test_words_that_the_other_training_never_saw_are_drawn_though_its_vocabulary_has_them(tmp_path):
    """Trained as if they could come, all of them end up alike: a model that begins so does not tell days apart."""
    config = tiny(task=STORIES, model=ONE, objective={"loss": "full"})
    given = kept(tmp_path, config)
    theirs = make_training(FAMILY, tmp_path, runs(config)).tasks[0].about
    training = begun(tmp_path, model=ONE)
    own = jax.tree.map(lambda leaf: leaf[0], training.members.task)
    ours = training.tasks[0].about.tokens
    unseen = set(ours) & set(theirs.tokens) - words_of(theirs)
    assert {"[UNK]", "?", *WORLDS["tiny"].days} <= unseen
    embedding = training.problem.init(own, jax.random.key(9)).embedding
    drawn = TextModel(training.runs[0].config.model, len(ours), training.problem.context, key=jax.random.key(9))
    for token, word in enumerate(ours):
        expected = drawn.embedding[token] if word in unseen else given.embedding[0, theirs.tokens.index(word)]
        np.testing.assert_array_equal(embedding[token], expected)


def test_what_is_drawn_anew_is_counted_and_told(before):
    """Of stories' vocabulary dialogues lack some words, and others no story says: counted here word by word."""
    theirs = load_training(FAMILY, before).tasks[0].about
    training = begun(before, model=ONE)
    about, config = training.tasks[0].about, training.runs[0].config
    said, seen = words_of(about), words_of(theirs)
    told = [about.tokens[t] for pairs in (about.training.source, about.training.target) for t in pairs.ravel() if t]
    unseen = (set(about.tokens) & set(theirs.tokens)) - seen
    lacking = set(about.tokens) - set(theirs.tokens)
    found = drawn_anew(config, about)
    assert found == Anew(
        vocabulary=len(about.tokens),
        lacking=len(lacking),
        unseen=len(unseen),
        tokens=len(told),
        anew=sum(word not in seen for word in told),
        share=pytest.approx(sum(word not in seen for word in told) / len(told)),
    )
    assert not lacking  # test_words_are_found_by_their_text_and_new_ones_are_drawn has some
    assert unseen & said
    (line,) = [one for one in FAMILY.works.notes(config) if one.startswith("--start: ")]
    assert line.endswith(f"{found.anew:,} of the {found.tokens:,} tokens of the training text, {found.share:.2%}")
    assert drawn_anew(dataclasses.replace(config, objective=tiny().objective), about) is None
    gone = dataclasses.replace(config.objective, start=str(before / "gone"))
    assert drawn_anew(dataclasses.replace(config, objective=gone), about) is None


def test_an_untied_head_is_found_by_its_words_too(tmp_path):
    config = tiny(task=STORIES, model={**ONE, "tied": False}, objective={"loss": "full"})
    given = kept(tmp_path, config)
    about = make_training(FAMILY, tmp_path, runs(config)).tasks[0].about
    theirs, seen = about.tokens, words_of(about)
    training = begun(tmp_path, model={**ONE, "tied": False})
    own = jax.tree.map(lambda leaf: leaf[0], training.members.task)
    head = training.problem.init(own, jax.random.key(9)).head
    for token, word in enumerate(training.tasks[0].about.tokens):
        if word in seen:
            np.testing.assert_array_equal(head[:, token], given.head[0, :, theirs.index(word)])


def test_weights_of_another_shape_or_none_are_refused(after, before, tmp_path):
    for model, what in (
        ({"layers": 3}, "blocks/2"),
        ({"d_ff": 9}, "feed_forward"),
        ({"bias": True}, "bias"),
        ({"heads": 4}, "with --heads 2, not 4"),
        ({"positions": "sinusoidal"}, "with --positions rope, not sinusoidal"),
    ):
        with pytest.raises(UserError, match=f"--start .*{what}"):
            begun(after, model=model)
    with pytest.raises(UserError, match=r"--start .*encoder"):
        begun(before)
    with pytest.raises(Absent, match=r"--start .*: no such folder"):
        begun(tmp_path / "none")


def test_what_has_begun_does_not_need_them_any_more(after, tmp_path):
    """A fine-tuned folder is read after the weights that it began with are gone; without a checkpoint it needs them."""
    start = tmp_path / "start"
    shutil.copytree(after, start)
    config = tiny(model={"layers": 2}, objective={"start": str(start)})
    folder = tmp_path / "tuned"
    given = kept(folder, config)
    shutil.rmtree(start)
    found = load_training(FAMILY, folder).learnt.best
    np.testing.assert_array_equal(found.embedding, given.embedding)
    shutil.rmtree(folder / CHECKPOINTS)
    with pytest.raises(UserError, match=r"--start .*: no such folder"):
        train_config(FAMILY, config, Console(file=io.StringIO()), resume=folder)
