"""Errands as a corpus: what a trainer, an evaluation and a command need of it, for dialogues and for stories alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int

from bestguess.command import UserError, nearest
from bestguess.text.errands.documents import Facts, Scored, dialogues_of, turns_of
from bestguess.text.errands.facts import Judgement, judge
from bestguess.text.errands.forward import predictions
from bestguess.text.errands.oracle import DialogueOracle
from bestguess.text.errands.stories.oracle import ScoredStories, StoryOracle, cut
from bestguess.text.errands.stories.tables import tables_of
from bestguess.text.errands.stories.truth import Truth, judge_stories
from bestguess.text.errands.worlds import WORLDS, World
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import PAD, SEP, SPECIAL, UNK

TASKS = ("dialogue", "story")
CUTS = ("fixed", "midpoint")
"""Where stories are cut: behind so many tokens that the cut tells nothing, or at half their length."""
_PIECE = 8192
"""Documents drawn at a time where many are counted."""
_COUNTED = 1 << 16
"""Stories from which the best constant is counted."""
_TOKEN = re.compile(r"\[[A-Z]+\]|[a-z]+|[^\sa-z]", re.IGNORECASE)


@final
class Errands:
    """A corpus whose best possible prediction is known: a world's dialogues with summaries, or its stories.

    world: its name or itself. cut: of stories alone. UserError for a name that does not exist.
    """

    def __init__(self, world: str | World = "small", task: str = "dialogue", cut: str = "fixed") -> None:
        for flag, value, known in (("--task", task, TASKS), ("--cut", cut, CUTS)):
            if value not in known:
                raise UserError(f"{flag} {value}: unknown{nearest(value, known)} (choose from {', '.join(known)})")
        if isinstance(world, str) and world not in WORLDS:
            raise UserError(f"--world {world}: unknown{nearest(world, WORLDS)} (choose from {', '.join(WORLDS)})")
        self.world = WORLDS[world] if isinstance(world, str) else world
        self.task, self.cut = task, cut
        self._dialogues, self._tables = dialogues_of(self.world), tables_of(self.world)
        self.vocabulary: tuple[str, ...] = self._dialogues.vocabulary if task == "dialogue" else self._tables.vocabulary
        """Words by token. A world's dialogues and stories share their tokens: those of stories alone come last."""
        self.token = {word: token for token, word in enumerate(self.vocabulary)}

    @cached_property
    def dialogue_oracle(self) -> DialogueOracle:
        """The oracle of the world's dialogues."""
        return DialogueOracle(self._dialogues)

    @cached_property
    def story_oracle(self) -> StoryOracle:
        """The oracle of the world's stories."""
        return StoryOracle(self._tables)

    @cached_property
    def max_source(self) -> int:
        """Tokens of the longest source; `draw` pads all to it."""
        if self.task == "dialogue":
            return self._dialogues.max_source
        return self.world.story_cut if self.cut == "fixed" else self.story_oracle.lengths[1] // 2

    @cached_property
    def max_target(self) -> int:
        """Tokens of the longest target, with EOS; `draw` pads all to it."""
        if self.task == "dialogue":
            return self._dialogues.max_target
        longest = self.story_oracle.lengths[1]
        return longest + 1 - (self.world.story_cut if self.cut == "fixed" else longest // 2)

    def draw(self, seed: int, first: int, count: int) -> Pairs:
        """Return documents `first` to `first + count`: each a function of the seed and its index."""
        if self.task == "dialogue":
            return self._padded(self._dialogues.draw(seed, first, count))
        text, length = self._tables.draw(seed, first, count)
        at = np.full_like(length, self.world.story_cut) if self.cut == "fixed" else length // 2
        return self._padded(cut(text, length, at))

    def _padded(self, pairs: Pairs) -> Pairs:
        source, target = (
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=PAD)
            for part, width in ((pairs.source, self.max_source), (pairs.target, self.max_target))
        )
        return Pairs(source, pairs.source_length, target, pairs.target_length)

    def score(self, pairs: Pairs) -> Scored | ScoredStories:
        """Return floors and kinds of the tokens of given documents; of dialogues, alignments and facts too.

        ValueError that names the row and the token where the grammar cannot say one.
        """
        return self.dialogue_oracle.score(pairs) if self.task == "dialogue" else self.story_oracle.score(pairs)

    def draw_scored(self, seed: int, first: int, count: int) -> Scored | ScoredStories:
        """Return the documents of `draw`, scored; their arrays are as wide as the longest of these documents."""
        if self.task == "dialogue":
            return self._dialogues.draw_scored(seed, first, count)
        return self.story_oracle.score(self.draw(seed, first, count))

    def log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return ln p* of every token at each position of the targets, given the source and the target before it.

        -inf for what the grammar cannot say; behind a token that it cannot say, and behind EOS, all tokens are equally
        likely. ValueError for a source that it cannot say.
        """
        return self.dialogue_oracle.log_p(pairs) if self.task == "dialogue" else self.story_oracle.log_p(pairs)

    def midpoint_log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return the same for who knows that stories were cut at half their length; UserError for other cuts."""
        if self.task != "story" or self.cut != "midpoint":
            raise UserError("--cut fixed: tells nothing of the length; only stories cut at the midpoint do")
        return self.story_oracle.midpoint_log_p(pairs)

    def plain_log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return what `log_p` does up to each target's end, by the forward algorithm over the whole document: slowly.

        Behind the end, 0. Of stories cut at the midpoint what `midpoint_log_p` does: the grammar tells nothing of cuts.
        """
        if self.task == "story" and self.cut == "midpoint":
            return self.midpoint_log_p(pairs)
        grammar = self._dialogues.stage.grammar if self.task == "dialogue" else self._tables.grammar
        between = [SEP] if self.task == "dialogue" else []
        found = np.zeros((*pairs.target.shape, len(self.vocabulary)), np.float32)
        for row, (source, target) in enumerate(zip(pairs.source_length.tolist(), pairs.target_length.tolist())):
            text = [*pairs.source[row, :source].tolist(), *between, *pairs.target[row, :target].tolist()]
            with np.errstate(divide="ignore"):
                found[row, :target] = np.log(predictions(grammar, text)[-target:])
        return found

    def best_log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return ln p* for whoever sees where source and target part: `log_p`, or of midpoints `midpoint_log_p`."""
        return self.midpoint_log_p(pairs) if self.cut == "midpoint" else self.log_p(pairs)

    @cached_property
    def constant(self) -> Float64[np.ndarray, " V"]:
        """ln p of the best prediction that ignores source and past: how often each token comes in targets, with EOS.

        Exact for dialogues; of stories counted over 65,536 of them.
        """
        if self.task == "dialogue":
            return self.dialogue_oracle.constant
        count = np.zeros(len(self.vocabulary))
        for first in range(0, _COUNTED, _PIECE):
            count += np.bincount(self.draw(2**31 - 1, first, _PIECE).target.ravel(), minlength=len(count))
        count[PAD] = 0
        with np.errstate(divide="ignore"):
            return np.log(count / count.sum())

    def facts(self, pairs: Pairs) -> Facts:
        """Return what dialogues settle, with the likeliest occasion; UserError for stories."""
        if self.task != "dialogue":
            raise UserError("--task story: has no facts of a summary; its statements are judged")
        return self.dialogue_oracle.facts(pairs)

    def judge(self, pairs: Pairs, generated: Int[np.ndarray, "n U"]) -> Judgement | Truth:
        """Return what is right in summaries of the dialogues of `pairs`, or true in continuations of its stories."""
        if self.task == "dialogue":
            return judge(self.dialogue_oracle, pairs, generated)
        return judge_stories(self._tables, pairs, generated)

    def turns(self, pairs: Pairs) -> np.ndarray:
        """Return the turn (of stories: the sentence) in which each source token stands, int32 [n, S]."""
        if self.task == "dialogue":
            return turns_of(pairs.source, self.token[":"])
        ends = (pairs.source == self.token["."]).astype(np.int32)
        return np.cumsum(ends, axis=1, dtype=np.int32) - ends

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, UNK for words that the world does not have; case does not matter."""
        return [self.token.get(word if word in SPECIAL else word.lower(), UNK) for word in _TOKEN.findall(text)]

    def decode(self, tokens: Sequence[int] | Int[np.ndarray, " T"]) -> str:
        """Return the text of tokens, without padding; each turn of a dialogue is a line. `encode` inverts it."""
        words = [self.vocabulary[token] for token in map(int, tokens) if token != PAD]
        found = ""
        for k, word in enumerate(words):
            speaks = words[k + 1 : k + 2] == [":"] and word in self.world.names
            gap = "" if k == 0 or word in (".", ",", "?", ":") else "\n" if speaks else " "
            found += gap + word
        return found
