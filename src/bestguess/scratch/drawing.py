"""A computation graph as a picture (SVG): every value, what made it, and its gradient; still, or walked through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from bestguess.scratch.engine.node import Node, topological_order
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.graph import count_paths

HEIGHT, NARROWEST, EDGE = 76, 130, 24  # of a box, and around the picture; pixels
AHEAD, BESIDE = 46, 18  # between boxes: in the direction of the arrows, and across
STEP = 0.8
"""Seconds that a walk stays with each node."""
DEEPEST = 8
"""Columns of a graph that is drawn from left to right; a longer one is drawn downwards."""

Point = tuple[float, float]

_STYLE = (
    "text{text-anchor:middle;fill:#1a1a1a}.name{font-weight:600;font-size:13px}"
    ".title{text-anchor:start;font-size:16px;font-weight:600}.note{text-anchor:start;fill:#555}"
    ".edge{fill:none;stroke:#8a939d;stroke-width:1.5;marker-end:url(#arrow)}.arrow{fill:#8a939d}"
    ".op{fill:#dcebfa;stroke:#4a86c5}.leaf{fill:#e2f3df;stroke:#4f9a48}.constant{fill:#f1f1f1;stroke:#aaa}"
    ".there{fill:#2a6fb0;font-size:10px;text-anchor:start}.back{fill:#c2571a;font-size:10px;text-anchor:end}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="10" markerHeight="10" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="arrow" d="M0 0L10 5L0 10z"/></marker>'
)


@dataclass(frozen=True)
class Drawing:
    """A graph drawn, with what walking it costs."""

    svg: str
    nodes: int
    """Results of operations; each has one backward call."""
    paths: int
    """Calls that a recursion without a topological sort makes: one per path from the end to a node."""
    value: float
    """Of the end, summed where it has more than one element."""


def draw(end: Tensor, names: Mapping[str, Tensor], title: str, walk: bool = False) -> Drawing:
    """Send gradients back from `end` (from ones, if it has several elements) and draw what it came from.

    With `walk` the picture moves: values appear in the order in which they are computed, then gradients in the order in
    which they are sent back, each with its number. A gradient that is no finite number is a ValueError.
    """
    order = topological_order(end)
    paths = count_paths(end)
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            end.backward(np.ones_like(end.data))
    except FloatingPointError as error:
        raise ValueError(f"{title!r} has no finite gradient here ({error})") from None

    labels = {t: _label(t) for t in {*order, *(p for node in order for p in node.parents)}}
    labels |= {t: f"{name} = {t.op}" if t.op else name for name, t in names.items()}
    box = max(NARROWEST, 10 + 7.9 * max(map(len, labels.values())))
    drawn = _layout(order, box)
    there = {node: i for i, node in enumerate(order, 1)} if walk else {}
    back = {node: i for i, node in enumerate(reversed(order), 1)} if walk else {}
    body = []
    for points, b in drawn.edges:
        body.append(
            f'<path class="edge" d="{_curve(points, drawn.down)}">{_shown(there.get(b), back.get(b), order)}</path>'
        )
    for t, (x, y) in drawn.place.items():
        body.append(_box(t, x, y, box, labels[t], there, back, order))
    note = f"{len(order)} nodes, one backward call each; a recursion without a sort would make {paths:,} calls"
    if walk:
        note += ". Numbers: order of the values (left, →) and of the gradients (right, ←)"
    width = max(drawn.width, 7 * max(len(note), len(title)) + 2 * EDGE)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {drawn.height:.0f}" '
        f'width="{width:.0f}" height="{drawn.height:.0f}" font-family="system-ui, sans-serif" font-size="12">'
        f"<style>{_STYLE}</style><defs>{_ARROW}</defs>"
        f'<rect width="{width:.0f}" height="{drawn.height:.0f}" fill="white"/>'
        f'<text class="title" x="{EDGE}" y="{EDGE + 4}">{escape(title)}</text>'
        f'<text class="note" x="{EDGE}" y="{EDGE + 24}">{escape(note)}</text>' + "".join(body) + "</svg>\n"
    )
    return Drawing(svg, len(order), paths, float(end.data.sum()))


def _label(t: Node) -> str:
    return f"{t.name} = {t.op}" if t.name else t.op or "constant"


def _box(
    t: Node,
    x: float,
    y: float,
    width: float,
    label: str,
    there: Mapping[Node, int],
    back: Mapping[Node, int],
    order: list[Node],
) -> str:
    """Return the box of a node with its middle at (x, y)."""
    kind = "op" if t.parents else "leaf" if t.requires_grad else "constant"
    shape = "×".join(map(str, t.shape))
    lines = [label, *([f"shape {shape}"] if shape else []), _said("value", t.data)]
    gradient = _said("grad", t.grad)
    left, top = x - width / 2, y - HEIGHT / 2
    whole = f"value {_whole(t.data)}\ngradient {_whole(t.grad)}"
    out = [f"<g><title>{escape(whole)}</title>"]
    out.append(f'<rect class="{kind}" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="8">')
    out.append(_shown(there.get(t), back.get(t), order) + "</rect>")
    first = y + 5 - 8 * len(lines)
    for i, line in enumerate(lines):
        weight = ' class="name"' if i == 0 else ""
        hidden = _until(there[t], "visibility", "hidden") if t in there and line.startswith("value") else ""
        out.append(f'<text x="{x:.0f}" y="{first + 16 * i:.0f}"{weight}>{escape(line)}{hidden}</text>')
    # A leaf has its gradient once all that use it have sent theirs.
    arrives = max((back[n] for n in back if t in n.parents), default=0)
    hidden = _until(len(order) + arrives + 1, "visibility", "hidden") if back and t.requires_grad else ""
    out.append(f'<text x="{x:.0f}" y="{first + 16 * len(lines):.0f}">{escape(gradient)}{hidden}</text>')
    if t in there:
        out.append(f'<text class="there" x="{left + 5:.0f}" y="{top + 12:.0f}">{there[t]} →</text>')
        out.append(f'<text class="back" x="{left + width - 5:.0f}" y="{top + 12:.0f}">← {back[t]}</text>')
    return "".join(out) + "</g>"


def _shown(there: int | None, back: int | None, order: list[Node]) -> str:
    """Return the movement of a node's box, or of an arrow into it: pale until computed, marked while it is its turn."""
    if there is None or back is None:
        return ""
    turn = f'<set attributeName="stroke-width" to="4" begin="{STEP * there:.1f}s" dur="{STEP}s"/>'
    begin = STEP * (len(order) + back)
    turn += f'<set attributeName="stroke-width" to="4" begin="{begin:.1f}s" dur="{STEP}s"/>'
    turn += f'<set attributeName="stroke" to="#c2571a" begin="{begin:.1f}s" dur="{STEP}s"/>'
    return _until(there, "opacity", "0.2") + turn


def _until(turn: int, attribute: str, value: str) -> str:
    """Return an attribute's value until a turn comes; whoever does not move the picture sees its end."""
    return f'<set attributeName="{attribute}" to="{value}" begin="0s" dur="{STEP * turn:.1f}s"/>'


def _curve(points: list[Point], down: bool) -> str:
    """Return the path through points, which alternate between the end of one piece and the begin of the next."""
    path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (xa, ya), (xb, yb) in pairwise(points):
        bend = (yb - ya) / 2 if down else (xb - xa) / 2
        (xc, yc), (xd, yd) = ((xa, ya + bend), (xb, yb - bend)) if down else ((xa + bend, ya), (xb - bend, yb))
        path += f" C{xc:.0f} {yc:.0f} {xd:.0f} {yd:.0f} {xb:.0f} {yb:.0f}"
    return path


@dataclass(frozen=True)
class _Layout:
    place: dict[Node, Point]
    """The middle of each box."""
    edges: list[tuple[list[Point], Node]]
    """The points that an arrow goes through, and where it goes to."""
    width: float
    height: float
    down: bool


def _layout(order: list[Node], width: float) -> _Layout:
    """Return where boxes and arrows go: ranks by distance from the start, long arrows in lanes of their own.

    Ranks are columns or, in a long graph, rows.
    """
    rank: dict[Node, int] = {}
    for node in order:  # one after the last parent
        for parent in node.parents:
            rank.setdefault(parent, 0)
        rank[node] = 1 + max(rank[p] for p in node.parents)
    for leaf in [t for t in rank if not t.parents]:  # just before its first use
        rank[leaf] = min(rank[n] for n in order if leaf in n.parents) - 1
    down = max(rank.values()) >= DEEPEST
    box, ahead = (width, HEIGHT + AHEAD) if down else (HEIGHT, width + AHEAD)
    pairs = [(p, n) for n in order for p in dict.fromkeys(n.parents)]
    # What stands in a rank: boxes, and lanes (edge, rank) where an arrow passes by.
    lanes = {(i, c) for i, (p, n) in enumerate(pairs) for c in range(rank[p] + 1, rank[n])}
    before: dict[object, list[object]] = {}
    for i, (p, n) in enumerate(pairs):
        way: list[object] = [p, *[(i, c) for c in range(rank[p] + 1, rank[n])], n]
        for a, b in pairwise(way):
            before.setdefault(b, []).append(a)
    ranks: dict[int, list[object]] = {}
    for t, c in rank.items():
        ranks.setdefault(c, []).append(t)
    for lane in sorted(lanes):
        ranks.setdefault(lane[1], []).append(lane)

    def size(thing: object) -> float:
        return box + BESIDE if isinstance(thing, Node) else BESIDE

    widest = max(sum(map(size, things)) for things in ranks.values())
    middle: dict[object, float] = {}
    for c in sorted(ranks):
        # Beside what it comes from, so that arrows cross little.
        ranks[c].sort(key=lambda t: float(np.mean([middle[b] for b in before.get(t, [])] or [0.0])))
        at = (widest - sum(map(size, ranks[c]))) / 2
        for thing in ranks[c]:
            middle[thing] = at + size(thing) / 2
            at += size(thing)
    top, half = 2 * EDGE + 20, (HEIGHT if down else width) / 2

    def point(thing: object, c: int, shift: float) -> Point:
        """Return where a thing of rank c stands, moved ahead from its middle."""
        along = c * ahead + half + shift
        return (EDGE + middle[thing], top + along) if down else (EDGE + along, top + middle[thing])

    edges = []
    for i, (p, n) in enumerate(pairs):
        passing = [point((i, c), c, s * half) for c in range(rank[p] + 1, rank[n]) for s in (-1, 1)]
        edges.append(([point(p, rank[p], half), *passing, point(n, rank[n], -half)], n))
    length = (max(ranks) + 1) * ahead - AHEAD
    across, high = (widest, length) if down else (length, widest)
    place = {t: point(t, c, 0) for t, c in rank.items()}
    return _Layout(place, edges, across + 2 * EDGE, top + high + EDGE, down)


def _said(what: str, a: np.ndarray | None) -> str:
    if a is None:
        return f"{what} none"
    if a.size == 1:
        return f"{what} {a.item():.4g}"
    return f"{what} ‖·‖ {np.linalg.norm(a):.4g}"


def _whole(a: np.ndarray | None) -> str:
    return "none" if a is None else np.array2string(a, precision=4, threshold=100)
