"""Numbers with a property, by name: what primes, divisors, digits and sums of powers tell of them."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from itertools import count, takewhile

from bestguess.integers.outside.arithmetic import (
    digits_of,
    divisors,
    factors,
    is_power_of_a_prime,
    is_square,
    moebius,
    sigma,
    totient,
)
from bestguess.integers.outside.known import Known, is_prime, numbers_where


def _is_happy(n: int) -> bool:
    while n > 4:
        n = sum(digit**2 for digit in digits_of(n))
    return n == 1


def _both_prime(k: int, n: int) -> bool:
    return is_prime(n) and is_prime(n + k)


def _is_lucky(n: int) -> bool:
    """Whether the sieve that strikes every k-th of those left, k = 2, 3, 7, …, leaves n."""
    if n % 2 == 0:
        return False
    left, place = list(range(1, n + 1, 2)), 1
    while place < len(left) and left[place] <= len(left):
        step = left[place]
        left = [one for i, one in enumerate(left, 1) if i % step]
        place += 1
    return left[-1] == n


def _is_ludic(n: int) -> bool:
    """Whether the sieve that keeps the first of those left and strikes every such-th keeps n; 1 counts."""
    left = list(range(2, n + 1))
    while left and left[0] < n:
        left = [one for i, one in enumerate(left) if i % left[0]]
    return n == 1 or bool(left)


def _powers(n: int) -> list[int]:
    return list(Counter(factors(n)).values())


def _sums_of_two(n: int, power: int, least: int = 0) -> int:
    """In how many ways n is a sum of two powers of numbers from `least`, their order aside."""
    roots = set(takewhile(lambda one: one <= n, (k**power for k in count(least))))
    return sum(n - one >= one and n - one in roots for one in roots)


def _primitive(n: int) -> bool:
    """Whether 10 is a primitive root of the prime n."""
    return is_prime(n) and n not in (2, 5) and all(pow(10, (n - 1) // p, n) != 1 for p in set(factors(n - 1)))


def _is_practical(n: int) -> bool:
    """Whether all smaller numbers are sums of different divisors of n."""
    reached = 0
    for d in divisors(n):
        if d > reached + 1:
            return False
        reached += d
    return True


def _subset_sums(n: int) -> int:
    """The sums of different proper divisors of n, as bits."""
    sums = 1
    for d in divisors(n)[:-1]:
        sums |= sums << d
    return sums


def _is_record(of: Callable[[int], int | float], n: int) -> bool:
    return all(of(k) < of(n) for k in range(1, n))


_divisor_count = functools.lru_cache(maxsize=None)(lambda n: len(divisors(n)))
_abundancy = functools.lru_cache(maxsize=None)(lambda n: sigma(n) / n)


def _same_reversed(n: int, base: int = 10) -> bool:
    return digits_of(n, base) == digits_of(n, base)[::-1]


def _reversed(n: int) -> int:
    return int(str(n)[::-1])


def _truncations(n: int, left: bool) -> list[int]:
    text = str(n)
    return [int(text[i:] if left else text[: len(text) - i]) for i in range(len(text))]


def _is_kaprekar(n: int) -> bool:
    square = str(n * n)
    return n == 1 or any(int(square[i:]) and int(square[:i]) + int(square[i:]) == n for i in range(1, len(square)))


def _is_self(n: int) -> bool:
    return all(k + sum(digits_of(k)) != n for k in range(max(1, n - 60), n))


def _is_carmichael(n: int) -> bool:
    if n % 2 == 0 or pow(2, n - 1, n) != 1 or is_prime(n):
        return False
    found = factors(n)
    return moebius(n) != 0 and all((n - 1) % (p - 1) == 0 for p in found)


def _is_balanced(n: int) -> bool:
    if n < 5 or not is_prime(n):
        return False
    return n - next(filter(is_prime, count(n - 1, -1))) == next(filter(is_prime, count(n + 1))) - n


PROPERTIES: tuple[tuple[str, int, Callable[[int], bool]], ...] = (
    ("composite numbers", 1, lambda n: n > 3 and not is_prime(n)),
    ("numbers that are not prime", 1, lambda n: not is_prime(n)),
    ("squarefree numbers", 1, lambda n: moebius(n) != 0),
    ("powers of primes", 1, lambda n: n == 1 or is_power_of_a_prime(n)),
    ("semiprimes", 1, lambda n: len(factors(n)) == 2),
    ("products of two different primes", 1, lambda n: len(factors(n)) == len(set(factors(n))) == 2),
    ("abundant numbers", 1, lambda n: sigma(n) > 2 * n),
    ("deficient numbers", 1, lambda n: sigma(n) < 2 * n),
    ("numbers that are no squares", 1, lambda n: not is_square(n)),
    ("sums of two squares", 0, lambda n: _sums_of_two(n, 2) > 0),
    ("numbers with an even number of ones in binary", 0, lambda n: n.bit_count() % 2 == 0),
    ("numbers with an odd number of ones in binary", 1, lambda n: n.bit_count() % 2 == 1),
    ("numbers that are the same in reverse", 0, _same_reversed),
    ("primes that are the same in reverse", 2, lambda n: _same_reversed(n) and is_prime(n)),
    ("happy numbers", 1, _is_happy),
    ("lucky numbers", 1, _is_lucky),
    ("numbers that 3 or 5 divides", 1, lambda n: n % 3 == 0 or n % 5 == 0),
    *((f"primes p with p + {k} prime", 1, functools.partial(_both_prime, k)) for k in (2, 4, 6)),
    ("primes p with p − 2 prime", 1, lambda n: is_prime(n) and is_prime(n - 2)),
    ("primes p with 2p + 1 prime", 1, lambda n: is_prime(n) and is_prime(2 * n + 1)),
    ("primes p with (p − 1)/2 prime", 1, lambda n: is_prime(n) and n % 2 == 1 and is_prime(n // 2)),
    *(
        (f"primes of the form {m}k + {r}", 1, lambda n, m=m, r=r: n % m == r and is_prime(n))
        for m in (3, 4, 5, 6, 8, 10)
        for r in range(1, m)
        if math.gcd(r, m) == 1
    ),
)
"""Each with its name and the first number that is asked."""

RARER_PROPERTIES: tuple[tuple[str, int, Callable[[int], bool]], ...] = (
    ("odd primes", 3, is_prime),
    ("primes n² + 1", 1, lambda n: is_prime(n) and is_square(n - 1)),
    ("numbers n with n² + 1 prime", 1, lambda n: is_prime(n * n + 1)),
    ("numbers n with n² + n + 1 prime", 1, lambda n: is_prime(n * n + n + 1)),
    ("numbers n with 2n + 1 prime", 1, lambda n: is_prime(2 * n + 1)),
    ("numbers n with 6n + 1 and 6n − 1 prime", 1, lambda n: is_prime(6 * n - 1) and is_prime(6 * n + 1)),
    ("numbers between twin primes", 1, lambda n: is_prime(n - 1) and is_prime(n + 1)),
    ("primes with no prime two away", 2, lambda n: is_prime(n) and not is_prime(n - 2) and not is_prime(n + 2)),
    (
        "primes whose reverse is another prime",
        2,
        lambda n: is_prime(n) and not _same_reversed(n) and is_prime(_reversed(n)),
    ),
    ("primes whose reverse is prime", 2, lambda n: is_prime(n) and is_prime(_reversed(n))),
    ("right-truncatable primes", 2, lambda n: all(map(is_prime, _truncations(n, left=False)))),
    ("left-truncatable primes", 2, lambda n: "0" not in str(n) and all(map(is_prime, _truncations(n, left=True)))),
    (
        "primes that stay prime when rotated",
        2,
        lambda n: all(is_prime(int(str(n)[i:] + str(n)[:i])) for i in range(len(str(n)))),
    ),
    ("primes with 10 as a primitive root", 2, _primitive),
    ("primes halfway between their neighbours", 2, _is_balanced),
    ("primes with an even number of ones in binary", 2, lambda n: is_prime(n) and n.bit_count() % 2 == 0),
    ("primes whose digits are primes", 2, lambda n: is_prime(n) and set(str(n)) <= set("2357")),
    ("products of three primes", 1, lambda n: len(factors(n)) == 3),
    ("products of four primes", 1, lambda n: len(factors(n)) == 4),
    ("products of three different primes", 1, lambda n: len(factors(n)) == len(set(factors(n))) == 3),
    ("numbers that two primes divide", 1, lambda n: len(set(factors(n))) == 2),
    (
        "products of two primes 4k + 3",
        1,
        lambda n: len(f := factors(n)) == 2 == len(set(f)) and all(p % 4 == 3 for p in f),
    ),
    ("powerful numbers", 1, lambda n: all(k > 1 for k in _powers(n))),
    ("perfect powers", 1, lambda n: math.gcd(*_powers(n)) != 1),
    ("powerful numbers that are no powers", 2, lambda n: all(k > 1 for k in _powers(n)) and math.gcd(*_powers(n)) == 1),
    ("squares of primes and higher powers", 1, lambda n: is_power_of_a_prime(n) and not is_prime(n)),
    ("primes and 1", 1, lambda n: n == 1 or is_prime(n)),
    ("prime powers above 1", 2, is_power_of_a_prime),
    ("numbers that are no powers of primes", 1, lambda n: len(set(factors(n))) > 1),
    ("numbers that a square divides", 1, lambda n: moebius(n) == 0),
    ("numbers that no cube divides", 1, lambda n: max(_powers(n), default=0) < 3),
    ("squarefree numbers with an even number of primes", 1, lambda n: moebius(n) == 1),
    ("numbers of only 2 and 3 as factors", 1, lambda n: set(factors(n)) <= {2, 3}),
    ("numbers of only 2, 3 and 5 as factors", 1, lambda n: set(factors(n)) <= {2, 3, 5}),
    ("numbers of only 2, 3, 5 and 7 as factors", 1, lambda n: set(factors(n)) <= {2, 3, 5, 7}),
    ("numbers of only 2 and 5 as factors", 1, lambda n: set(factors(n)) <= {2, 5}),
    ("numbers coprime to 6", 1, lambda n: math.gcd(n, 6) == 1),
    ("numbers coprime to 10", 1, lambda n: math.gcd(n, 10) == 1),
    ("numbers coprime to 30", 1, lambda n: math.gcd(n, 30) == 1),
    ("numbers that 2 or 3 divides", 1, lambda n: math.gcd(n, 6) > 1),
    ("highly composite numbers", 1, lambda n: (n == 1 or n % 2 == 0) and _is_record(_divisor_count, n)),
    ("superabundant numbers", 1, lambda n: (n == 1 or n % 2 == 0) and _is_record(_abundancy, n)),
    ("numbers that their number of divisors divides", 1, lambda n: n % len(divisors(n)) == 0),
    ("numbers whose divisors have an integer mean", 1, lambda n: sigma(n) % len(divisors(n)) == 0),
    ("practical numbers", 1, _is_practical),
    ("numbers that are sums of different proper divisors", 1, lambda n: _subset_sums(n) >> n & 1 == 1),
    ("weird numbers", 2, lambda n: sigma(n) > 2 * n and _subset_sums(n) >> n & 1 == 0),
    ("odd composite numbers", 9, lambda n: n % 2 == 1 and not is_prime(n)),
    (
        "numbers that are sums of consecutive integers, three or more",
        6,
        lambda n: any((rest := n - k * (k - 1) // 2) > 0 and rest % k == 0 for k in range(3, math.isqrt(2 * n) + 1)),
    ),
    ("Carmichael numbers", 3, _is_carmichael),
    ("pseudoprimes to base 2", 3, lambda n: n % 2 == 1 and not is_prime(n) and pow(2, n - 1, n) == 1),
    ("numbers that their digits' sum divides", 1, lambda n: n % sum(digits_of(n)) == 0),
    ("sums of their digits' powers", 1, lambda n: sum(d ** len(str(n)) for d in digits_of(n)) == n),
    ("numbers at the end of their squares", 0, lambda n: str(n * n).endswith(str(n))),
    ("Kaprekar numbers", 1, _is_kaprekar),
    ("self numbers", 1, _is_self),
    ("numbers of one digit repeated", 0, lambda n: len(set(str(n))) == 1),
    ("numbers of odd digits", 1, lambda n: set(str(n)) <= set("13579")),
    ("numbers of even digits", 0, lambda n: set(str(n)) <= set("02468")),
    ("numbers of different digits", 0, lambda n: len(set(str(n))) == len(str(n))),
    ("numbers without a 0", 1, lambda n: "0" not in str(n)),
    ("numbers with a 1", 1, lambda n: "1" in str(n)),
    ("numbers of digits 0 and 1 in ternary", 0, lambda n: 2 not in digits_of(n, 3)),
    ("numbers without neighbouring ones in binary", 0, lambda n: n & n >> 1 == 0),
    ("numbers that are the same in reverse in binary", 0, lambda n: _same_reversed(n, 2)),
    ("numbers with more ones than zeros in binary", 1, lambda n: 2 * n.bit_count() > n.bit_length()),
    ("numbers with two ones in binary", 1, lambda n: n.bit_count() == 2),
    ("numbers with three ones in binary", 1, lambda n: n.bit_count() == 3),
    ("sums of two nonzero squares", 1, lambda n: _sums_of_two(n, 2, 1) > 0),
    ("numbers that are no sums of two squares", 1, lambda n: _sums_of_two(n, 2) == 0),
    ("sums of two squares in two ways", 1, lambda n: _sums_of_two(n, 2) > 1),
    ("sums of three squares", 0, lambda n: n == 0 or (n // 4 ** (((n & -n).bit_length() - 1) // 2)) % 8 != 7),
    ("numbers that are no sums of three squares", 1, lambda n: (n // 4 ** (((n & -n).bit_length() - 1) // 2)) % 8 == 7),
    ("numbers whose squares are sums of two nonzero squares", 1, lambda n: any(p % 4 == 1 for p in factors(n))),
    ("sums of two positive cubes", 1, lambda n: _sums_of_two(n, 3, 1) > 0),
    ("sums of two triangular numbers", 0, lambda n: _sums_of_two(8 * n + 2, 2, 1) > 0),
    ("numbers x² + xy + y²", 0, lambda n: all(k % 2 == 0 for p, k in Counter(factors(n)).items() if p % 3 == 2)),
    ("numbers x² + 2y²", 0, lambda n: any(is_square(n - 2 * y * y) for y in range(math.isqrt(n // 2) + 1))),
    ("differences of two squares", 0, lambda n: n % 4 != 2),
    ("numbers coprime to their totient", 1, lambda n: math.gcd(n, totient(n)) == 1),
    ("values of the totient", 1, lambda n: any(totient(k) == n for k in range(n, 4 * n + 3))),
    ("numbers that are no totients", 1, lambda n: all(totient(k) != n for k in range(n, 4 * n + 3))),
    (
        "numbers with a primitive root",
        1,
        lambda n: n < 5 or (is_power_of_a_prime(n // 2 if n % 4 == 2 else n) and n % 4 > 0),
    ),
    ("ludic numbers", 1, _is_ludic),
)
"""Each with its name and the first number that is asked."""

WITH_A_PROPERTY: tuple[Known, ...] = (
    *(Known(name, numbers_where(has, first), ascending=True, more=3.0) for name, first, has in PROPERTIES),
    *(Known(name, numbers_where(has, first), ascending=True, more=5.0) for name, first, has in RARER_PROPERTIES),
)
"""Simplest first."""
