"""The flags of the text commands. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from bestguess.family import Family
from bestguess.text.config import ERRANDS, Kind, TextConfig, World
from bestguess.text.generation import GenerationConfig
from bestguess.workflow.flags import RunFlags, TrainingFlags, config_flags

if TYPE_CHECKING:
    from bestguess.text.workings import TextWorkings


class TextFlags(TrainingFlags):
    """What `text train` takes beside its config."""

    def as_given(self) -> TextConfig:
        """Return the config; a corpus on this machine by its whole path, for commands that are run from elsewhere."""
        from bestguess.text.corpora.docstrings import NAMES

        config: TextConfig = super().as_given()
        corpus = config.task.corpus
        if not corpus or corpus in (ERRANDS, *NAMES) or not os.path.exists(corpus):
            return config
        return dataclasses.replace(config, task=dataclasses.replace(config.task, corpus=os.path.abspath(corpus)))

    def sequences_of_epoch(self, config: TextConfig) -> int | None:
        """Return the documents, or rows of packed ones, or windows, of the training part; None: of Errands."""
        if config.task.endless:
            return None
        works: TextWorkings = self.FAMILY.works  # type: ignore[assignment]
        return works.training_sequences(config)


def train_flags(family: Family) -> type:
    """Return the flags of `text train`."""
    return config_flags(family, "TrainFlags", family.about, TextFlags)


@dataclass(frozen=True)
class EvaluateFlags(RunFlags):
    """Measure every run of a folder on the test documents, and let it write their targets."""

    test_documents: int | None = None
    """Most test documents (default: as in training)."""
    generated: int | None = None
    """Most test documents whose targets are generated; 0: none (default: as in training)."""
    corpus: Path | None = None
    """New location of the training's corpus, if it was moved. Its hash is checked; `text report` then finds it too."""


@dataclass(frozen=True)
class GenerateFlags(GenerationConfig):
    """Write the target of a test document, or of a text of your own, and say how likely the model thinks it."""

    run: tyro.conf.Positional[Path] = Path()
    """Folder written by `text train`."""
    text: str | None = None
    """Source text. On Errands, words that its vocabulary lacks are an error."""
    index: int | None = None
    """Test document whose source is taken (default: 0)."""
    number: int | None = None
    """Run of the folder (default: the one that validation data select)."""


EncoderWeights = Literal["decoder", "random"]
CrossOutput = Literal["zero", "random"]


@dataclass(frozen=True)
class ConvertFlags:
    """Write a decoder-only run, or a prefix LM, as an encoder-decoder, to be trained on with `text train --start`.

    Its decoder has the run's weights; an encoder and cross-attention are added. All runs of the folder are converted.
    """

    run: tyro.conf.Positional[Path]
    """Folder written by `text train`."""
    out: Path | None = None
    """New folder (default: runs/text/ and the time)."""
    encoder: EncoderWeights = "decoder"
    """Weights of the encoder: the decoder's blocks, or random ones."""
    cross_output: CrossOutput = "zero"
    """Output projection of cross-attention: zero (the model then predicts as the run without a source) or random."""
    seed: int = 0
    """Seed of the new weights."""


@dataclass(frozen=True)
class MakeFlags:
    """Write a corpus whose best possible prediction is known: JSON lines with the floor of every token, and a card."""

    corpus: tyro.conf.Positional[str]
    """Corpus to write: errands."""
    out: Path = Path("errands")
    """New folder for the files."""
    task: Kind = "dialogue"
    """Dialogues with their summaries, or stories."""
    world: World = "full"
    """Size of the world: names, places, days, items, occasions."""
    documents: int = 20_000
    """Documents in all; a tenth each are the validation and the test part."""
    seed: int = 0
    """Random seed."""


@dataclass(frozen=True)
class SheetFlags(GenerationConfig):
    """Write what two runs write for the same test documents into one HTML file, on which people vote blindly.

    It opens offline and sends nothing; votes are saved as a file, which `text votes` reads.
    """

    run_a: tyro.conf.Positional[Path] = Path()
    """Folder written by `text train`."""
    run_b: tyro.conf.Positional[Path] = Path()
    """Another of the same corpus, or the same folder with another run."""
    number_a: int | None = None
    """Run of the first folder (default: the one that validation data select)."""
    number_b: int | None = None
    """Run of the second folder (default: the one that validation data select)."""
    out: Path = Path("sheet.html")
    """File to write."""
    documents: int = 30
    """Test documents, drawn at random."""
    seed: int = 0
    """Seed of the draw, and of which run is A in each document."""
    question: str = "Which of the two goes better with the text above?"
    """What people are asked."""


@dataclass(frozen=True)
class AttentionFlags:
    """Measure what every attention head reads, test by swaps what summaries depend on, and write it as one HTML page.

    The page opens offline: the text with what each token reads, all heads, two models side by side. Heat maps of one
    document are written beside it.
    """

    run: tyro.conf.Positional[Path]
    """Folder written by `text train`."""
    run2: tyro.conf.Positional[Path | None] = None
    """A second folder, of the same corpus, to be shown beside the first."""
    number: int | None = None
    """Run of the first folder (default: the one that validation data select)."""
    number2: int | None = None
    """Run of the second folder (default: the one that validation data select)."""
    out: Path | None = None
    """Page to write (default: attention.html in the first folder)."""
    documents: int | None = None
    """Test documents that heads are measured on (default: 256, or all); as many validation documents choose the best \
ones."""
    shown: int = 6
    """Test documents on the page."""
    index: int = 0
    """The first of them, and the one of the heat maps."""
    heatmaps: bool = True
    """Draw the heat maps."""


@dataclass(frozen=True)
class VotesFlags:
    """Say how often each run won on a blind sheet, of the votes that differ, with the exact 95 % interval.

    Of several people's votes the majority on each document counts.
    """

    votes: tyro.conf.Positional[tuple[Path, ...]]
    """Files that the sheet saved."""
