"""Work shared among threads: every slice once, an error reaches the caller, and the same figures as in one thread."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import layers, threads


@pytest.fixture
def three(monkeypatch):
    """Three threads, whatever the environment says, and work enough for each in anything."""
    monkeypatch.setattr(threads, "threads", lambda: 3)
    monkeypatch.setattr(threads, "LEAST", 1)
    threads._tasks.cache_clear()
    yield
    threads._tasks.cache_clear()


@pytest.mark.parametrize(
    ("environment", "granted"),
    [({}, 1), ({"OMP_NUM_THREADS": "3"}, 3), ({"OPENBLAS_NUM_THREADS": "2"}, 2), ({"OMP_NUM_THREADS": "4,2"}, 4),
     ({"OMP_NUM_THREADS": "many", "OPENBLAS_NUM_THREADS": "2"}, 2), ({"OMP_NUM_THREADS": "0"}, 1)],
)  # fmt: skip
def test_threads_are_those_granted_to_blas(monkeypatch, environment, granted):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert threads.threads.__wrapped__() == granted


@pytest.mark.parametrize(("count", "numbers", "parts"), [(7, 100, 3), (2, 100, 2), (7, 2, 2), (7, 1, 1), (1, 100, 1)])
def test_the_slices_are_all_there_once(three, count, numbers, parts):
    done = []
    threads.over(count, numbers, done.append)
    assert len(done) == parts
    assert sorted(i for part in done for i in range(count)[part]) == list(range(count))


def test_the_slices_run_side_by_side(three):
    meet = threading.Barrier(3, timeout=20)  # none gets on before all have come
    threads.over(3, 3, lambda part: meet.wait())


def test_an_error_in_a_thread_reaches_the_caller(three):
    def work(part):
        if part.start:
            raise FloatingPointError("of the second slice")

    with pytest.raises(FloatingPointError, match="of the second slice"):
        threads.over(5, 5, work)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (lambda x: layers.causal_attention(x, 2), [(7, 41, 3 * 10)]),
        (layers.linear, [(7, 41, 5), (5, 11), (11,)]),
        (layers.linear, [(7, 41, 5), (5, 11), (11,), (7, 41, 11)]),
        (layers.gelu, [(7, 41)]),
        (layers.feed_forward, [(7, 41, 5), (5, 11), (11,), (11, 5), (5,), (7, 41, 5)]),
    ],
    ids=["attention", "linear", "linear onto a stream", "gelu", "feed-forward"],
)
def test_a_layer_is_the_same_in_any_number_of_threads(three, monkeypatch, layer, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    parts = []
    over = threads.over

    def watched(count, numbers, work):
        parts.append(len(results := over(count, numbers, work)))
        return results

    monkeypatch.setattr(threads, "over", watched)

    def both():
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        y = layer(*tensors)
        y.backward(np.random.default_rng(1).standard_normal(y.shape))
        return [y.data, *[t.grad for t in tensors]]

    shared = both()
    assert parts == [3, 3]  # forward, backward
    monkeypatch.setattr(threads, "threads", lambda: 1)
    for ours, alone in zip(shared, both(), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-12, atol=1e-12)
    assert parts == [3, 3, 1, 1]


def test_results_come_in_the_order_of_the_slices(three):
    third = threading.Event()

    def work(part):
        if part.start == 4:
            third.set()
        if part.start == 2:
            assert third.wait(timeout=20)  # so the second ends last
        return part.start

    assert threads.over(7, 7, work) == [0, 2, 4]
