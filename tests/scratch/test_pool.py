"""Buffers used again: never while anything still looks at them, and given back beyond a limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.scratch import pool
from bestguess.scratch.gpt import GPT, GPTConfig

LARGE = pool.SMALLEST // 4  # float32 values of the smallest array that is pooled


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 9)), max_size=25))
def test_no_two_live_arrays_share_memory(steps):
    """Arrays are made and dropped in any order; some live on only as a view."""
    live: list[np.ndarray] = []
    for size, as_view, drop in steps:
        array = pool.empty((size, LARGE), np.float32)
        array[...] = len(live)
        live.append(array[-1:, 1:] if as_view else array)
        if drop < len(live) - 1:
            live.pop(drop)
    for i, a in enumerate(live):
        assert len(np.unique(a)) == 1
        assert not any(np.shares_memory(a, b) for b in live[i + 1 :])


def test_a_dropped_buffer_is_used_again():
    pool.clear()
    first = pool.empty((3, LARGE), np.float32)
    place = first.ctypes.data
    second = pool.empty((3, LARGE), np.float32)
    assert second.ctypes.data != place
    del first
    assert pool.empty((3, LARGE), np.float32).ctypes.data == place


def test_what_nobody_uses_is_given_back_beyond_the_limit(monkeypatch):
    pool.clear()
    limit = pool._held + 8 * pool.SMALLEST
    monkeypatch.setattr(pool, "LARGEST_TOTAL", limit)
    for size in range(1, 9):
        pool.empty((size, LARGE), np.float32)  # dropped at once; of another size, so the next cannot use it
        assert pool._held <= limit + size * pool.SMALLEST
    assert pool._held <= limit  # 36 times the smallest, were they all kept


def test_a_large_result_goes_into_a_buffer_and_a_small_one_is_left_to_numpy():
    large = pool.out((2, LARGE), np.float32)
    assert large is not None
    assert (large.shape, large.dtype) == ((2, LARGE), np.float32)
    assert pool.out((3, 5), np.float64) is None


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (2, LARGE)])
def test_shapes_and_dtypes(shape):
    for dtype in (np.float32, np.float64):
        array = pool.empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)


def test_a_step_s_results_survive_the_next_step():
    """The engine's own use: what a caller keeps of one step is not written over by the next."""
    model = GPT(GPTConfig(vocab=61, d_model=32, layers=1, heads=4, positions=64), 0)
    index = np.random.default_rng(0).integers(0, 61, (32, 64))
    logits = model(index)
    kept = logits.array.copy()
    for _ in range(3):
        model.loss(index[:, ::-1], index).backward()
    np.testing.assert_array_equal(logits.array, kept)
