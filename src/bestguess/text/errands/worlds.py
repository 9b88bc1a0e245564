"""Worlds: who and what there is, and in which words it is spoken of. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bestguess.text.tokens import SPECIAL

PLACE, DAY, ITEM = range(3)
"""What the two arrange: the slots of a dialogue."""

PROPOSE = (
    ("shall we meet at the {place} ?", "can we meet at the {place} ?", "how about meeting at the {place} ?",
     "let us meet at the {place} ."),
    ("are you free on {day} ?", "would {day} suit you ?", "how about {day} ?", "does {day} work for you ?"),
    ("could *you bring the {noun} ?", "*i can bring the {noun} .", "would *you bring the {noun} ?",
     "shall *i bring the {noun} ?"),
)  # fmt: skip
"""Proposals for each slot. A star marks the word that says who brings the item: you, or the speaker."""
REVISE = (
    ("i would prefer the {place} .", "the {place} is better for me .", "no , rather the {place} .",
     "could we make it the {place} instead ?"),
    ("i would prefer {day} .", "{day} is better for me .", "no , rather {day} .",
     "could we make it {day} instead ?"),
    ("*i can bring the {noun} instead .", "could *you bring the {noun} instead ?", "no , *i will bring the {noun} .",
     "no , *you should bring the {noun} ."),
)  # fmt: skip
"""Replies that propose another value of the slot in question."""
ACCEPT = ("yes , that works .", "sounds good to me .", "perfect , thanks .", "okay , let us do that .")
CHATTER = (
    "i left my {noun} at the {place}",
    "my sister left the {noun} at the {place}",
    "my brother bought a {noun} near the {place}",
    "my brother was near the {place}",
)
TAILS = ("on {day} .", "last week .", "the other day .")
"""Chatter mentions things, places and days that are not part of the plan."""

OPENINGS = (
    ("{first} and {second} meet", "{first} meets {second}"),
    ("{first} and {second} meet", "{first} meets {second}", "{first} will meet {second}"),
)
ORDERS = ((0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0))
"""Orders of what follows the opening."""
PARTS = ("at the {place}", "on {day}", "for a {label}")
BRINGS = (
    ("{bringer} brings the {item}", "{bringer} takes the {item}"),
    ("{bringer} brings the {item}", "{bringer} takes the {item}", "{bringer} will bring the {item}"),
)
CHOICES = (("and {chooser} chose the day",), ("and {chooser} chose the day", ", and the day was up to {chooser}"))

STORY_PLACES = ("{subject} is at the {place} .", "{subject} waits at the {place} .")
STORY_THINGS = ("{subject} has the {noun} .", "{subject} holds the {noun} .")
STORY_MOVES = ("{subject} goes to the {place} .", "{subject} walks to the {place} .")
STORY_GIFTS = ("{subject} gives the {item} to {object} .", "{subject} hands the {item} to {object} .")
STORY_SAYS = (
    "{subject} says : i have the {item} .", "{subject} says : {object} has the {item} .",
    "{subject} says : i am at the {here} .", "{subject} says : {object} is at the {there} .",
)  # fmt: skip
"""Sentences of a story; what is said is true."""

NAMES = (
    ("anna", "she"), ("ben", "he"), ("clara", "she"), ("david", "he"), ("emma", "she"), ("felix", "he"),
    ("grace", "she"), ("henry", "he"), ("ida", "she"), ("jonas", "he"), ("karla", "she"), ("leo", "he"),
    ("mia", "she"), ("noah", "he"), ("olga", "she"), ("paul", "he"),
)  # fmt: skip
PLACES = ("park", "station", "library", "market", "museum", "harbour", "theatre", "bridge", "beach", "castle")
DAYS = ("friday", "saturday", "sunday", "monday", "tuesday", "wednesday", "thursday")
TOPICS = {
    "picnic": ("blanket", "basket", "cake", "melon"),
    "campout": ("tent", "stove", "lantern", "hammock"),
    "rehearsal": ("guitar", "drum", "violin", "songbook"),
    "match": ("ball", "whistle", "net", "scarf"),
    "hike": ("compass", "map", "rope", "backpack"),
    "renovation": ("ladder", "hammer", "drill", "brush"),
    "lesson": ("dictionary", "notebook", "calculator", "pencil"),
    "film": ("projector", "screen", "cushion", "cable"),
}
"""Occasions, each with the things that it makes likely. The occasion is never named in a dialogue."""


@dataclass(frozen=True)
class World:
    """People, places, days and things, with the wordings in use and how often things happen."""

    name: str
    people: int
    n_places: int
    n_days: int
    topics: int
    """Hidden topics; each has an occasion, which a summary names."""
    nouns_each: int
    """Things that belong to each topic."""
    turns: int
    """Most turns of a dialogue."""
    forms: int
    """Wordings of each proposal, revision and acceptance."""
    chatters: int
    tails: int
    style: int
    """Which of the summary's wordings: index into OPENINGS, BRINGS and CHOICES."""
    orders: tuple[float, ...]
    """Weights of ORDERS."""
    wordings: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    """Weights of OPENINGS, BRINGS and CHOICES."""
    told: float
    """Probability that a summary says who chose the day."""
    revise: float
    """Probability that a proposal is revised, where turns are left."""
    chatter: float
    """Probability that chatter comes instead of a proposal, or of the end, where turns are left."""
    events: tuple[int, int]
    """Fewest and most events of a story, after its four opening sentences."""
    story_end: float
    """Probability that a story ends after an event, from the fewest on."""
    story_cut: int
    """Tokens before the cut that does not depend on a story's length; every story has more."""

    @property
    def names(self) -> tuple[str, ...]:
        """The people."""
        return tuple(name for name, _ in NAMES[: self.people])

    @property
    def pronouns(self) -> tuple[str, ...]:
        """A pronoun for each of the people."""
        return tuple(pronoun for _, pronoun in NAMES[: self.people])

    @property
    def places(self) -> tuple[str, ...]:
        """The places."""
        return PLACES[: self.n_places]

    @property
    def days(self) -> tuple[str, ...]:
        """The days."""
        return DAYS[: self.n_days]

    @property
    def labels(self) -> tuple[str, ...]:
        """The occasion of each topic."""
        return tuple(TOPICS)[: self.topics]

    @property
    def nouns(self) -> tuple[str, ...]:
        """The things, topic by topic."""
        return tuple(noun for label in self.labels for noun in TOPICS[label][: self.nouns_each])

    @cached_property
    def noun_weights(self) -> tuple[tuple[float, ...], ...]:
        """P(thing | topic) by topic: weight 3 for its own, 0.5 for the next topic's, and 0.15 for each thing."""
        rows = []
        for z in range(self.topics):
            near = [(k // self.nouns_each - z) % self.topics for k in range(len(self.nouns))]
            weights = [0.15 + (3.0 if d == 0 else 0.5 if d == 1 else 0.0) for d in near]
            rows.append(tuple(w / sum(weights) for w in weights))
        return tuple(rows)


FULL = World(
    name="full", people=16, n_places=10, n_days=7, topics=8, nouns_each=4, turns=14, forms=4, chatters=4, tails=3,
    style=1, orders=(0.6, 0.2, 0.12, 0.08), wordings=((0.75, 0.15, 0.1), (0.75, 0.15, 0.1), (0.7, 0.3)), told=0.25,
    revise=0.25, chatter=0.36, events=(3, 9), story_end=0.2, story_cut=32,
)  # fmt: skip
SMALL = World(
    name="small", people=8, n_places=4, n_days=4, topics=4, nouns_each=2, turns=8, forms=2, chatters=2, tails=2,
    style=0, orders=(0.4, 0.35, 0.15, 0.1), wordings=((0.6, 0.4), (0.6, 0.4), (1.0,)), told=0.48,
    revise=0.162, chatter=0.2, events=(2, 6), story_end=0.3, story_cut=28,
)  # fmt: skip
TINY = World(
    name="tiny", people=2, n_places=2, n_days=2, topics=2, nouns_each=1, turns=7, forms=1, chatters=1, tails=1,
    style=0, orders=(0.6, 0.0, 0.4, 0.0), wordings=((1.0, 0.0), (1.0, 0.0), (1.0,)), told=0.4,
    revise=0.3, chatter=0.3, events=(0, 1), story_end=0.4, story_cut=19,
)  # fmt: skip
"""So small that all its documents can be listed."""
WORLDS = {world.name: world for world in (FULL, SMALL, TINY)}


def vocabulary_of(words: tuple[str, ...], world: World) -> tuple[str, ...]:
    """Return SPECIAL, the people, places, days, things and occasions, then `words`, each word once."""
    things = (*world.names, *world.places, *world.days, *world.nouns, *world.labels)
    return tuple(dict.fromkeys((*SPECIAL, *things, *words)))
