"""The words of the attention page: how to read it, what its marks and measures mean, and what weights do not show."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from bestguess.text.attention.tables import swaps_table

COLUMNS = {
    "mass": ("mass", "Weight on this block, of the query's whole weight. 1 unless one causal matrix has all blocks."),
    "entropy": ("entropy", "Of the weights, in nats: 0 if all lie on one token, larger the more they spread."),
    "evenness": ("evenness", "That entropy over uniform attention's: 1 reads everything alike, 0 one token alone."),
    "distance": ("distance", "Mean distance to what is read, in tokens; the target is counted on from the source."),
    "turn_mass": (
        "turn",
        "Weight on one turn of the dialogue (of a story: one sentence): source on source, the query's own; target on "
        "source, the most attended one.",
    ),
    "turn_uniform": ("turn, uniform", "The same for uniform attention: only what lies above it is the head's doing."),
    "within_turn": (
        "within",
        "Weight on the query's own turn, less the same with the turns' lengths in another order. A head that reads its "
        "neighbours has 0, whatever it knows of turns; above 0, it respects the turns' boundaries.",
    ),
    "related": (
        "slot",
        "Weight on other turns about the same thing (place, day or item), over the same with the things permuted: 1 is "
        "no preference.",
    ),
    "gold_turn_mass": ("gold turn", "Of a token that is copied: weight on the turn that states it."),
    "gold_turn_uniform": ("gold, uniform", "The same for uniform attention."),
    "gold_token_mass": ("gold token", "Of a token that is copied: weight on the very token that states it."),
    "alignment": ("alignment", "How often that token has the largest weight of all."),
    "copy": (
        "copy",
        "Weight on tokens equal to the one to be predicted; source on source, on others equal to the query.",
    ),
    "fading": (
        "fading",
        "Slope, per token written, of the weight on the source over uniform attention's: below 0 it leaves the source. "
        "Of models without an encoder.",
    ),
}
"""Columns of the table and what they say, by measure."""

SURE, AGREE, APART = 0.9, 0.1, 0.5
"""Fractions: from where a summary follows its swaps; how far weight lies below them where both agree, or do not."""


def lead(name: str, documents: int, known: bool, dialogues: bool) -> str:
    """Return what the page shows and how to read it, as HTML."""
    steps = [
        "<strong>Point at a token of the target</strong> (tap it, or use the arrow keys): shaded is what the chosen "
        "heads read to predict it.",
        "<strong>Point at a token of the source</strong>: what it reads in the source, and which tokens of the target "
        "read it.",
        "<strong>Choose a head</strong> by its picture, in which rows read columns; “mean” takes all heads together. "
        f"<a href='#heads'>The table</a> has figures of every head, on {documents:,} documents.",
    ]
    if dialogues:
        steps.append(
            "<strong>Ask what the summary goes by</strong>: weights do not tell, "
            "<a href='#alignment'>changing the dialogue does</a>."
        )
    under = "regret, the loss beyond the best possible prediction" if known else "loss"
    marks = [
        "weight "
        + " ".join(f'<span class="token" style="--w:{root:g}">{told}</span>' for told, root in _SHADES)
        + " (shades go by its root, so that small ones are seen)",
        f'<span class="token" style="border-bottom-width:4px">underlined</span> {under}',
    ]
    if dialogues:
        marks.append('<span class="gold"></span> from a copied token to the token that states it')
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
            + '<th scope="col">so</th>'
        )
        body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        tables.append(f'<div class="scroll swaps"><table>{caption}{body}</table></div>')
    return f"<h2 id='alignment'>Attention is not alignment</h2>{_ALIGNMENT}{''.join(tables)}" if tables else ""


def verdict(weight: float | None, followed: float | None) -> str:
    """Return in words whether a summary goes by what states a fact, and whether weights show it."""
    if weight is None or followed is None:
        return "not measured"
    if followed < SURE:
        return "the summary does not go by it alone"
    if followed - weight > APART:
        return "the summary goes by it, and no head’s weight shows that"
    return f"the summary goes by it, and the weight shows that{'' if followed - weight <= AGREE else ' in part'}"


_FACTS = {"place": "place", "day": "day", "item": "thing", "bringer": "who brings it"}
_ALIGNMENT = (
    "<p>A weight says where a head looks, not what the model goes by. Earlier layers have moved what a token says to "
    "others by then, several heads and the residual stream carry it side by side, and what is read may change "
    "nothing. So the dialogue itself is changed, and the model writes again.</p>"
    "<ul><li><strong>Swap followed</strong>: the token that states the fact gets another value (of who brings it: the "
    "turn that decides, the other person’s wording). How often does the summary say the new one?</li>"
    "<li><strong>Decoy withstood</strong>: a value that settles nothing is changed, a mention in chatter or a proposal "
    "revised later. How often does the summary keep to the truth?</li>"
    "<li><strong>Weight on its token</strong>: of the head that has most of it for this fact, chosen on validation "
    "documents.</li></ul>"
)


def glossary() -> str:
    """Return what each column of the table of heads says, as HTML."""
    items = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(said)}</dd>" for label, said in COLUMNS.values())
    return (
        "<details class='glossary'><summary>What the columns say</summary><p>The query is the token that reads, at the "
        "moment when the next one is to be predicted. Uniform attention has equal weights on all tokens that may be "
        "read. Measures are of the weights’ shares within a block, in means over queries.</p>"
        f"<dl>{items}</dl></details>"
    )
