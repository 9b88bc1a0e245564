"""Graphs to look at: of an expression that is given as text, and of the layers of a GPT. `drawing` draws them."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from bestguess.scratch.engine import layers
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import Node, topological_order
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import replaced
from bestguess.scratch.fast.gpt import FastGPT

LONGEST = 300
"""Characters of an expression; a longer one makes a picture that nobody can read."""

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": Tensor.exp, "log": Tensor.log, "sqrt": Tensor.sqrt, "tanh": Tensor.tanh, "relu": Tensor.relu, "abs": abs,
}  # fmt: skip


def expression(text: str, at: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the value of an arithmetic expression and its variables as tensors, with the graph between.

    It may hold numbers, variables, + − * /, powers by a number, and exp, log, sqrt, tanh, relu, abs; names can
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
        raise ValueError(
            f"{ast.unparse(node)!r} is not among numbers, variables, + - * / **, exp, log, sqrt, tanh, relu, abs"
        )

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


LAYERS = ("linear", "layer_norm", "gelu", "attention", "cross_entropy", "block", "gpt")
WHOLE = GPTConfig(vocab=5, d_model=4, layers=1, heads=2, positions=3)
"""The GPT that `block` and `gpt` are drawn of."""


def layer(name: str, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a layer on small random inputs, and its inputs and parameters by name.

    A block is drawn with its linear layers, norms and GELU as one operation each, a GPT and its loss with the fast
    operations; everything else is made of the engine's own.
    """
    rng = np.random.default_rng(seed)

    def leaf(*shape: int) -> Tensor:
        return Tensor(rng.normal(size=shape), requires_grad=True)

    match name:
        case "linear":
            inputs = {"x": leaf(2, 3), "weight": leaf(3, 4), "bias": leaf(4)}
            return layers.linear(*inputs.values()), inputs
        case "layer_norm":
            inputs = {"x": leaf(2, 4), "gain": leaf(4), "bias": leaf(4)}
            return layers.layer_norm(inputs["x"], inputs["gain"], inputs["bias"]), inputs
        case "gelu":
            inputs = {"x": leaf(2, 4)}
            return layers.gelu(inputs["x"]), inputs
        case "attention":
            inputs = {"qkv": leaf(1, 3, 12)}
            return layers.causal_attention(inputs["qkv"], 2), inputs
        case "cross_entropy":
            inputs = {"logits": leaf(3, 5)}
            return layers.cross_entropy(inputs["logits"], np.array([1, 0, 4]), 0), inputs
        case "block":
            block = GPT(WHOLE, seed).blocks[0]
            inputs = {"x": Tensor(rng.normal(size=(1, 3, 4)), requires_grad=True, dtype=np.float32)}
            with replaced("linear", "layer_norm", "gelu"):
                return block(inputs["x"]), inputs | dict(block.named_parameters())
        case "gpt":
            model = FastGPT(WHOLE, seed)
            named = {name.removeprefix("blocks.0."): p for name, p in model.named_parameters()}
            return model.loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]])), named
    raise ValueError(f"no layer {name!r}; there are {', '.join(LAYERS)}")


def count_paths(root: Node) -> int:
    """Return how many backward calls a recursion from `root` makes: the paths to all nodes, added up."""
    paths: dict[Node, int] = {root: 1}
    for node in reversed(topological_order(root)):
        for parent in node.parents:
            if parent.parents:
                paths[parent] = paths.get(parent, 0) + paths[node]
    return sum(paths.values())
