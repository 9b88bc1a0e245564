"""Five tables of features of a number."""

from __future__ import annotations

import typing

import numpy as np
import pytest

from bestguess.integers.config import WIDTHS, Embedding
from bestguess.integers.model.embeddings import features

every = pytest.mark.parametrize("embedding", typing.get_args(Embedding))


@every
def test_numbers_are_told_apart_and_features_are_of_size_1(embedding):
    table = features(embedding)
    assert table.shape == (256, WIDTHS[embedding])
    assert table.dtype == np.float32
    if embedding != "pair":
        assert np.mean(table.astype(float) ** 2) == pytest.approx(1, rel=1e-6)
    apart = np.linalg.norm(table[:, None] - table[None], axis=-1) + 9 * np.eye(256)
    assert apart.min() > 0.003
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1


def scaled(embedding: Embedding, n: int) -> np.ndarray:
    """A row as it was before its table was scaled, up to one factor for the whole table."""
    return features(embedding)[n].astype(float)


def test_bits():
    bits = np.sign(scaled("binary", 0b10110010))
    np.testing.assert_array_equal(bits, [-1, 1, -1, -1, 1, 1, -1, 1])


def test_digits():
    table = features("tuple")
    np.testing.assert_allclose(table[0xA3] / table[0xFF], [10 / 7.5 - 1, 3 / 7.5 - 1], rtol=1e-5)


def test_the_pair_is_the_number_over_the_largest_and_room_for_the_position():
    np.testing.assert_allclose(features("pair")[[0, 51, 255]], [[0, 0], [0.2, 0], [1, 0]], rtol=1e-6)


def test_waves_are_periodic_in_the_alphabet():
    """n and n + 128 differ in the slowest wave alone, so what wraps round at 256 meets itself."""
    table = features("fourier")
    same = np.isclose(table[5], table[133], atol=1e-5)
    assert np.flatnonzero(~same).tolist() == [0, 8]  # sin and cos of one turn in 256
    step = lambda n: np.linalg.norm(table[(n + 1) % 256] - table[n])  # noqa: E731
    assert step(255) == pytest.approx(step(100), rel=1e-5)


def test_number_theory_by_hand():
    table = features("number-theoretic")
    prime, square, power = (table[:, 12 + i] > 0 for i in range(3))
    by_hand = [n for n in range(2, 256) if all(n % d for d in range(2, n))]
    assert np.flatnonzero(prime).tolist() == by_hand
    assert np.flatnonzero(square).tolist() == [n * n for n in range(16)]
    assert np.flatnonzero(power).tolist() == [2**n for n in range(8)]
    # Numbers that agree modulo every prime up to 13 differ in size alone, and those are 30,030 apart.
    assert len(np.unique(np.round(table[:, :12], 4), axis=0)) == 256
    size = table[:, 16]
    assert (np.diff(size) > 0).all()


def test_a_learned_embedding_is_a_table_of_vectors():
    np.testing.assert_array_equal(features("learned"), 16 * np.eye(256, dtype=np.float32))
