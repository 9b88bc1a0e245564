"""A number that remembers: each node's backward called once, whatever the graph; clear errors where it cannot be."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.scratch import bugs, fused
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.graph import count_paths
from bestguess.scratch.node import GraphError, no_grad, topological_order
from bestguess.scratch.ops import Tensor


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
    assert end.backward(keep_graph=True) == nodes
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


@pytest.mark.parametrize("kernels", ["fused", "primitive"])
def test_a_gpt_calls_each_of_its_nodes_once(kernels):
    model = GPT(GPTConfig(vocab=7, d_model=6, layers=2, heads=3, positions=5), 0, kernels)
    loss = model.loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    nodes = reachable(loss)
    assert loss.backward() == nodes


# Errors


def test_a_second_backward_says_so():
    a = leaf(2.0)
    y = a * a
    y.backward()
    with pytest.raises(GraphError, match="second backward"):
        y.backward()


def test_keep_graph_allows_a_second_backward_and_shows_every_gradient():
    a = leaf(2.0)
    b = a * a
    y = b * 3.0
    y.backward(keep_graph=True)
    assert (a.grad, b.grad) == (12.0, 3.0)
    y.backward()
    assert a.grad == 24.0


def test_a_part_that_another_graph_has_used_says_so():
    a = leaf(2.0)
    shared = a * a
    (shared + 1.0).backward()
    with pytest.raises(GraphError, match="second backward"):
        (shared * 2.0).backward()


@pytest.mark.parametrize(
    ("use", "changes"),
    [
        (lambda a, b: a * b, "b"),
        (lambda a, b: a / b, "b"),
        (lambda a, b: b**3, "b"),
        (lambda a, b: b.log(), "b"),
        (lambda a, b: b.exp(), "result"),
        (lambda a, b: b.tanh(), "result"),
        (lambda a, b: b.sqrt(), "result"),
        (lambda a, b: b.reshape(1, 2) @ a.reshape(2, 1), "nothing"),
        (lambda a, b: fused.gelu(b), "b"),
        (lambda a, b: a + b, "nothing"),
    ],
)
def test_an_in_place_change_of_a_saved_value_is_an_error_and_of_another_is_none(use, changes):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = use(a, b)
    with no_grad():
        changed = y if changes == "result" else b
        changed[0] = 9.0
    if changes == "nothing":
        y.sum().backward()
    else:
        with pytest.raises(GraphError, match="changed in place"):
            y.sum().backward()


def test_an_in_place_change_where_a_gradient_is_wanted_is_an_error():
    a = leaf(1.0, 2.0)
    with pytest.raises(GraphError, match="no_grad"):
        a[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        a.data[0] = 5.0
    a.data = [3.0, 4.0]
    assert a.array.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Tensor([1.0]).backward(), GraphError, "depends on no tensor"),
        (lambda: (leaf(1.0, 2.0) * 2.0).backward(), GraphError, r"shape \(2,\)"),
        (lambda: (leaf(1.0, 2.0) * 2.0).backward(np.ones(3)), ValueError, r"\(3,\) for a tensor of shape \(2,\)"),
        (lambda: Tensor([1, 2], dtype=np.int64), TypeError, "int64"),
        (lambda: leaf(1.0) + Tensor([1.0]), TypeError, "float32 and float64"),
        (lambda: leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0), ValueError, r"\(2,\) and \(3,\) do not broadcast"),
        (lambda: leaf(1.0, 2.0) @ leaf(1.0, 2.0), ValueError, "matmul: shapes"),
        (lambda: leaf(1.0, 2.0).reshape(3), ValueError, "does not fill"),
        (lambda: leaf(1.0, 2.0).transpose(1, 0), ValueError, "no order of the 1 axes"),
        (lambda: leaf(1.0, 2.0)[5], IndexError, r"shape \(2,\)"),
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


def test_the_graph_is_freed_after_use_without_the_garbage_collector():
    a = leaf(1.0, 2.0)
    gc.disable()
    try:
        middle = a * 3.0
        seen = weakref.ref(middle)
        end = (middle + 1.0).sum()
        del middle
        assert seen() is not None
        end.backward()
        assert seen() is None
    finally:
        gc.enable()


def test_dtypes():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.array([1.0])).dtype == np.float64
    assert (Tensor([1.0]) * 2.0).dtype == np.float32
    assert (np.float64(2.0) * Tensor([1.0])).dtype == np.float32
