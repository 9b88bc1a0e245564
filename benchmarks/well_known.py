"""How many well-known sequences `integers predict` continues: by the generator's recurrences, by rules outside them.

Sixty sequences that others wrote down, by their first terms (most are core sequences of the On-Line Encyclopedia of
Integer Sequences), nine terms each or fewer where they grow fast. The last term is hidden, the rest is asked about.

    python benchmarks/well_known.py            # or, with --unseen, 60 more
"""

from __future__ import annotations

import sys

from bestguess.integers.commands.predict import NEVER, ask, sentence_of
from bestguess.integers.model.portable import SHIPPED, load_portable

SEQUENCES = {
    "natural numbers": "1 2 3 4 5 6 7 8 9",
    "even numbers": "0 2 4 6 8 10 12 14 16",
    "odd numbers": "1 3 5 7 9 11 13 15 17",
    "multiples of 7": "7 14 21 28 35 42 49 56 63",
    "powers of 2": "1 2 4 8 16 32 64 128 256",
    "powers of 3": "1 3 9 27 81 243 729 2187 6561",
    "powers of 10": "1 10 100 1000 10000 100000 1000000",
    "powers of −2": "1 -2 4 -8 16 -32 64 -128 256",
    "2^n − 1": "1 3 7 15 31 63 127 255 511",
    "2^n + 1": "2 3 5 9 17 33 65 129 257",
    "squares": "0 1 4 9 16 25 36 49 64",
    "cubes": "0 1 8 27 64 125 216 343 512",
    "fourth powers": "1 16 81 256 625 1296 2401 4096",
    "triangular numbers": "0 1 3 6 10 15 21 28 36",
    "tetrahedral numbers": "1 4 10 20 35 56 84 120 165",
    "square pyramidal numbers": "1 5 14 30 55 91 140 204 285",
    "pentagonal numbers": "1 5 12 22 35 51 70 92 117",
    "hexagonal numbers": "1 6 15 28 45 66 91 120 153",
    "central polygonal numbers": "1 2 4 7 11 16 22 29 37",
    "centered hexagonal numbers": "1 7 19 37 61 91 127 169 217",
    "pronic numbers": "0 2 6 12 20 30 42 56 72",
    "n² + 1": "1 2 5 10 17 26 37 50 65",
    "Fibonacci": "0 1 1 2 3 5 8 13 21",
    "Lucas": "2 1 3 4 7 11 18 29 47",
    "Pell": "0 1 2 5 12 29 70 169 408",
    "Jacobsthal": "0 1 1 3 5 11 21 43 85",
    "tribonacci": "0 0 1 1 2 4 7 13 24",
    "Padovan": "1 1 1 2 2 3 4 5 7",
    "Perrin": "3 0 2 3 2 5 5 7 10",
    "Fibonacci at even places": "0 1 3 8 21 55 144 377 987",
    "a(n) = 4a(n−1) − a(n−2)": "1 4 15 56 209 780 2911 10864",
    "numerators of continued fractions to √2": "1 3 7 17 41 99 239 577 1393",
    "factorials": "1 1 2 6 24 120 720 5040 40320",
    "double factorials": "1 1 3 15 105 945 10395 135135",
    "primorials": "1 2 6 30 210 2310 30030 510510",
    "Catalan": "1 1 2 5 14 42 132 429 1430",
    "central binomial coefficients": "1 2 6 20 70 252 924 3432 12870",
    "Motzkin": "1 1 2 4 9 21 51 127 323",
    "Bell": "1 1 2 5 15 52 203 877 4140",
    "derangements": "1 0 1 2 9 44 265 1854 14833",
    "partitions": "1 1 2 3 5 7 11 15 22",
    "Euler zigzag numbers": "1 1 1 2 5 16 61 272 1385",
    "primes": "2 3 5 7 11 13 17 19 23",
    "composites": "4 6 8 9 10 12 14 15 16",
    "semiprimes": "4 6 9 10 14 15 21 22 25",
    "divisors of n": "1 2 2 3 2 4 2 4 3",
    "sum of divisors": "1 3 4 7 6 12 8 15 13",
    "totient": "1 1 2 2 4 2 6 4 6",
    "sums of the primes": "2 5 10 17 28 41 58 77 100",
    "ones in binary": "0 1 1 2 1 2 2 3 1",
    "Thue–Morse": "0 1 1 0 1 0 0 1 1",
    "ruler function": "0 1 0 2 0 1 0 3 0",
    "natural numbers twice each": "0 0 1 1 2 2 3 3 4",
    "periodic 1, 2, 3": "1 2 3 1 2 3 1 2 3",
    "signs in turn": "1 -1 1 -1 1 -1 1 -1 1",
    "n with signs in turn": "1 -2 3 -4 5 -6 7 -8 9",
    "look and say": "1 11 21 1211 111221 312211 13112221",
    "Sylvester": "2 3 7 43 1807 3263443 10650056950807",
    "Golomb": "1 2 2 3 3 4 4 4 5",
    "Collatz from 7": "7 22 11 34 17 52 26 13 40",
}

UNSEEN = {
    "decagonal": "1 10 27 52 85 126 175 232",
    "nonagonal": "1 9 24 46 75 111 154 204",
    "icosahedral": "1 12 48 124 255 456 742",
    "dodecahedral": "1 20 84 220 455 816",
    "centered cubes": "1 9 35 91 189 341 559",
    "centered triangular": "1 4 10 19 31 46 64 85",
    "seventh powers": "1 128 2187 16384 78125 279936",
    "powers of -3": "1 -3 9 -27 81 -243 729",
    "powers of 6": "1 6 36 216 1296 7776",
    "powers of 1000": "1 1000 1000000 1000000000 1000000000000",
    "20 down by 3": "20 17 14 11 8 5 2 -1",
    "three quarters": "256 192 144 108 81",
    "n factorial minus 1": "0 0 1 5 23 119 719 5039",
    "double factorials even": "1 2 8 48 384 3840 46080",
    "quadruple factorial": "1 2 12 120 1680 30240 665280",
    "Pell sums": "1 3 8 20 49 119 288",
    "tribonacci from 1 1 1": "1 1 1 3 5 9 17 31 57",
    "Fibonacci doubled": "2 2 4 6 10 16 26 42",
    "Fibonacci cubes": "1 1 8 27 125 512 2197",
    "2^n + n": "1 3 6 11 20 37 70 135",
    "2^n - n": "1 1 2 5 12 27 58 121",
    "3^n + 1": "2 4 10 28 82 244 730",
    "n^2 - n + 41": "41 43 47 53 61 71 83",
    "(2^n + (-1)^n)/3": "1 0 1 1 3 5 11 21 43",
    "Thabit": "2 5 11 23 47 95 191",
    "4^n + 2": "3 6 18 66 258 1026",
    "Bell sums": "1 2 4 9 24 76 279 1156",
    "2^n − 1 again": "1 3 7 15 31 63 127",
    "Stirling, 3 parts": "1 6 25 90 301 966 3025",
    "Lah": "1 6 36 240 1800 15120",
    "binomial(2n,n)/2": "1 3 10 35 126 462 1716",
    "binomial(n,3)": "1 4 10 20 35 56 84",
    "binomial(n,5)": "1 6 21 56 126 252 462",
    "Catalan convolved": "1 2 5 14 42 132 429 1430 4862",
    "labelled trees": "1 1 3 16 125 1296 16807",
    "n^n": "1 4 27 256 3125 46656",
    "tournaments 2^(n(n-1)/2)": "1 1 2 8 64 1024 32768",
    "n^(n+1)": "1 8 81 1024 15625 279936",
    "square-pyramid odd": "1 10 35 84 165 286 455",
    "multiples of 9": "9 18 27 36 45 54",
    "primes 4k + 1": "5 13 17 29 37 41 53",
    "primes 4k + 3": "3 7 11 19 23 31 43",
    "products of consecutive primes": "6 15 35 77 143 221",
    "prime + index": "3 5 8 11 16 19 24",
    "palindromic primes": "2 3 5 7 11 101 131 151",
    "powerful numbers": "1 4 8 9 16 25 27 32 36",
    "triangular squares": "0 1 36 1225 41616 1413721",
    "hypotenuses": "5 13 25 41 61 85",
    "trailing zeros of n in binary plus 1": "1 2 1 3 1 2 1 4 1",
    "decimal 1/7": "1 4 2 8 5 7 1 4 2",
    "squares mod 10": "1 4 9 6 5 6 9 4 1 0 1",
    "Fibonacci mod 10": "0 1 1 2 3 5 8 3 1 4",
    "sum of the digits of 2^n": "1 2 4 8 7 5 10 11 13",
    "1 at triangular numbers": "1 0 1 0 0 1 0 0 0 1",
    "counting down rows": "1 2 1 3 2 1 4 3 2",
    "binary reversed": "0 1 1 3 1 5 3 7 1",
    "days in months": "31 28 31 30 31 30 31 31",
    "quarters of an hour": "0 15 30 45 0 15 30",
    "Moser-de Bruijn": "0 1 4 5 16 17 20 21 64",
    "Conway": "1 1 2 2 3 4 4 4 5",
}
"""Written down after the rules, and for which nothing was changed."""


def main() -> None:
    """Print what each is continued with, and how many rightly."""
    model = load_portable(SHIPPED)
    right, sure = 0, []
    sequences = UNSEEN if "--unseen" in sys.argv[1:] else SEQUENCES
    for name, text in sequences.items():
        *given, expected = (int(word) for word in text.split())
        asked = ask(model, tuple(given), 1)
        found = asked.expected[:1]
        hit = found == (expected,)
        right += hit
        told = sentence_of(asked, 1)
        if not hit and found and NEVER not in told:
            sure.append(name)
        print(f"{'right' if hit else 'WRONG' if found else 'none '}  {name}: {told}")
    print(f"{right} of {len(sequences)} continued rightly; wrong without a warning: {', '.join(sure) or 'none'}")


if __name__ == "__main__":
    main()
