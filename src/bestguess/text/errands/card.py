"""The card of a published data set: what it is, its columns, and figures measured on it."""

from __future__ import annotations

from typing import Any

from bestguess.text.errands.corpus import Errands

_SHOWN = {
    "source tokens": "tokens of a source",
    "target tokens": "tokens of a target, with EOS",
    "floor": "**floor of a target (nats)**: no predictor that is given the source does better",
    "floor, copied": "of it: copied tokens",
    "floor, inferred": "of it: inferred tokens",
    "floor, free": "of it: free wording",
    "without the source": "floor of a target without its source (nats)",
    "constant": "best constant prediction of a target (nats): its tokens by how often they come",
    "source's own floor": "floor of a source (nats)",
    "likeliest label right": "fraction in which the likeliest occasion is the true one",
}
_WHAT = {
    "dialogue": """\
Dialogues in which two people arrange where and when to meet and who brings what, with summaries. Proposals are
revised; chatter mentions other places, days and things. The summary names an occasion that the dialogue never says: it
is inferred from the things that are mentioned.""",
    "story": """\
Short stories of two people and two things: who is where, who holds what, and what they say, which is true. Each is
cut behind a fixed number of tokens: `source` is what stands before the cut, `target` what follows.""",
}
_COLUMNS = {
    "id": "index of the document: with the seed, it determines the document",
    "source, target": "text; the target's EOS is not shown",
    "source_tokens, target_tokens": "indices into `vocabulary.json`; a target ends with EOS (3)",
    "source_log_p": "ln p* of each source token given those before it",
    "target_log_p": "ln p* of each target token given the source and the target before it",
    "target_entropy": "entropy of that prediction (nats): its mean is the floor, with less noise than that of ln p*",
    "target_kinds": "`copied` (stated in the source, floor 0), `inferred`, or `free` (wording)",
}
_OF_DIALOGUES = {
    "source_log_p (last)": "has one more entry: of the end of the dialogue",
    "aligned, aligned_turn": "index of the source token, and of the turn, that states a copied token's value; -1: none",
    "first, second, place, day, item, bringer, chooser, label": "the facts; `label` is the occasion",
    "chooser_told": "whether the summary says who chose the day",
    "label_p": "probability of each occasion given the dialogue, in the order of the vocabulary",
}


def card_of(
    errands: Errands,
    about: dict[str, Any],
    splits: dict[str, int],
    repeated: int,
    means: dict[str, tuple[float, float]],
) -> str:
    """Return the card, Markdown with the front matter that `datasets` reads.

    about: version, world, task, seed, documents. means: of each figure, its mean and standard error.
    """
    paths = "".join(f"      - split: {split}\n        path: {split}.jsonl\n" for split in splits)
    columns = _COLUMNS | (_OF_DIALOGUES if errands.task == "dialogue" else {})
    figures = "".join(
        f"| {says} | {means[name][0]:.4f} ± {means[name][1]:.4f} |\n" for name, says in _SHOWN.items() if name in means
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    return f"""\
---
license: apache-2.0
language: en
configs:
  - config_name: default
    data_files:
{paths}---
# Errands: {errands.task}, world `{errands.world.name}`

{_WHAT[errands.task]}

The text is drawn from a grammar, so the best possible prediction of every token is known exactly: the lines hold its
log probability. A model's loss less the floor is its regret, which is 0 for a perfect model.

Format version {about["version"]}; seed {about["seed"]}; {about["documents"]:,} documents: {counts}. The split is by a
hash of the text, so equal documents are in one split; {repeated:,} are equal to an earlier one. A vocabulary of
{len(errands.vocabulary)} words.

| measured on these documents | mean ± standard error |
|---|---|
{figures}
| column | |
|---|---|
{"".join(f"| {name} | {says} |{chr(10)}" for name, says in columns.items())}
Made by `bestguess text make errands`; generated text, which describes no real person, under the Apache License 2.0.
`sha256sum -c SHA256SUMS` checks the files.
"""
