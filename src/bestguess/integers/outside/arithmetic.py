"""Arithmetic of one number: its divisors, prime factors and digits, as what names of sequences are made from."""

from __future__ import annotations

import math
from collections import Counter


def divisors(n: int) -> list[int]:
    """Return the divisors of n, ascending."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d < n]


def factors(n: int) -> list[int]:
    """Return the prime factors of n, ascending, each as often as it divides n."""
    found, d = [], 2
    while d * d <= n:
        while n % d == 0:
            found.append(d)
            n //= d
        d += 1
    return found + [n] * (n > 1)


def moebius(n: int) -> int:
    """Return Möbius' function: 0 where a square divides n, else −1 to the number of its primes."""
    found = factors(n)
    return (-1) ** len(found) if len(set(found)) == len(found) else 0


def sigma(n: int, power: int = 1) -> int:
    """Return the sum of the divisors of n, each to a power."""
    return sum(d**power for d in divisors(n))


def totient(n: int) -> int:
    """Return how many of 1 to n are coprime to n."""
    return math.prod((p - 1) * p ** (many - 1) for p, many in Counter(factors(n)).items())


def is_square(n: int) -> bool:
    """Return whether n is the square of an integer."""
    return n >= 0 and math.isqrt(n) ** 2 == n


def digits_of(n: int, base: int = 10) -> list[int]:
    """Return the digits of n, the first one first; those of 0 are one 0."""
    found = [n % base]
    while n >= base:
        n //= base
        found.append(n % base)
    return found[::-1]


def is_power_of_a_prime(n: int) -> bool:
    """Return whether one prime alone divides n."""
    return len(set(factors(n))) == 1
