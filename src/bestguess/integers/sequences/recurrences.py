"""The families of sequences, three phases of them, written in the language of `language`."""

from __future__ import annotations

import numpy as np

from bestguess.integers.sequences.language import (
    Constant,
    Family,
    Grid,
    If,
    Of,
    Parameter,
    Sequence,
    arithmetic,
    before_last,
    ceiling,
    cumulative,
    cycle,
    even,
    explicit,
    floor,
    last,
    n,
    positive_part,
)

# The families. Starts range widely and rules narrowly on purpose: what a rule does to a term is then shown by many
# rows, so that rows held out of training can be predicted by whoever has learnt the rule. Sums, products and parities
# follow from terms modulo 256; roundings do not, so those families have parameters that keep them below 256. A family
# of few rows has a small weight: a row's prior is then of one order of magnitude everywhere.

s, d, e, k, m, f, g, p, q, u, v, x, y = (Parameter(name) for name in "s d e k m f g p q u v x y".split())  # noqa: SIM905

_STEPS = tuple(step for step in range(-5, 11) if step)
_FRACTIONS = ((1, 2), (1, 3), (2, 3), (3, 4), (5, 4), (4, 3), (3, 2))
_TURNS = (
    (1, 2, 3, 2),
    (3, 2, 1, 2),
    (2, 3, 4, 3),
    (4, 3, 2, 3),
    (1, 3, 2, 1),
    (2, 1, 1, 3),
    (1, 2, 2, 1),
    (2, 1, 1, 2),
)


def _stays_small(s: Grid, p: Grid, q: Grid) -> np.ndarray:
    return s * p**8 < 256 * q**8


FAMILIES: tuple[Family, ...] = (
    # Phase 1: recurrences of order 0, 1 and 2.
    Family(
        "constant", 1, 0.25, (("s", range(256)),),
        explicit(s),
        "a(n) = {s}",
        "always {s}",
    ),
    Family(
        "arithmetic", 1, 1.0, (("s", range(256)), ("d", tuple(step for step in range(-20, 21) if step))),
        arithmetic(s, d),
        "a(n) = a(n−1) {d:±}, a(1) = {s}",
        "each term is {d:more} than the one before",
    ),
    Family(
        "alternation", 1, 1.0, (("x", range(128)), ("y", range(128))),
        Sequence((x, y), before_last),
        "a(n) = a(n−2), a(1) = {x}, a(2) = {y}",
        "{x} and {y} in turn",
        where=lambda x, y: x != y,
    ),
    Family(
        "Fibonacci", 1, 0.5, (("x", range(64)), ("y", range(64))),
        Sequence((x, y), last + before_last),
        "a(n) = a(n−1) + a(n−2), a(1) = {x}, a(2) = {y}",
        "each term is the sum of the two before",
        where=lambda x, y: (x > 0) | (y > 0),
    ),
    # Phase 2: steps, factors and repetitions that are themselves sequences.
    Family(
        "alternating steps", 2, 1.0, (("s", range(256)), ("d", range(-4, 9)), ("e", range(-4, 9))),
        cumulative(s, cycle(d, e)),
        "a(n) = a(n−1) + d(n), d = {d}, {e}, {d}, {e}, …, a(1) = {s}",
        "steps of {d} and {e} in turn",
        where=lambda s, d, e: d != e,
    ),
    Family(
        "growing steps", 2, 1.0, (("s", range(256)), ("d", range(9)), ("e", range(1, 7))),
        cumulative(s, arithmetic(d, e)),
        "a(n) = a(n−1) + {step}, a(1) = {s}",
        "steps begin at {d} and grow by {e}",
        (("step", (("d", ""), ("e", "(n−2)"))),),
    ),
    Family(
        "shrinking steps", 2, 1.0, (("s", range(256)), ("d", range(3, 17)), ("e", range(1, 5))),
        cumulative(s, explicit(positive_part(d - e * (n - 1)))),
        "a(n) = a(n−1) + max(0, {d} − {e:·}(n−2)), a(1) = {s}",
        "steps begin at {d} and shrink by {e} down to 0",
        where=lambda s, d, e: d > e,
    ),
    Family(
        "geometric", 2, 0.5, (("s", range(1, 256)), ("f", range(2, 8))),
        Sequence((s,), f * last),
        "a(n) = {f}·a(n−1), a(1) = {s}",
        "each term is {f:times} the one before",
    ),
    Family(
        "alternating factors", 2, 0.5, (("s", range(1, 256)), ("f", range(1, 5)), ("g", range(1, 5))),
        Sequence((s,), last * Of(cycle(f, g), n - 1)),
        "a(n) = f(n)·a(n−1), f = {f}, {g}, {f}, {g}, …, a(1) = {s}",
        "factors of {f} and {g} in turn",
        where=lambda s, f, g: f != g,
    ),
    Family(
        "rational factors", 2, 0.5, (("s", range(1, 128)), (("p", "q", "u", "v"), _TURNS)),
        Sequence((s,), floor(last * Of(cycle(p, u), n - 1), Of(cycle(q, v), n - 1))),
        "a(n) = ⌊f(n)·a(n−1)⌋, f = {p}/{q}, {u}/{v}, {p}/{q}, {u}/{v}, …, a(1) = {s}",
        "factors of {p}/{q} and {u}/{v} in turn, each term rounded down",
    ),
    Family(
        "periods", 2, 1.0, (("s", range(256)), ("d", _STEPS), ("k", range(2, 5))),
        explicit(Of(arithmetic(s, d), (n + k - 1) // k)),
        "a(n) = {s} {d:±}·⌊(n−1)/{k}⌋",
        "each value {k:times}, then {d:more}",
    ),
    Family(
        "mixed periods", 2, 1.0, (("s", range(256)), ("d", _STEPS), (("u", "v"), ((1, 2), (2, 1), (1, 3), (3, 1)))),
        explicit(Of(arithmetic(s, d), ((n - 1) // (u + v)) * 2 + ((n - 1) % (u + v) >= u) + 1)),
        "a(n) = a(n−1), or a(n−1) {d:±} after {u}, {v}, {u}, {v}, … terms, a(1) = {s}",
        "each value {d:more} than the one before, given {u:times} and {v:times} in turn",
    ),
    # Phase 3: compositions, transformations, conditionals.
    Family(
        "Fibonacci modulo", 3, 0.02, (("x", range(5)), ("y", range(5)), ("m", range(2, 6))),
        explicit(Of(Sequence((x, y), last + before_last)) % m),
        "a(n) = (a(n−1) + a(n−2)) mod {m}, a(1) = {x}, a(2) = {y}",
        "each term is the sum of the two before, modulo {m}",
        where=lambda x, y, m: (x < m) & (y < m) & ((x > 0) | (y > 0)),
    ),
    Family(
        "every k-th multiplied", 3, 1.0,
        (("s", range(256)), ("d", range(1, 9)), ("k", range(2, 5)), ("f", range(2, 4))),
        explicit(If((n % k).equals(0), f * Of(arithmetic(s, d)), Of(arithmetic(s, d)))),
        "a(n) = {s} {d:±}·(n−1), times {f} where {k} divides n",
        "steps of {d}, and every {k:th} term times {f}",
    ),
    Family(
        "floor of geometric", 3, 0.5, (("s", range(1, 256)), (("p", "q"), _FRACTIONS)),
        explicit(floor(s * p ** (n - 1), q ** (n - 1))),
        "a(n) = ⌊{s}·({p}/{q})^(n−1)⌋",
        "the powers of {p}/{q} times {s}, rounded down",
        where=_stays_small,
    ),
    Family(
        "ceiling of geometric", 3, 0.5, (("s", range(1, 256)), (("p", "q"), _FRACTIONS)),
        explicit(ceiling(s * p ** (n - 1), q ** (n - 1))),
        "a(n) = ⌈{s}·({p}/{q})^(n−1)⌉",
        "the powers of {p}/{q} times {s}, rounded up",
        where=_stays_small,
    ),
    Family(
        "alternating signs", 3, 0.5, (("s", range(1, 128)), ("d", range(16))),
        explicit(Of(arithmetic(s, d)) * (Constant(1) - (n + 1) % 2 * 2)),
        "a(n) = (−1)^(n−1)·({size})",
        "signs in turn, and {d:sizes}",
        (("size", (("s", ""), ("d", "(n−1)"))),),
    ),
    Family(
        "by parity", 3, 1.0, (("s", range(256)), ("d", range(1, 9)), ("f", range(2, 4))),
        Sequence((s,), If(even(last), last + d, f * last)),
        "a(n) = a(n−1) {d:±} if a(n−1) is even, else {f}·a(n−1), a(1) = {s}",
        "after an even term {d:more}, after an odd one {f:times} as much",
    ),
    Family(
        "by the last two", 3, 1.0,
        (("s", range(256)), ("e", range(1, 5)), ("d", range(1, 7)), ("f", range(2, 4))),
        Sequence((s, s + e), If(even(last + before_last), last + d, f * last)),
        "a(n) = a(n−1) {d:±} if a(n−2) + a(n−1) is even, else {f}·a(n−1), a(1) = {s}, a(2) = a(1) {e:±}",
        "after two even or two odd terms {d:more}, else {f:times} as much",
    ),
)  # fmt: skip
