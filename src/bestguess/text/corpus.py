"""The documents of a config, as a model sees them: Errands, or natural text, tokenized and cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from bestguess.command import UserError
from bestguess.text.config import ERRANDS, TextTaskConfig
from bestguess.text.corpora.corpus import Corpus, Tokenized, load_corpus
from bestguess.text.corpora.options import Cut, ReadingOptions
from bestguess.text.cuts import CutDocuments, cut_documents, pair_documents
from bestguess.text.errands.corpus import Errands
from bestguess.text.errands.documents import KINDS, NO_KIND
from bestguess.text.pairs import Pairs
from bestguess.text.task import About, constant_of
from bestguess.text.tokenizers import Tokenizer
from bestguess.text.tokens import PAD
from bestguess.text.windows import apart, prompts, scored

_PARTS = ("train", "validation", "test")
_DOCUMENTS = {"dialogue": "dialogues", "story": "stories"}
_MOST = 20_000_000
"""Documents of a part that are generated: they are held in memory."""
_NEVER = -60.0
"""ln of the probability of a token that never comes, in place of −∞."""


def about_of(task: TextTaskConfig, training: int, validation: int, test: int) -> About:
    """Return the documents of a config.

    training: documents that a training draws; so many are generated. validation, test: documents of these parts, at
    most. UserError where the corpus cannot be had.
    """
    if task.corpus == ERRANDS:
        return _errands(task, training, validation, test)
    return _natural(task, validation, test)


def _errands(task: TextTaskConfig, training: int, validation: int, test: int) -> About:
    counts = {"--validation-sequences": validation, "--test-documents": test}
    if task.training_documents is None:
        counts["--steps times --batch-size"] = training
    else:
        counts["--training-documents"] = task.training_documents
    for flag, count in counts.items():
        if count > _MOST:
            more = "; give --training-documents, which are then repeated" if flag.startswith("--steps") else ""
            raise UserError(f"{flag} {count:,}: at most {_MOST:,} documents are generated{more}")
    errands = Errands(task.world, task.task, task.cut)
    # Each part has a seed of its own.
    seeds = [3 * task.corpus_seed + part for part in range(3)]
    scored = errands.draw_scored(seeds[2], 0, test)
    tested = errands.draw(seeds[2], 0, test)
    texts = [errands.decode(row[: n - 1]) for row, n in zip(tested.target, tested.target_length)]
    kinds = np.full(tested.target.shape, NO_KIND, np.int8)
    kinds[:, : scored.kinds.shape[1]] = scored.kinds
    return About(
        name=f"errands, {_DOCUMENTS[task.task]} of the {task.world} world",
        training=errands.draw(seeds[0], 0, task.training_documents or training),
        validation=errands.draw(seeds[1], 0, validation),
        test=tested,
        vocab=len(errands.vocabulary),
        decode=errands.decode,
        encode=lambda text: np.array(errands.encode(text), np.int32),
        log_constant=np.maximum(errands.constant, _NEVER).astype(np.float32),
        continued=task.task == "story",
        known=errands,
        test_kinds=kinds,
        kind_names=KINDS,
        test_bytes=np.array([len(text.encode()) for text in texts], np.int64),
        tokens=errands.vocabulary,
    )


def _natural(task: TextTaskConfig, validation: int, test: int) -> About:
    options = ReadingOptions(
        source_field=task.source_field,
        target_field=task.target_field,
        documents=task.documents,
        encoding=task.encoding,
        max_documents=task.max_documents,
        splits=task.splits,
        validation_fraction=task.validation_fraction,
        test_fraction=task.test_fraction,
        split_seed=task.split_seed,
    )
    corpus = load_corpus(task.corpus, options)
    tokenizer = corpus.fit_tokenizer(task.tokenizer, task.vocab_size)
    tokenized = corpus.tokenized(tokenizer)
    if task.windows:
        return _windowed(task, corpus, tokenizer, tokenized, {"validation": validation, "test": test})
    parts = {part: _cut(task, tokenized[part]) for part in _PARTS}
    counts: Counter[str] = Counter(corpus.skipped)
    for one in parts.values():
        counts.update(one.counts)
    for part, one in parts.items():
        if not len(one):
            what = ", ".join(f"{count:,} {name}" for name, count in counts.items())
            raise UserError(
                f"--corpus {task.corpus}: no {part} document is left ({what}); lower --cut-at, raise --context, or "
                "give another corpus"
            )
    most = {"validation": validation, "test": test}
    kept = {part: _first(one, most.get(part, len(one))) for part, one in parts.items()}
    S, U = (max(getattr(one.pairs, name).shape[1] for one in kept.values()) for name in ("source", "target"))
    train, given = corpus.parts["train"], corpus.parts["test"].target
    pairs = {part: widened(one.pairs, S, U) for part, one in kept.items()}
    return About(
        name=corpus.name,
        training=pairs["train"],
        validation=pairs["validation"],
        test=pairs["test"],
        vocab=tokenizer.vocab_size,
        decode=tokenizer.decode,
        encode=tokenizer.encode,
        log_constant=constant_of(pairs["train"], tokenizer.vocab_size),
        continued=given is None,
        test_bytes=kept["test"].target_bytes,
        counts=dict(counts),
        sha256=corpus.sha256,
        repeated=corpus.repeated("test")[kept["test"].document],
        tokens=tokenizer.token_texts,
        references=() if given is None else tuple(given[i] for i in kept["test"].document),
        frequent="" if train.target is None else Counter(train.target).most_common(1)[0][0],
    )


def _windowed(
    task: TextTaskConfig,
    corpus: Corpus,
    tokenizer: Tokenizer,
    tokenized: Mapping[str, Tokenized],
    most: Mapping[str, int],
) -> About:
    """One long text, in windows; most: of each part."""
    texts = {part: tokenized[part].source for part in _PARTS}
    if len(texts["train"].tokens) <= task.context:
        raise UserError(
            f"--context {task.context}: the training part of {corpus.name} has {len(texts['train'].tokens):,} tokens; "
            "give less, or a longer text"
        )
    kept, counts = {}, {}
    for part, flag in (("validation", "--validation-sequences"), ("test", "--test-documents")):
        every = scored(texts[part].tokens, texts[part].n_bytes, task.context, task.scored)
        kept[part] = _first(every, most[part])
        counts[f"{part} windows left out by {flag} {most[part]}"] = len(every) - len(kept[part])
    training = apart(texts["train"].tokens, task.context, task.scored)
    pairs = {
        part: widened(one.pairs, *(of.shape[1] for of in (training.source, training.target)))
        for part, one in kept.items()
    }
    return About(
        name=corpus.name,
        training=training,
        validation=pairs["validation"],
        test=pairs["test"],
        vocab=tokenizer.vocab_size,
        decode=tokenizer.decode,
        encode=tokenizer.encode,
        log_constant=constant_of(training, tokenizer.vocab_size),
        continued=True,
        test_bytes=kept["test"].target_bytes,
        counts=counts,
        sha256=corpus.sha256,
        tokens=tokenizer.token_texts,
        window=task.context,
        text=texts["train"].tokens,
        prompts=prompts(kept["test"], task.context),
    )


def _cut(task: TextTaskConfig, part: Tokenized) -> CutDocuments:
    where = part.documents.where
    if part.target is not None:
        return pair_documents(part.source, part.target, task.max_source, task.max_target, task.too_long, where)
    cut = Cut(task.cut, task.cut_at, task.cut_to)
    keys = [one.nearly for one in part.documents.source_prints]
    return cut_documents(part.source, keys, cut, task.context, task.too_long, where)


def _first(documents: CutDocuments, most: int) -> CutDocuments:
    """The first documents of a part; parts are in the order of the files, or of hashes."""
    rows = np.arange(min(most, len(documents)))
    return CutDocuments(documents.pairs[rows], documents.target_bytes[rows], documents.document[rows], documents.counts)


def widened(pairs: Pairs, source: int, target: int) -> Pairs:
    """Return the pairs padded to these widths."""

    def wide(rows: np.ndarray, width: int) -> np.ndarray:
        found = np.full((len(rows), width), PAD, np.int32)
        found[:, : rows.shape[1]] = rows
        return found

    return Pairs(wide(pairs.source, source), pairs.source_length, wide(pairs.target, target), pairs.target_length)
