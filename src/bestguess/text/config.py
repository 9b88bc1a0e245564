"""The config of the text family, and its presets. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from bestguess.command import UserError, check_range
from bestguess.config import MOST, added, flag
from bestguess.text.corpora.options import WINDOWS
from bestguess.text.generation import GenerationConfig
from bestguess.text.model_config import TextModelConfig
from bestguess.train.config import TrainConfig

ERRANDS = "errands"
Kind = Literal["dialogue", "story"]
World = Literal["small", "full", "tiny"]
Cut = Literal["midpoint", "fixed", "random"]
TokenKind = Literal["words", "characters", "bpe"]


@dataclass(frozen=True)
class TextTaskConfig:
    """The documents, and what of them is predicted."""

    corpus: str = ERRANDS
    """Corpus: errands (generated, its oracle known), docstrings (the standard library's), a file or folder of text, \
JSON lines, JSON, CSV or Parquet, or a name on the Hugging Face hub (needs the extra hub)."""
    task: Kind = "dialogue"
    """Of errands: dialogues with their summaries, or stories, raw text that is cut in two."""
    world: World = "small"
    """Of errands: 8 names, 4 places, 4 days, 8 items and 4 occasions; or the full world of 16, 10, 7, 32 and 8."""
    training_documents: int | None = None
    """Training documents of a generated corpus; None: as many as the training draws, each once."""
    corpus_seed: int = 0
    """Seed of a generated corpus; the seed of a run decides its weights and the order of the documents."""
    source_field: str = ""
    """Field of the source, or of raw text (default: recognised, such as dialogue or text)."""
    target_field: str = ""
    """Field of the target, or none for raw text (default: recognised, such as summary)."""
    documents: Literal["auto", "file", "paragraphs", "lines", "windows"] = "auto"
    """What one document of a plain-text file is; auto: paragraphs of a single file, whole files of a folder. windows: \
the corpus is one long text, read in windows of --context tokens without marks; its end is validation and test."""
    encoding: str = "utf-8"
    """Encoding of text files without a byte order mark."""
    max_documents: int = 0
    """Documents read from each part, the first ones; 0 for all."""
    splits: Literal["auto", "given", "hash", "file"] = "auto"
    """Parts: given by files named train, validation and test; by a hash of each document; or by file. auto: given \
where there are such files, else hash."""
    validation_fraction: float = 0.05
    """Fraction of the documents that select weights, where parts are not given."""
    test_fraction: float = 0.05
    """Fraction of the documents that are reported on, where parts are not given. Of windows, 0 reports on the \
validation part, which has selected the weights."""
    split_seed: int = 0
    """Seed of the split by hash."""
    cut: Cut = "fixed"
    """Where raw text is cut into source and target: at its midpoint, which tells whoever sees it the length of the \
rest; after --cut-at tokens; or after --cut-at to --cut-to tokens, drawn by the document's hash."""
    cut_at: int = 32
    """Tokens before a fixed cut, or fewest before a random one."""
    cut_to: int = 96
    """Most tokens before a random cut."""
    tokenizer: TokenKind = "bpe"
    """Of natural text: words, characters, or byte-level BPE (needs the extra text); fitted on the training part."""
    vocab_size: int = 1024
    """Most tokens of words and BPE."""
    context: int = 256
    """Most tokens of a raw text, its end left out; tokens of a window."""
    stride: int = added(0)
    """Of windows: tokens from one scored window to the next, which must divide --context; each token is scored once, \
with --context less --stride tokens before it or more. 0: --context, as many windows as fit."""
    max_source: int = 256
    """Most tokens of a source that has a target."""
    max_target: int = 128
    """Most tokens of such a target, its end left out."""
    too_long: Literal["refuse", "cut", "skip", "split"] = "cut"
    """What becomes of a longer document: an error, cut off, left out, or (raw text) split. Their number is reported."""

    @property
    def windows(self) -> bool:
        """Whether the corpus is one long text."""
        return self.documents == WINDOWS

    @property
    def endless(self) -> bool:
        """Whether every training document is generated anew."""
        return self.corpus == ERRANDS and self.training_documents is None

    @property
    def scored(self) -> int:
        """Tokens of a window that are scored."""
        return self.stride or self.context

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if not self.corpus:
            raise UserError(f"--corpus: is empty; name a file or a folder, or leave it out for {ERRANDS}")
        for name in ("max_source", "max_target", "cut_at", "cut_to", "context"):
            check_range(flag(name), getattr(self, name), 1, _TOKENS)
        if self.context < 2:
            raise UserError(f"--context {self.context}: a text has a token on either side of its cut; give 2 or more")
        check_range("--training-documents", self.training_documents, 1)
        check_range("--vocab-size", self.vocab_size, 8, 1 << 20)
        check_range("--corpus-seed", self.corpus_seed, 0, MOST)
        if self.windows and self.corpus == ERRANDS:
            raise UserError(
                f"--corpus {ERRANDS}: consists of documents, but --documents {WINDOWS} reads one long text; "
                "give --corpus FILE"
            )
        self._check_what_belongs()
        self._check_windows()

    def _check_windows(self) -> None:
        """Raise a UserError for a value that does nothing with windows, or with anything else."""
        if not self.windows:
            if self.stride:
                raise UserError(f"--stride {self.stride}: is for --documents {WINDOWS}; leave it out")
            return
        if self.stride < 0 or self.context % self.scored:
            raise UserError(f"--stride {self.stride}: must divide --context {self.context}, or be 0 for all of it")
        of_documents = (
            "source_field target_field max_documents split_seed cut cut_at cut_to max_source max_target too_long"
        )
        for one in fields(self):
            if one.name in of_documents.split() and getattr(self, one.name) != one.default:
                raise UserError(
                    f"{flag(one.name)} {getattr(self, one.name)}: has no effect with --documents windows; leave it out"
                )
        if self.splits not in ("auto", "given"):
            raise UserError(
                f"--splits {self.splits}: --documents {WINDOWS} reads one text; give --splits auto or given"
            )

    def _check_what_belongs(self) -> None:
        """Raise a UserError for a value that does nothing with this corpus."""
        of_errands = ("task", "training_documents", "corpus_seed")
        generated = self.corpus == ERRANDS
        for one in fields(self):
            foreign = one.name not in _SHARED and (one.name in of_errands) != generated
            if foreign and getattr(self, one.name) != one.default:
                belongs = f"--corpus {ERRANDS}" if not generated else "natural text"
                raise UserError(f"{flag(one.name)} {getattr(self, one.name)}: belongs to {belongs}; leave it out")


_TOKENS = 1 << 20
"""Most tokens of a text that a flag may allow."""
_SHARED = ("corpus", "world", "cut")
"""Fields that mean something with any corpus, or that a preset sets."""


@dataclass(frozen=True)
class TextObjectiveConfig:
    """The training objective."""

    loss: Literal["target", "full"] = "target"
    """What a decoder-only model is trained on: the target only, or every token. Only the target is scored."""
    freeze_encoder: bool = False
    """Keep the encoder's weights at their random initialisation; the token embedding, which is shared, is trained."""
    start: str = added("")
    """Folder of a trained text model of the same shape, whose weights are the initial ones (default: random). Tokens \
are matched by their text, new ones are random. With several runs, seed s takes run s modulo their number."""
    packing: int = added(0)
    """Pack several training documents into a row of this many tokens, without attention between them; 0: a row for \
each. --batch-size then counts rows. Reduces the padding of documents of unequal length."""
    label_smoothing: float = 0.0
    """Probability that the training target spreads evenly over all tokens; it worsens calibration and regret."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if self.packing < 0:
            raise UserError(f"--packing {self.packing}: must not be negative; 0 leaves every document by itself")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"--label-smoothing {self.label_smoothing:g}: at least 0 and below 1")


@dataclass(frozen=True)
class TextConfig:
    """Everything that determines the result of a training: what `config.yaml` holds."""

    task: TextTaskConfig = field(default_factory=TextTaskConfig)
    model: TextModelConfig = field(default_factory=TextModelConfig)
    objective: TextObjectiveConfig = field(default_factory=TextObjectiveConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=950,
            batch_size=32,
            learning_rate=(4e-3,),
            warmup_steps=100,
            schedule="linear",
            hold=0.22,
            final_learning_rate=0.02,
            weight_decay=0.1,
            beta2=0.98,
            validate_every=95,
            validation_sequences=256,
        )
    )

    test_documents: int = 1024
    """Most test documents that are evaluated."""
    generated: int = 256
    """Most test documents whose targets are generated; 0: none."""
    attention_documents: int = added(0)
    """Most test documents in which the evaluation of a training measures attention; 0: none."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value or a combination is impossible."""
        if self.test_documents < 2:
            raise UserError(f"--test-documents {self.test_documents}: at least 2, for a standard error")
        check_range("--generated", self.generated, 0)
        check_range("--attention-documents", self.attention_documents, 0)
        self.task.check()
        self.model.check()
        self.objective.check()
        self.generation.check()
        self.train.check()
        if self.task.windows:
            self._check_windows()
        if self.objective.packing and self.model.attention in ("cudnn", "fused"):
            raise UserError(f"--attention {self.model.attention}: causal only; with --packing choose auto")
        if self.objective.freeze_encoder and self.model.architecture != "encoder-decoder":
            raise UserError(
                f"--freeze-encoder: {self.model.architecture} has no encoder; leave it out, or give --architecture "
                "encoder-decoder"
            )
        if self.objective.loss == "full" and self.model.architecture != "decoder-only":
            raise UserError(
                f"--loss full: {self.model.architecture} reads the source in both directions and can predict only "
                "the target; give --architecture decoder-only or --loss target"
            )

    def _check_windows(self) -> None:
        """Raise a UserError for what needs documents."""
        if self.model.architecture != "decoder-only" or self.objective.loss != "full":
            raise UserError(
                f"--documents {WINDOWS}: every token is predicted from those before it; give "
                "--architecture decoder-only --loss full"
            )
        if self.objective.packing:
            raise UserError(f"--packing {self.objective.packing}: windows are full; leave it out")
        if self.attention_documents:
            raise UserError(
                f"--attention-documents {self.attention_documents}: has no effect with --documents windows; "
                "leave it out"
            )


def _full() -> TextConfig:
    """Return the preset for a GPU: the full world, 5 million weights."""
    config = TextConfig()
    return dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, world="full"),
        model=dataclasses.replace(config.model, layers=3, d_model=256, heads=8, d_ff=1024),
        train=dataclasses.replace(
            config.train,
            steps=8000,
            batch_size=128,
            learning_rate=(1e-3,),
            warmup_steps=400,
            validate_every=400,
            validation_sequences=1024,
        ),
        test_documents=4096,
        generated=1024,
    )


def _characters(gpu: bool) -> TextConfig:
    """Return the preset for one long text by characters, in nanoGPT's sizes for a CPU and for a GPU."""
    config = TextConfig()
    return dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, documents="windows", tokenizer="characters", context=256 if gpu else 64),
        model=dataclasses.replace(
            config.model,
            architecture="decoder-only",
            layers=6 if gpu else 4,
            d_model=384 if gpu else 128,
            heads=6 if gpu else 4,
            dropout=0.25 if gpu else 0.0,
            attention_dropout=0.2 if gpu else 0.0,
            dtype="bfloat16" if gpu else "float32",
        ),
        objective=dataclasses.replace(config.objective, loss="full"),
        train=dataclasses.replace(
            config.train,
            optimizer="muon",
            steps=3000 if gpu else 2000,
            batch_size=64 if gpu else 12,
            learning_rate=(4e-3 if gpu else 5e-3,),
            warmup_steps=50,
            weight_decay=1.0 if gpu else 0.1,
            hold=0.3 if gpu else 0.2,
            final_learning_rate=0.0,
            beta2=0.99,
            average=0.99 if gpu else 0.98,
            validate_every=100 if gpu else 250,
            validation_sequences=9999,
        ),
        test_documents=9999,
        generated=8,
    )


BASES: Mapping[tuple[str, ...], TextConfig] = {
    ("default",): TextConfig(),
    ("small",): TextConfig(),
    ("full",): _full(),
    ("characters",): _characters(gpu=False),
    ("characters-gpu",): _characters(gpu=True),
}
"""Where the other flags' defaults come from, by preset."""
