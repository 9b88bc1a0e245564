"""Sequences that no short program tells: what others counted or proved, as far as it is well known."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from bestguess.integers.outside.known import Known

_LISTED: tuple[tuple[str, str], ...] = (
    ("groups of order n", "1 1 1 2 1 2 1 5 2 2 1 5 1 2 1 14 1 5 1 5 2 2 1 15 2 2 5 4 1 4 1 51"),
    ("polyominoes of n cells", "1 1 1 2 5 12 35 108 369 1285 4655 17073 63600 238591"),
    ("polyominoes of n cells, fixed", "1 2 6 19 63 216 760 2725 9910 36446 135268 505861"),
    ("polyominoes of n cells, one-sided", "1 1 2 7 18 60 196 704 2500 9189 33896"),
    ("polyhedra of n faces", "1 2 7 34 257 2606 32300 440564 6384634"),
    ("simplicial polyhedra of n vertices", "1 1 2 5 14 50 233 1249 7595 49566 339722"),
    ("partial orders of n things", "1 1 2 5 16 63 318 2045 16999 183231 2567284"),
    ("partial orders of n labelled things", "1 1 3 19 219 4231 130023 6129859 431723379"),
    ("topologies on n points", "1 1 4 29 355 6942 209527 9535241 642779354"),
    ("topologies on n points, up to relabelling", "1 1 3 9 33 139 718 4535 35979 363083"),
    ("primitive permutation groups of degree n", "1 1 2 2 5 4 7 7 11 9 8 6 9 4 6 22 10 4 8 4"),
    ("transitive permutation groups of degree n", "1 1 2 5 5 16 7 50 34 45 8 301 9 63 104 1954"),
    ("series-reduced trees of n nodes", "1 1 0 1 1 2 2 4 5 10 14 26 42 78 132 249 445 842"),
    ("semigroups of order n", "1 1 5 24 188 1915 28634 1627672"),
    ("semigroups of order n, up to reversal", "1 1 4 18 126 1160 15973 836021 1843120128"),
    ("commutative rings with 1 of order n", "1 1 1 4 1 1 1 10 4 1 1 4 1 1 1 37"),
    ("rings of order n", "1 2 2 11 2 4 2 52 11 4 2 22 2 4 4 390"),
    ("Latin squares of order n", "1 1 2 12 576 161280 812851200 61479419904000"),
    ("reduced Latin squares of order n", "1 1 1 1 4 56 9408 16942080 535281401856"),
    ("Dedekind numbers", "2 3 6 20 168 7581 7828354 2414682040998 56130437228687557907788"),
    ("prime knots of n crossings", "0 0 1 1 2 3 7 21 49 165 552 2176 9988 46972 253293 1388705"),
    ("ways to place n queens", "1 1 0 0 2 10 4 40 92 352 724 2680 14200 73712 365596 2279184"),
    ("self-avoiding walks on the square lattice", "1 4 12 36 100 284 780 2172 5916 16268 44100 120292 324932"),
    ("self-avoiding walks on the cubic lattice", "1 6 30 150 726 3534 16926 81390 387966 1853886"),
    ("meanders", "1 1 2 8 42 262 1828 13820 110954 933458 8152860"),
    ("semi-meanders", "1 1 2 4 10 24 66 174 504 1406 4210 12198"),
    ("primes up to 10ⁿ", "0 4 25 168 1229 9592 78498 664579 5761455 50847534 455052511 4118054813"),
    ("squarefree numbers up to 10ⁿ", "1 7 61 608 6083 60794 607926 6079291"),
    ("exponents of Mersenne primes", "2 3 5 7 13 17 19 31 61 89 107 127 521 607 1279 2203 2281 3217 4253 4423"),
    ("lengths of optimal Golomb rulers", "0 1 3 6 11 17 25 34 44 55 72 85 106 127 151 177 199 216 246"),
    ("Heegner numbers", "1 2 3 7 11 19 43 67 163"),
    ("lucky numbers of Euler", "2 3 5 11 17 41"),
    ("idoneal numbers", "1 2 3 4 5 6 7 8 9 10 12 13 15 16 18 21 22 24 25 28 30 33 37 40 42 45 48 57 58 60 70 72 78"),
    ("untouchable numbers", "2 5 52 88 96 120 124 146 162 188 206 210 216 238 246 248 262 268 276 288"),
    ("amicable numbers", "220 284 1184 1210 2620 2924 5020 5564 6232 6368 10744 10856"),
    ("smaller amicable numbers", "220 1184 2620 5020 6232 10744 12285 17296 63020 66928"),
    ("days of the months", "31 28 31 30 31 30 31 31 30 31 30 31 31 28 31 30 31 30 31 31 30 31 30 31"),
    ("numbers of noble gases", "2 10 18 36 54 86 118"),
    ("magic numbers of nuclei", "2 8 20 28 50 82 126"),
    ("letters of English numerals from one", "3 3 5 4 4 3 5 5 4 3 6 6 8 8 7 7 9 8 8 6 9 9 11 10 10 9 11"),
    ("letters of English numerals from zero", "4 3 3 5 4 4 3 5 5 4 3 6 6 8 8 7 7 9 8 8 6 9 9 11 10"),
    ("taxicab numbers", "2 1729 87539319 6963472309248 48988659276962496 24153319581254312065344"),
    ("values of coins in cents", "1 2 5 10 20 50 100 200"),
    ("Ramsey numbers R(3, n)", "1 3 6 9 14 18 23 28 36"),
    ("Boolean functions of n variables up to permutation", "2 4 12 80 3984 37333248"),
    ("threshold functions of n variables", "2 4 14 104 1882 94572 15028134 8378070864"),
    ("Markov numbers", "1 2 5 13 29 34 89 169 194 233 433 610 985 1325 1597 2897 4181"),
    ("regular primes", "3 5 7 11 13 17 19 23 29 31 41 43 47 53 61 71 73 79 83 89 97 107 109 113"),
    ("irregular primes", "37 59 67 101 103 131 149 157 233 257 263 271 283 293 307 311 347 353"),
)


def _terms_of(text: str) -> Iterator[int]:
    return map(int, text.split())


TABLES: tuple[Known, ...] = tuple(Known(name, functools.partial(_terms_of, text), more=5.0) for name, text in _LISTED)
