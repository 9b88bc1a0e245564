"""A number that remembers: each node's backward called once, whatever the graph; clear errors where it cannot be."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.scratch import bugs
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import no_grad, topological_order
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import layers as fast
from bestguess.scratch.fast.gpt import FastGPT
from bestguess.scratch.graph import count_paths


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_a_diamond_adds_both_ways_and_calls_each_node_once():
    a = leaf(3.0)
    b = a * 2.0
    left, right = b * b, b + 5.0
    end = left * right
    assert end.backward() == 4
    # d/da (4a²)(2a + 5) = 24a² + 40a
    assert a.grad == pytest.approx(24 * 9 + 40 * 3)


def test_a_value_used_again_and_again_gets_all_its_gradients():
    a = leaf(2.0)
    y = a * a * a + a + a
    y.backward()
    assert a.grad == pytest.approx(3 * 4 + 2)
    (a * a).backward()  # gradients of leaves add up over graphs, until zero_grad
    assert a.grad == pytest.approx(3 * 4 + 2 + 4)


def test_a_chain_of_10_000_nodes_needs_no_recursion():
    a = leaf(1.0)
    y = a
    for _ in range(10_000):
        y = y + 1e-4
    assert y.backward() == 10_000
    assert a.grad == 1.0
    assert y.item() == pytest.approx(2.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.sampled_from("+*-")), min_size=1, max_size=9))
def test_the_number_of_calls_is_the_number_of_nodes_on_any_graph(steps):
    """Random graphs: each step joins two earlier values. Paths are counted apart, by walking every one."""
    a, b = leaf(0.5), leaf(-0.3)
    values = [a, b]
    for i, j, op in steps:
        x, y = values[i % len(values)], values[j % len(values)]
        values.append(x + y if op == "+" else x * y if op == "*" else x - y)
    end = values[-1]
    nodes = reachable(end)
    paths = count_paths(end)
    assert len(topological_order(end)) == nodes
    assert end.backward() == nodes
    right = None if a.grad is None else a.grad.copy()
    a.grad = None
    with bugs.bug("no-sort"):
        assert end.backward() == paths
    assert (right is None and a.grad is None) or np.allclose(a.grad, right)


def reachable(end: Tensor) -> int:
    seen: set[int] = set()
    stack = [end]
    while stack:
        node = stack.pop()
        if node.parents and id(node) not in seen:
            seen.add(id(node))
            stack += node.parents
    return len(seen)


@pytest.mark.parametrize("kind", [GPT, FastGPT])
def test_a_gpt_calls_each_of_its_nodes_once(kind):
    model = kind(GPTConfig(vocab=7, d_model=6, layers=2, heads=3, positions=5), 0)
    loss = model.loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    nodes = reachable(loss)
    assert loss.backward() == nodes


def test_a_second_backward_adds_the_same_again():
    """The gradients of results are those of one walk, the gradients of leaves add up until they are set to None."""
    a = leaf(2.0)
    b = a * a
    y = b * 3.0
    for times in (1, 2, 3):
        y.backward()
        assert (a.grad, b.grad) == (12.0 * times, 3.0)
    (b * 2.0).backward()  # a part that another graph has used
    assert a.grad == 36.0 + 8.0


# Values that cannot change under an operation


@pytest.mark.parametrize(
    "use",
    [
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: b**3 + a,
        lambda a, b: b.log() * a.exp(),
        lambda a, b: b.tanh() / a.sqrt(),
        lambda a, b: b.reshape(1, 2) @ a.reshape(2, 1),
        lambda a, b: (b - a).relu() + abs(b),
        lambda a, b: a.softmax() * b.max(),
        lambda a, b: fast.gelu(b) + a,
        lambda a, b: fast.linear(a.reshape(1, 2), (b * a).reshape(2, 1), b[:1]),
        lambda a, b: fast.layer_norm(a.reshape(1, 2), b, a),
        lambda a, b: fast.feed_forward(a.reshape(1, 2), b.reshape(2, 1), b[:1], a.reshape(1, 2), b, a.reshape(1, 2)),
    ],
)
def test_new_values_between_forward_and_backward_change_no_gradient(use):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    use(a, b).sum().backward()
    expected = [a.grad, b.grad]
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = use(a, b).sum()
    a.data, b.data = np.array([7.0, 8.0]), np.array([-5.0, 6.0])
    y.backward()
    np.testing.assert_array_equal([a.grad, b.grad], expected)


def test_nothing_that_a_graph_holds_can_be_written_to():
    source = np.array([1.0, 2.0])
    a = Tensor(source, requires_grad=True)
    source[0] = 9.0  # a tensor copies its numbers
    y = a + a
    y.sum().backward()
    for array in (a.data, y.data, a.grad, y.grad, a.reshape(2, 1).data, np.asarray(a)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 5.0
    a.data = a.data - 0.1 * a.grad
    assert a.data.tolist() == [0.8, 1.8]


# What a learner tries


def test_a_tensor_is_an_array_to_numpy():
    a = leaf(1.0, 2.0)
    assert np.asarray(a).dtype == np.float64
    assert np.array(a, np.float32).tolist() == [1.0, 2.0]
    assert np.mean(np.asarray(a)) == 1.5
    assert [row.item() for row in a] == [1.0, 2.0]
    assert len(a) == 2
    assert Tensor(a).data.tolist() == [1.0, 2.0]
    assert Tensor(a).dtype == np.float64


def test_a_single_value_is_true_or_false_and_several_are_neither():
    assert leaf(2.0)
    assert not leaf(0.0)
    assert Tensor(np.array(3.0))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf(1.0, 2.0))


def test_shapes_may_be_tuples_and_axes_too():
    a = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert a.reshape((6,)).shape == a.reshape([6]).shape == a.reshape(6).shape == a.reshape(-1).shape == (6,)
    assert a.transpose((1, 0)).shape == a.transpose(1, 0).shape == a.T.shape == (3, 2)
    (a.T @ a).sum().backward()
    assert a.grad.shape == (2, 3)
    assert Tensor(np.array(2.0)).T.item() == 2.0


def test_softmax_relu_and_abs():
    a = leaf(-1.0, 0.0, 1000.0)
    assert a.relu().data.tolist() == [0.0, 0.0, 1000.0]
    assert abs(a).data.tolist() == [1.0, 0.0, 1000.0]
    assert a.softmax().data.tolist() == [0.0, 0.0, 1.0]
    a.relu().sum().backward()
    assert a.grad.tolist() == [0.0, 0.0, 1.0]


# Errors


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Tensor([1.0]).backward(), ValueError, "depends on no tensor"),
        (lambda: (leaf(1.0, 2.0) * 2.0).backward(), ValueError, r"shape \(2,\)"),
        (lambda: (leaf(1.0, 2.0) * 2.0).backward(np.ones(3)), ValueError, r"shape \(2,\) needs a gradient of that"),
        (lambda: Tensor([1, 2], dtype=np.int64), TypeError, "int64"),
        (lambda: leaf(1.0) + Tensor([1.0]), TypeError, "float64 and float32"),
        (lambda: leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0), ValueError, r"\(2,\) \(3,\)"),
        (lambda: leaf(1.0, 2.0) @ leaf(1.0, 2.0), ValueError, "matmul takes"),
        (lambda: leaf(1.0, 2.0).reshape(3), ValueError, r"size 2 into shape \(3,\)"),
        (lambda: leaf(1.0, 2.0).transpose(1, 0), ValueError, "axes"),
        (lambda: leaf(1.0, 2.0)[5], IndexError, "out of bounds"),
        (lambda: leaf(1.0) ** leaf(2.0), TypeError, "plain number"),
    ],
)
def test_what_is_off_is_told(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_no_grad_remembers_nothing_and_ends_with_its_block():
    a = leaf(1.0)
    with no_grad():
        assert not (a * 2.0).requires_grad
    assert (a * 2.0).requires_grad
    assert not a.detach().requires_grad


def test_the_graph_is_freed_without_the_garbage_collector():
    a = leaf(1.0, 2.0)
    gc.disable()
    try:
        middle = a * 3.0
        seen = weakref.ref(middle)
        end = (middle + 1.0).sum()
        del middle
        end.backward()
        assert seen() is not None
        del end
        assert seen() is None
    finally:
        gc.enable()


def test_dtypes():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.array([1.0])).dtype == np.float64
    assert (Tensor([1.0]) * 2.0).dtype == np.float32
    assert (np.float64(2.0) * Tensor([1.0])).dtype == np.float32
