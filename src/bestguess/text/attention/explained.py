"""The words of the attention page: how to use it, what its marks and measures mean, and what weights do not show."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from bestguess.text.attention.tables import swaps_table

COLUMNS = {
    "mass": (
        "mass",
        "Weight of the query on this block: 1 for an encoder-decoder. Without an encoder, a query's blocks sum to 1 "
        "minus the weight on [BOS].",
    ),
    "entropy": ("entropy", "Of the weights, in nats: 0 if all the weight lies on one token."),
    "evenness": (
        "normalised entropy",
        "Entropy over that of uniform attention: 1 is uniform attention, 0 is all the weight on one token.",
    ),
    "distance": (
        "distance",
        "Mean distance from query to key, in tokens; positions of the target continue those of the source.",
    ),
    "turn_mass": (
        "turn",
        "Weight on one turn of the dialogue (of a story: one sentence; of files: one line): of the encoder, the "
        "query's own; of cross-attention, the most attended one.",
    ),
    "turn_uniform": ("turn, uniform", "The same for uniform attention, the baseline to compare with."),
    "within_turn": (
        "within",
        "Weight on the query's own turn, minus the same with the turns' lengths permuted. A head that only attends to "
        "neighbouring tokens has 0; above 0, it respects the turns' boundaries.",
    ),
    "related": (
        "slot",
        "Weight on other turns about the same slot (place, day or item), divided by the same with the slots permuted "
        "over the turns: 1 is no preference.",
    ),
    "gold_turn_mass": ("gold turn", "When a copied token is to be predicted: weight on the turn that states it."),
    "gold_turn_uniform": ("gold, uniform", "The same for uniform attention."),
    "gold_token_mass": ("gold token", "When a copied token is to be predicted: weight on the token that states it."),
    "alignment": ("alignment", "How often that token has the largest weight of all."),
    "copy": (
        "copy",
        "Weight on tokens equal to the one to be predicted; of the encoder, on other tokens equal to the query.",
    ),
    "fading": (
        "fading",
        "Slope, per token of the target, of the weight on the source divided by that of uniform attention: below 0, "
        "attention leaves the source. Of models without an encoder.",
    ),
}
"""Columns of the table and what they mean, by measure."""

SURE, AGREE, APART = 0.9, 0.1, 0.5
"""Fractions: from where a summary depends on what is swapped; how far below that the weight agrees, or does not."""


def lead(name: str, documents: int, known: bool, dialogues: bool) -> str:
    """Return what the page shows and how to use it, as HTML."""
    steps = [
        "<strong>Point at a token of the target</strong> (tap it, or use the arrow keys): the shading shows what the "
        "selected heads attend to when they predict it.",
        "<strong>Point at a token of the source</strong>: what it attends to in the source, and which tokens of the "
        "target attend to it.",
        "<strong>Select a head</strong> by its matrix (rows are queries, columns keys); “mean” averages all heads. "
        f"<a href='#heads'>The table</a> has measures of every head, over {documents:,} documents.",
    ]
    if dialogues:
        steps.append(
            "<strong>See what the summary depends on</strong>: weights do not show it, "
            "<a href='#alignment'>interventions on the dialogue do</a>."
        )
    under = "regret, the loss beyond the best possible prediction" if known else "loss"
    marks = [
        "weight "
        + " ".join(f'<span class="token" style="--w:{root:g}">{told}</span>' for told, root in _SHADES)
        + " (the shade is its square root, so that small weights are visible)",
        f'<span class="token" style="border-bottom-width:4px">underlined</span> {under}',
    ]
    if dialogues:
        marks.append('<span class="gold"></span> gold arc, from a copied token to the token that states it')
    items = "".join(f"<li>{step}</li>" for step in steps)
    return (
        f'<div class="lead"><p>{html.escape(name)}.</p></div><ol class="steps">{items}</ol>'
        f'<p class="marks">{"; ".join(marks)}.</p>'
    )


_SHADES = (("0.01", 0.1), ("0.1", 0.316), ("0.5", 0.707), ("1", 1.0))
"""Weights, and their roots."""


def alignment(models: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return the section on weights against swaps as HTML; nothing where no swap was made.

    models: names and figures.
    """
    tables = []
    for name, figures in models:
        if figures["causal"] is None:
            continue
        columns, told, _ = swaps_table(figures)
        rows = []
        for fact, *cells in told:
            weight = figures["facts"].get(fact, {}).get("gold_token_mass")
            rows.append(
                f"<tr><td>{html.escape(_FACTS[fact])}</td>"
                + "".join(f'<td class="number">{cell}</td>' for cell in cells)
                + f"<td>{verdict(weight, figures['causal'][fact]['followed'])}</td></tr>"
            )
        caption = f"<caption>{html.escape(name)}</caption>"
        first, *numbers = columns
        head = (
            f'<th scope="col">{first}</th>'
            + "".join(f'<th scope="col" class="number">{column}</th>' for column in numbers)
            + '<th scope="col">conclusion</th>'
        )
        body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        tables.append(f'<div class="scroll swaps"><table>{caption}{body}</table></div>')
    return f"<h2 id='alignment'>Attention is not alignment</h2>{_ALIGNMENT}{''.join(tables)}" if tables else ""


def verdict(weight: float | None, followed: float | None) -> str:
    """Return in words whether a summary depends on what states a fact, and whether weights show it."""
    if weight is None or followed is None:
        return "not measured"
    if followed < SURE:
        return "the summary does not reliably depend on it"
    if followed - weight > APART:
        return "the summary depends on it, but no head’s weight shows it"
    return f"the summary depends on it, and the weight shows it{'' if followed - weight <= AGREE else ' in part'}"


_FACTS = {"place": "place", "day": "day", "item": "item", "bringer": "who brings it"}
_ALIGNMENT = (
    "<p>A weight shows where a head attends, not what the output depends on: earlier layers have already mixed "
    "information between tokens, several heads and the residual stream carry it in parallel, and what is attended to "
    "may not affect the output. So these are interventions: the dialogue is changed, and the model generates again.</p>"
    "<ul><li><strong>Swap followed</strong>: the token that states the fact is replaced by another value (for who "
    "brings it, the turn that decides is reworded). How often does the summary state the new value?</li>"
    "<li><strong>Decoy withstood</strong>: a value that does not matter is replaced, a mention in chatter or a "
    "proposal that is revised later. How often does the summary keep the true value?</li>"
    "<li><strong>Weight on its token</strong>: of the head with the largest such weight for this fact, chosen on "
    "validation documents.</li></ul>"
)


def glossary() -> str:
    """Return what each column of the table of heads means, as HTML."""
    items = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(said)}</dd>" for label, said in COLUMNS.values())
    return (
        "<details class='glossary'><summary>What the columns mean</summary><p>The query is the token whose "
        "successor is to be predicted (of the encoder: any token of the source). Uniform attention "
        "has equal weights on all keys that the mask allows. Weights "
        "are normalised within a part; measures are means over queries.</p>"
        f"<dl>{items}</dl></details>"
    )
