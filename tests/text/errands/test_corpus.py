"""The corpus as its users see it; and continuations of stories, judged."""

from __future__ import annotations

import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.text.errands.corpus import CUTS, TASKS, Errands
from bestguess.text.errands.facts import Judgement
from bestguess.text.errands.stories.oracle import cut
from bestguess.text.errands.stories.truth import Truth, judge_stories
from bestguess.text.errands.worlds import SMALL, WORLDS
from bestguess.text.tokens import EOS, PAD, UNK

KINDS = [("dialogue", "fixed"), *(("story", cut) for cut in CUTS)]
every_kind = pytest.mark.parametrize(("task", "cut"), KINDS, ids=["dialogue", "story", "midpoint"])


@every_kind
@pytest.mark.parametrize("world", WORLDS)
def test_documents_are_padded_to_one_width_that_all_fit(world, task, cut):
    errands = Errands(world, task, cut)
    pairs, more = errands.draw(0, 0, 101), errands.draw(9, 5, 3)
    assert pairs.source.shape == (101, errands.max_source)
    assert pairs.target.shape == (101, errands.max_target)
    assert more.source.shape[1] == errands.max_source
    assert pairs.source_length.max() <= errands.max_source
    np.testing.assert_array_equal((pairs.target != PAD).sum(axis=1), pairs.target_length)


@every_kind
def test_floors_predictions_and_drawn_documents_agree(task, cut):
    errands = Errands("small", task, cut)
    pairs, drawn = errands.draw(3, 11, 37), errands.draw_scored(3, 11, 37)
    found = errands.score(pairs)
    width = drawn.floors.target.shape[1]
    np.testing.assert_allclose(found.floors.target[:, :width], drawn.floors.target)
    log_p = errands.log_p(pairs)
    assert log_p.shape == (37, errands.max_target, len(errands.vocabulary))
    own = np.take_along_axis(log_p, pairs.target[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(np.where(found.kinds > 0, own, 0), found.floors.target, atol=1e-5)


@every_kind
def test_text_and_tokens(task, cut):
    errands = Errands("full", task, cut)
    pairs = errands.draw(1, 0, 29)
    for i in range(29):
        source = pairs.source[i, : pairs.source_length[i]].tolist()
        target = pairs.target[i, : pairs.target_length[i]].tolist()
        assert errands.encode(errands.decode(source)) == source
        assert errands.encode(errands.decode(target)) == target
    assert len(errands.decode(pairs.source[0]).splitlines()) == (
        errands.turns(pairs)[0].max() + 1 if task == "dialogue" else 1
    )


@every_kind
def test_no_documents_are_no_error(task, cut):
    errands = Errands("tiny", task, cut)
    pairs = errands.draw(0, 0, 0)
    assert errands.log_p(pairs).shape == (0, errands.max_target, len(errands.vocabulary))
    assert errands.score(pairs).kinds.shape == (0, errands.max_target)
    assert len(errands.judge(pairs, pairs.target).stops) == 0


def test_a_dialogue_reads_as_written():
    errands = Errands("small")
    text = "anna: could you bring the tent?\nben: yes, that works."
    assert errands.decode(errands.encode("Anna : Could you bring the tent ? Ben: yes , that works.")) == text
    assert errands.encode("xylophone") == [UNK]


@every_kind
def test_the_constant_is_a_distribution_over_what_comes(task, cut):
    errands = Errands("tiny", task, cut)
    p = np.exp(errands.constant)
    assert abs(p.sum() - 1) < 1e-9
    assert p[EOS] > 0.03
    assert p[PAD] == 0


def test_stories_know_their_sentences():
    errands = Errands("small", "story", "midpoint")
    pairs = errands.draw(1, 0, 5)
    text, sentences = errands.decode(pairs.source[0]), errands.turns(pairs)
    assert sentences[0, pairs.source_length[0] - 1] == text.rstrip(".").count(".")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("smal", "dialogue", "fixed"), r"--world smal: unknown; did you mean small\?"),
        (("small", "dialog", "fixed"), r"--task dialog: unknown; did you mean dialogue\?"),
        (("small", "story", "half"), r"--cut half: unknown"),
    ],
)
def test_unknown_names_are_refused(flags, line):
    with pytest.raises(UserError, match=line):
        Errands(*flags)


def test_what_a_task_does_not_have_is_refused():
    story = Errands("tiny", "story")
    with pytest.raises(UserError, match="--task story"):
        story.facts(story.draw(0, 0, 2))
    with pytest.raises(UserError, match="--cut fixed"):
        story.midpoint_log_p(story.draw(0, 0, 2))


def test_summaries_and_continuations_as_drawn_are_right():
    for task, cut_ in KINDS:
        errands = Errands("small", task, cut_)
        pairs = errands.draw(2, 0, 83)
        found = errands.judge(pairs, pairs.target)
        assert isinstance(found, Judgement if task == "dialogue" else Truth)
        assert found.rates()["stops"] == 1
        if isinstance(found, Truth):
            assert found.rates() == {"true": 1.0, "read": 1.0, "stops": 1.0}
            assert (found.true > 0).all()
            assert not found.wrong.any()


STORY = "anna is at the park . ben is at the park . he has the tent . anna has the ball ."


@pytest.mark.parametrize(
    ("text", "false", "counts"),
    [
        ("she says : i have the tent .", "i have the tent", (0, 1, 0)),
        ("ben says : i have the tent .", "", (1, 0, 0)),
        ("he says : i have the tent .", "he says : i have the tent", (0, 1, 0)),  # anna is the last subject
        ("anna says : ben is at the market .", "ben is at the market", (0, 1, 0)),
        ("anna goes to the park .", "goes to the park", (0, 1, 0)),
        ("anna goes to the market . anna gives the ball to ben .", "gives the ball to ben", (1, 1, 0)),
        ("anna gives the ball to ben . he says : i have the ball .", "he says : i have the ball", (1, 1, 0)),
        ("anna gives the ball to ben . ben says : i have the ball .", "", (2, 0, 0)),
        ("anna gives the tent to ben .", "gives the tent to ben", (0, 1, 0)),
        ("anna says : anna is at the park .", "anna is at the park", (0, 1, 0)),
        ("tent tent . ben has the ball .", "has the ball", (0, 1, 1)),
        ("ben says : i am at the park", "", (0, 0, 0)),
        ("clara says : i am at the park .", "i am at the park", (0, 1, 0)),
    ],
)
def test_claims_are_judged(text, false, counts):
    errands = Errands("small", "story")
    source, said = errands.encode(STORY), errands.encode(text)
    tokens = np.array([source + said], np.int32)
    pairs = cut(tokens, np.array([tokens.shape[1]]), np.array([len(source)]))
    found = judge_stories(errands._tables, pairs, pairs.target)
    assert (found.true[0], found.false[0], found.unread[0]) == counts
    marked = [errands.vocabulary[said[k]] for k in np.flatnonzero(found.wrong[0])]
    assert " ".join(marked) == false
    assert found.stops[0] == text.endswith(".")
    assert len(found.spans(0)) == bool(false)


def test_a_sentence_that_the_source_began_counts():
    errands = Errands("small", "story")
    tokens = np.array([errands.encode(STORY + " ben says : i have the ball . ")], np.int32)
    pairs = cut(tokens, np.array([tokens.shape[1]]), np.array([tokens.shape[1] - 3]))
    found = judge_stories(errands._tables, pairs, pairs.target)
    assert found.false[0] == 1
    assert found.wrong[0, :4].tolist() == [True, True, False, False]


def test_tasks_and_worlds_are_named():
    assert TASKS == ("dialogue", "story")
    assert Errands(SMALL).world == Errands().world
