"""Functions of n by name, each from its definition: divisors, primes, digits, roots."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import count, islice

from bestguess.integers.outside.arithmetic import digits_of, divisors, factors, is_square, moebius, sigma, totient
from bestguess.integers.outside.known import Known, integer_partitions, is_prime, polynomial, prefixes


def _two_in(n: int) -> int:
    return (n & -n).bit_length() - 1


def _carmichael(n: int) -> int:
    powers = Counter(factors(n))
    return math.lcm(*(2 ** (k - 2) if p == 2 and k > 2 else (p - 1) * p ** (k - 1) for p, k in powers.items()))


def _abelian(n: int) -> int:
    powers = Counter(factors(n)).values()
    partitions = list(islice(integer_partitions(), max(powers, default=0) + 1))
    return math.prod(partitions[many] for many in powers)


def _factorizations(n: int, least: int = 2) -> int:
    """In how many ways n is a product of factors of at least `least`, their order aside."""
    return (n >= least or n == 1) + sum(
        _factorizations(n // d, d) for d in divisors(n) if least <= d <= n // d and d > 1
    )


def _ordered_factorizations(n: int) -> int:
    return 1 if n == 1 else sum(_ordered_factorizations(d) for d in divisors(n)[:-1])


def _square_part(n: int) -> int:
    return math.prod(p ** (many // 2 * 2) for p, many in Counter(factors(n)).items())


def _prime_base(n: int) -> int:
    """The prime of which n is a power, else 1."""
    found = set(factors(n))
    return found.pop() if len(found) == 1 else 1


def _squares_sums(n: int, squares: int) -> int:
    """In how many ways n is an ordered sum of that many squares of integers of either sign."""
    if squares == 0:
        return int(n == 0)
    root = math.isqrt(n)
    return sum(_squares_sums(n - k * k, squares - 1) for k in range(-root, root + 1))


def _sums_of_two_squares(n: int) -> int:
    return sum(is_square(n - a * a) for a in range(math.isqrt(n // 2) + 1))


def _tau(n: int) -> list[int]:
    """Ramanujan's: the coefficients of q·Π (1 − q^k)^24 up to q^n."""
    row = [1] + [0] * (n - 1)
    for k in range(1, n):
        for _ in range(24):
            for i in range(n - 1, k - 1, -1):
                row[i] -= row[i - k]
    return row


def _consecutive(n: int, least: int) -> int:
    """In how many ways n is a sum of at least `least` consecutive positive integers."""
    many = 0
    for k in range(least, n + 1):
        rest = n - k * (k - 1) // 2
        if rest <= 0:
            break
        many += rest % k == 0
    return many


def _least_prime_power(n: int) -> int:
    return n if n < 2 or len(set(factors(n))) == 1 else _least_prime_power(n + 1)


def _pisano(n: int) -> int:
    a, b, period = 0, 1 % n, 0
    while period == 0 or (a, b) != (0, 1 % n):
        a, b, period = b, (a + b) % n, period + 1
    return period


def _order_of_ten(n: int) -> int:
    """The length of the period of 1/n in decimal, 0 where it ends."""
    while n % 2 == 0 or n % 5 == 0:
        n //= 2 if n % 2 == 0 else 5
    return next(k for k in count(1) if pow(10, k, n) == 1) if n > 1 else 0


def _landau(n: int) -> int:
    """The largest order of a permutation of n: the largest product of prime powers whose sum is at most n."""
    best = [1] * (n + 1)
    for p in (p for p in range(2, n + 1) if is_prime(p)):
        for total in range(n, p - 1, -1):
            power = p
            while power <= total:
                best[total] = max(best[total], power * best[total - power])
                power *= p
    return best[n]


def _in_factorials(n: int) -> list[int]:
    """The digits of n in factorial base, the first one first."""
    found = []
    for base in count(2):
        found.append(n % base)
        n //= base
        if n == 0:
            return found[::-1]
    return found


FUNCTIONS: tuple[tuple[str, int, Callable[[int], int]], ...] = (
    ("number of divisors of n", 1, lambda n: len(divisors(n))),
    ("sum of divisors of n", 1, sigma),
    ("sum of the divisors of n below n", 1, lambda n: sigma(n) - n),
    ("Euler's totient of n", 1, totient),
    ("Möbius function of n", 1, moebius),
    ("number of prime factors of n", 1, lambda n: len(factors(n))),
    ("number of different primes that divide n", 1, lambda n: len(set(factors(n)))),
    ("smallest prime factor of n", 1, lambda n: factors(n)[0] if n > 1 else 1),
    ("greatest prime factor of n", 1, lambda n: factors(n)[-1] if n > 1 else 1),
    ("sum of the prime factors of n", 1, lambda n: sum(factors(n))),
    ("ones in n in binary", 0, int.bit_count),
    ("Thue–Morse sequence", 0, lambda n: n.bit_count() % 2),
    ("powers of 2 that divide n", 1, lambda n: n & -n),
    ("exponent of 2 in n", 1, _two_in),
    ("n in Gray code", 0, lambda n: n ^ n >> 1),
    ("paper folding", 1, lambda n: 1 - (n >> _two_in(n) + 1) % 2),
    ("sum of the digits of n", 0, lambda n: sum(digits_of(n))),
    ("product of the digits of n", 0, lambda n: math.prod(digits_of(n))),
    ("digits of n in reverse", 0, lambda n: int(str(n)[::-1])),
    ("⌊√n⌋", 0, math.isqrt),
    ("least common multiple of 1 to n", 0, lambda n: math.lcm(*range(1, n + 1))),
)
"""Each with its name and its first n."""

RARER_FUNCTIONS: tuple[tuple[str, int, Callable[[int], int]], ...] = (
    ("sum of the squares of the divisors of n", 1, lambda n: sigma(n, 2)),
    ("sum of the cubes of the divisors of n", 1, lambda n: sigma(n, 3)),
    ("number of odd divisors of n", 1, lambda n: sum(d % 2 for d in divisors(n))),
    ("sum of the odd divisors of n", 1, lambda n: sum(d for d in divisors(n) if d % 2)),
    ("number of even divisors of n", 1, lambda n: sum(d % 2 == 0 for d in divisors(n))),
    ("product of the divisors of n", 1, lambda n: math.prod(divisors(n))),
    ("sum of the different primes that divide n", 1, lambda n: sum(set(factors(n)))),
    ("product of the different primes that divide n", 1, lambda n: math.prod(set(factors(n)))),
    ("number of squarefree divisors of n", 1, lambda n: 2 ** len(set(factors(n)))),
    ("prime factors of n beyond the different ones", 1, lambda n: len(factors(n)) - len(set(factors(n)))),
    ("Liouville function of n", 1, lambda n: (-1) ** len(factors(n))),
    ("Mertens function of n", 1, lambda n: sum(map(moebius, range(1, n + 1)))),
    ("exponential of Mangoldt's function of n", 1, _prime_base),
    ("Carmichael's function of n", 1, _carmichael),
    ("Dedekind's psi of n", 1, lambda n: math.prod((p + 1) * p ** (k - 1) for p, k in Counter(factors(n)).items())),
    (
        "Jordan's totient J₂ of n",
        1,
        lambda n: math.prod((p * p - 1) * p ** (2 * k - 2) for p, k in Counter(factors(n)).items()),
    ),
    ("n less its totient", 1, lambda n: n - totient(n)),
    ("sum of the first totients", 0, lambda n: sum(map(totient, range(1, n + 1)))),
    ("length of the Farey sequence of order n", 0, lambda n: 1 + sum(map(totient, range(1, n + 1)))),
    ("number of Abelian groups of order n", 1, _abelian),
    ("number of ways to factor n", 1, _factorizations),
    ("number of ordered ways to factor n", 1, _ordered_factorizations),
    ("largest square that divides n", 1, _square_part),
    ("squarefree part of n", 1, lambda n: n // _square_part(n)),
    ("number of ordered sums of two squares that are n", 0, lambda n: _squares_sums(n, 2)),
    ("number of ordered sums of three squares that are n", 0, lambda n: _squares_sums(n, 3)),
    ("number of ordered sums of four squares that are n", 0, lambda n: _squares_sums(n, 4)),
    ("number of sums of two squares that are n", 0, _sums_of_two_squares),
    ("number of sums of consecutive integers that are n", 1, lambda n: _consecutive(n, 1)),
    ("number of sums of three or more consecutive integers that are n", 1, lambda n: _consecutive(n, 3)),
    ("smallest prime power from n on", 1, _least_prime_power),
    ("smallest prime from n on", 0, lambda n: next(filter(is_prime, count(n)))),
    ("smallest prime beyond n", 0, lambda n: next(filter(is_prime, count(n + 1)))),
    ("largest prime up to n", 2, lambda n: next(filter(is_prime, count(n, -1)))),
    (
        "number of pairs of primes with sum 2n",
        1,
        lambda n: sum(is_prime(p) and is_prime(2 * n - p) for p in range(2, n + 1)),
    ),
    ("1 for primes", 1, lambda n: int(is_prime(n))),
    ("1 for primes, from 0", 0, lambda n: int(is_prime(n))),
    ("number of composite numbers up to n", 1, lambda n: sum(not is_prime(k) for k in range(4, n + 1))),
    ("period of the Fibonacci numbers modulo n", 1, _pisano),
    ("period of 1/n in decimal", 1, _order_of_ten),
    ("Landau's function of n", 0, _landau),
    ("quadratic residues modulo n", 1, lambda n: len({k * k % n for k in range(n)})),
    ("zeros in n in binary", 0, lambda n: n.bit_length() - n.bit_count() + (n == 0)),
    ("length of n in binary", 0, lambda n: max(1, n.bit_length())),
    ("length of n in binary, 0 for 0", 0, int.bit_length),
    ("⌊log₂ n⌋", 1, lambda n: n.bit_length() - 1),
    ("⌈log₂ n⌉", 1, lambda n: (n - 1).bit_length()),
    ("n in binary", 0, lambda n: int(f"{n:b}")),
    ("n in ternary", 0, lambda n: int("".join(map(str, digits_of(n, 3))))),
    ("n in octal", 0, lambda n: int(f"{n:o}")),
    ("sum of the digits of n in ternary", 0, lambda n: sum(digits_of(n, 3))),
    ("exponent of 3 in n", 1, lambda n: factors(n).count(3)),
    ("exponent of 5 in n", 1, lambda n: factors(n).count(5)),
    ("exponent of 2 in n!", 0, lambda n: n - n.bit_count()),
    ("zeros at the end of n!", 0, lambda n: sum(n // 5**k for k in range(1, 9))),
    ("largest odd number that divides n", 1, lambda n: n // (n & -n)),
    ("highest power of 2 up to n", 1, lambda n: 1 << n.bit_length() - 1),
    ("n with its binary digits reversed", 0, lambda n: int(f"{n:b}"[::-1], 2)),
    ("2 to the ones in n in binary", 0, lambda n: 1 << n.bit_count()),
    ("sums of the first binary weights", 0, lambda n: sum(k.bit_count() for k in range(n + 1))),
    ("Rudin–Shapiro sequence", 0, lambda n: (-1) ** (n & n >> 1).bit_count()),
    ("first digit of n", 0, lambda n: digits_of(n)[0]),
    ("number of digits of n", 0, lambda n: len(str(n))),
    ("digital root of n", 0, lambda n: (n - 1) % 9 + 1 if n else 0),
    ("sum of the squares of the digits of n", 0, lambda n: sum(d * d for d in digits_of(n))),
    ("⌈√n⌉", 0, lambda n: math.isqrt(n - 1) + 1 if n else 0),
    ("nearest integer to √n", 0, lambda n: (math.isqrt(4 * n) + 1) // 2),
    ("nearest integer to √(2n)", 0, lambda n: (math.isqrt(8 * n) + 1) // 2),
    ("⌊∛n⌋", 0, lambda n: next(k for k in count() if (k + 1) ** 3 > n)),
    ("n less the largest square up to n", 0, lambda n: n - math.isqrt(n) ** 2),
    ("n in factorial base", 0, lambda n: int("".join(map(str, _in_factorials(n))) or 0)),
    ("least k of which n divides k!", 1, lambda n: next(k for k in count(1) if math.factorial(k) % n == 0)),
    ("least number with n divisors", 1, lambda n: next(k for k in count(1) if len(divisors(k)) == n)),
)
"""Each with its name and its first n."""

OF_N: tuple[Known, ...] = (
    *(Known(name, polynomial(of, first), False, more=3.0) for name, first, of in FUNCTIONS),
    *(Known(name, polynomial(of, first), False, more=5.0) for name, first, of in RARER_FUNCTIONS),
    Known("Ramanujan's tau of n", prefixes(_tau), False, more=5.0),
)
"""Simplest first."""
