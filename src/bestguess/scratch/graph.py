"""The computation graph as a picture (SVG): every value, what made it, and its gradient."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from bestguess.scratch import ops
from bestguess.scratch.nn import layers
from bestguess.scratch.node import Node, topological_order
from bestguess.scratch.ops import Tensor

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 130, 76, 46, 18, 24  # of a box, between boxes, and around the picture; pixels
LONGEST = 300
"""Characters of an expression; a longer one makes a picture that nobody can read."""

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS = {"exp": ops.exp, "log": ops.log, "sqrt": ops.sqrt, "tanh": ops.tanh}


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


def expression(text: str, at: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the value of an arithmetic expression and its variables as tensors, with the graph between.

    It may hold numbers, variables, + − * /, powers by a number, and exp, log, sqrt, tanh; names can
    be given to parts before it, as in `d = a*b; d*d + d`. It is read as a syntax tree and never
    executed. Anything else, and a value that is no finite number, is a ValueError that names it.
    """
    *parts, last = _statements(text)
    leaves: dict[str, Tensor] = {}
    named: dict[str, Tensor | float] = {}

    def build(node: ast.expr) -> Tensor | float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.Name(id=name):
                if name in named:
                    return named[name]
                if name not in at:
                    raise ValueError(f"variable {name!r} has no value; give it one with --at")
                return leaves.setdefault(name, Tensor(np.array(float(at[name])), requires_grad=True))
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return -build(x)
            case ast.UnaryOp(op=ast.UAdd(), operand=x):
                return build(x)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                exponent = build(right)
                if isinstance(exponent, Tensor):
                    raise ValueError("a power's exponent must be a number")
                power = build(left) ** exponent
                if isinstance(power, complex):  # Python's own, of numbers alone
                    raise ValueError(f"{ast.unparse(node)!r} is no real number")
                return power
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)](build(left), build(right))
            case ast.Call(func=ast.Name(id=name), args=[x], keywords=[]) if name in _FUNCTIONS:
                inner = build(x)
                return _FUNCTIONS[name](inner if isinstance(inner, Tensor) else Tensor(np.array(inner)))
        raise ValueError(f"{ast.unparse(node)!r} is not among numbers, variables, + - * / **, exp, log, sqrt, tanh")

    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            for part in parts:
                match part:
                    case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in at:
                        named[name] = build(value)
                    case _:
                        raise ValueError(f"{ast.unparse(part)!r}: before the last part, only `name = expression`")
            if not isinstance(last, ast.Expr):
                raise ValueError(f"{ast.unparse(last)!r} gives no value; end with an expression")
            end = build(last.value)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"{text!r} has no finite value here ({error})") from None
    if not isinstance(end, Tensor) or not end.requires_grad:
        raise ValueError(f"{text!r} has no variable, so no graph")
    if not end.parents:
        raise ValueError(f"{text!r} computes nothing; write an operation, as in a*b")
    unused = sorted(set(at) - set(leaves))
    if unused:
        raise ValueError(f"{', '.join(unused)}: given a value, but not in {text!r}")
    return end, leaves | {name: t for name, t in named.items() if isinstance(t, Tensor)}


def _statements(text: str) -> list[ast.stmt]:
    """Return the statements of `text`, at least one; ValueError where it is not Python."""
    if len(text) > LONGEST:
        raise ValueError(f"the expression has {len(text):,} characters; at most {LONGEST:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(text.strip()).body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):  # zero bytes; nesting deeper than the parser's stack
        raise ValueError("the expression cannot be parsed") from None
    if not statements:
        raise ValueError("the expression is empty")
    return statements


LAYERS = ("linear", "layer_norm", "gelu", "attention", "cross_entropy")


def layer(name: str, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Return one layer of primitive operations on small random inputs, and its inputs by name."""
    rng = np.random.default_rng(seed)

    def leaf(*shape: int) -> Tensor:
        return Tensor(rng.normal(size=shape), requires_grad=True)

    m = layers("primitive")
    if name == "linear":
        inputs = {"x": leaf(2, 3), "weight": leaf(3, 4), "bias": leaf(4)}
        return m.linear(*inputs.values()), inputs
    if name == "layer_norm":
        inputs = {"x": leaf(2, 4), "gain": leaf(4), "bias": leaf(4)}
        return m.layer_norm(inputs["x"], inputs["gain"], inputs["bias"]), inputs
    if name == "gelu":
        inputs = {"x": leaf(2, 4)}
        return m.gelu(inputs["x"]), inputs
    if name == "attention":
        inputs = {"qkv": leaf(1, 3, 12)}
        return m.causal_attention(inputs["qkv"], 2), inputs
    if name == "cross_entropy":
        inputs = {"logits": leaf(3, 5)}
        return m.cross_entropy(inputs["logits"], np.array([1, 0, 4]), 0), inputs
    raise ValueError(f"no layer {name!r}; there are {', '.join(LAYERS)}")


def count_paths(root: Node) -> int:
    """Return how many backward calls a recursion from `root` makes: the paths to all nodes, added up."""
    paths: dict[Node, int] = {root: 1}
    for node in reversed(topological_order(root)):
        for parent in node.parents:
            if parent.parents:
                paths[parent] = paths.get(parent, 0) + paths[node]
    return sum(paths.values())


def draw(end: Tensor, names: Mapping[str, Tensor], title: str) -> Drawing:
    """Send gradients back from `end` (from ones, if it has several elements) and draw what it came from.

    A gradient that is no finite number is a ValueError.
    """
    order = topological_order(end)
    paths = count_paths(end)
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            end.backward(np.ones_like(end.array), keep_graph=True)
    except FloatingPointError as error:
        raise ValueError(f"{title!r} has no finite gradient here ({error})") from None

    drawn = _layout(order)
    label: dict[Node, str] = {t: f"{name} = {t.op}" if t.op else name for name, t in names.items()}
    body = []
    for start, points, end_ in drawn.edges:
        (x0, y0), (x1, y1) = drawn.place[start], drawn.place[end_]
        stops = [(x0 + WIDTH, y0), *[q for x, y in points for q in ((x, y), (x + WIDTH, y))], (x1, y1)]
        path = f"M{stops[0][0]:.0f} {stops[0][1]:.0f}"
        for (xa, ya), (xb, yb) in pairwise(stops):
            bend = (xb - xa) / 2
            path += f" C{xa + bend:.0f} {ya:.0f} {xb - bend:.0f} {yb:.0f} {xb:.0f} {yb:.0f}"
        body.append(f'<path class="edge" d="{path}"/>')
    for t, (x, y) in drawn.place.items():
        kind = "op" if t.parents else "leaf" if t.requires_grad else "constant"
        shape = "×".join(map(str, t.shape))
        lines = [label.get(t, t.op or "constant"), *([f"shape {shape}"] if shape else [])]
        lines += [_said("value", t.array), _said("grad", t.grad)]
        top = y - HEIGHT / 2
        whole = f"value {_whole(t.array)}\ngradient {_whole(t.grad)}"
        body.append(f"<g><title>{escape(whole)}</title>")
        body.append(f'<rect class="{kind}" x="{x:.0f}" y="{top:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>')
        first = y + 5 - 8 * (len(lines) - 1)
        for i, line in enumerate(lines):
            weight = ' class="name"' if i == 0 else ""
            body.append(f'<text x="{x + WIDTH / 2:.0f}" y="{first + 16 * i:.0f}"{weight}>{escape(line)}</text>')
        body.append("</g>")
    walk = f"{len(order)} nodes, one backward call each; a recursion without a sort would make {paths:,} calls"
    width = max(drawn.width, 8 * max(len(walk), len(title)) + 2 * EDGE)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {drawn.height:.0f}" '
        f'width="{width:.0f}" height="{drawn.height:.0f}" font-family="system-ui, sans-serif" font-size="12">'
        "<style>text{text-anchor:middle;fill:#1a1a1a}.name{font-weight:600;font-size:13px}"
        ".title{text-anchor:start;font-size:16px;font-weight:600}.note{text-anchor:start;fill:#555}"
        ".edge{fill:none;stroke:#9aa3ad;stroke-width:1.5}.op{fill:#dcebfa;stroke:#4a86c5}"
        ".leaf{fill:#e2f3df;stroke:#4f9a48}.constant{fill:#f1f1f1;stroke:#aaa}</style>"
        f'<rect width="{width:.0f}" height="{drawn.height:.0f}" fill="white"/>'
        f'<text class="title" x="{EDGE}" y="{EDGE + 4}">{escape(title)}</text>'
        f'<text class="note" x="{EDGE}" y="{EDGE + 24}">{escape(walk)}</text>' + "".join(body) + "</svg>\n"
    )
    return Drawing(svg, len(order), paths, float(end.array.sum()))


Point = tuple[float, float]


@dataclass(frozen=True)
class _Layout:
    place: dict[Node, Point]
    """Left end and middle height of each box."""
    edges: list[tuple[Node, list[Point], Node]]
    """From, the lanes it keeps free in the columns between, to."""
    width: float
    height: float


def _layout(order: list[Node]) -> _Layout:
    """Return where boxes and edges go: columns by distance from the start, long edges in lanes."""
    column: dict[Node, int] = {}
    for node in order:  # one right of the rightmost parent
        for parent in node.parents:
            column.setdefault(parent, 0)
        column[node] = 1 + max(column[p] for p in node.parents)
    for leaf in [t for t in column if not t.parents]:  # just before its first use
        column[leaf] = min(column[n] for n in order if leaf in n.parents) - 1
    pairs = [(p, n) for n in order for p in dict.fromkeys(n.parents)]
    # What stands in a column: boxes, and lanes (edge, column) where an edge passes by.
    lanes = {(i, c) for i, (p, n) in enumerate(pairs) for c in range(column[p] + 1, column[n])}
    before: dict[object, list[object]] = {}
    for i, (p, n) in enumerate(pairs):
        way: list[object] = [p, *[(i, c) for c in range(column[p] + 1, column[n])], n]
        for a, b in pairwise(way):
            before.setdefault(b, []).append(a)
    stacks: dict[int, list[object]] = {}
    for t, c in column.items():
        stacks.setdefault(c, []).append(t)
    for lane in sorted(lanes):
        stacks.setdefault(lane[1], []).append(lane)

    def tall(thing: object) -> float:
        return HEIGHT + GAP_Y if isinstance(thing, Node) else GAP_Y

    tallest = max(sum(map(tall, things)) for things in stacks.values())
    middle: dict[object, float] = {}
    top = 2 * EDGE + 20
    for c in sorted(stacks):
        # Beside what it comes from, so that edges cross little.
        stacks[c].sort(key=lambda t: float(np.mean([middle[b] for b in before.get(t, [])] or [0.0])))
        y = top + (tallest - sum(map(tall, stacks[c]))) / 2
        for thing in stacks[c]:
            middle[thing] = y + tall(thing) / 2
            y += tall(thing)

    def left(c: int) -> float:
        return EDGE + c * (WIDTH + GAP_X)

    place = {t: (left(c), middle[t]) for t, c in column.items()}
    edges = [
        (p, [(left(c), middle[(i, c)]) for c in range(column[p] + 1, column[n])], n) for i, (p, n) in enumerate(pairs)
    ]
    return _Layout(place, edges, left(max(stacks) + 1) - GAP_X + EDGE, top + tallest + EDGE)


def _said(what: str, a: np.ndarray | None) -> str:
    if a is None:
        return f"{what} none"
    if a.size == 1:
        return f"{what} {a.item():.4g}"
    return f"{what} ‖·‖ {np.linalg.norm(a):.4g}"


def _whole(a: np.ndarray | None) -> str:
    return "none" if a is None else np.array2string(a, precision=4, threshold=100)
