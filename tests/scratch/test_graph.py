"""Graphs drawn: values and gradients of expressions, the count of paths, and what is no expression."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bestguess.scratch import bugs
from bestguess.scratch.drawing import draw
from bestguess.scratch.graph import LAYERS, count_paths, expression, layer

AT = {"a": 2.0, "b": -3.0, "c": 5.0}


@pytest.mark.parametrize(
    ("text", "value", "gradients"),
    [
        ("a*b + c", -1, {"a": -3, "b": 2, "c": 1}),
        ("d = a*b + c; d*d - d", 2, {"a": 9, "b": -6, "c": -3, "d": -3}),
        ("-a + +a/b - c**2 * exp(0)", -2 - 2 / 3 - 25, {"a": -1 - 1 / 3, "b": -2 / 9, "c": -10}),
        ("exp(log(a)) + tanh(b*0) + sqrt(c - 1)", 4, {"a": 1, "b": 0, "c": 0.25}),
        ("relu(a) * abs(b) + relu(b) * c", 6, {"a": 3, "b": -2, "c": 0}),
    ],
)
def test_values_and_gradients(text, value, gradients):
    end, names = expression(text, AT)
    drawing = draw(end, names, text)
    assert drawing.value == pytest.approx(value)
    assert {n: names[n].grad.item() for n in names} == pytest.approx(gradients)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a +", "no expression"),
        ("a\0", "cannot be parsed|null bytes"),
        ("__import__('os').system('true')", "not among"),
        ("a.real", "not among"),
        ("a[0]", "not among"),
        ("(lambda: a)()", "not among"),
        ("[a for a in (1, 2)]", "not among"),
        ("f'{a}'", "not among"),
        ("exp(a, b)", "not among"),
        ("exp(x=a)", "not among"),
        ("True * a", "not among"),
        ("1j * a", "not among"),
        ("a @ b", "not among"),
        ("import os; a", "before the last part"),
        ("a = 3; a", "before the last part"),
        ("d = a", "gives no value"),
        ("a ** b", "exponent must be a number"),
        ("(0 - 8) ** 0.5 * a", "no real number"),
        ("x * a", "'x' has no value"),
        ("3 + 4", "no variable"),
        ("exp(3)", "no variable"),
        ("a", "computes nothing"),
        ("a * b", "c: given a value"),
        ("a*b*c / 0", "no finite value"),
        ("log(b)*a*c", "no finite value"),
        ("9 ** 9 ** 9 ** 9 * a", "no finite value"),
        ("10 ** 400 * a", "no finite value"),
        ("-" * 900 + "a", "901 characters; at most 300"),
        ("-" * 299 + "a", "b, c: given a value"),
        ("(" * 299, "no expression|cannot be parsed"),
        ("9" * 299 + "*a", "301 characters"),
    ],
)
def test_a_wrong_or_malicious_expression_is_one_line(text, said):
    with pytest.raises(ValueError, match=said) as error:
        expression(text, AT)
    assert "\n" not in str(error.value)


def test_a_gradient_that_is_not_finite_is_told():
    end, names = expression("sqrt(a - 2)", {"a": 2.0})
    with pytest.raises(ValueError, match="no finite gradient"):
        draw(end, names, "sqrt(a - 2)")


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_drawn_with_all_its_nodes(name):
    end, names = layer(name)
    drawing = draw(end, names, name)
    root = ET.fromstring(drawing.svg)
    boxes = [e for e in root.iter() if e.tag.endswith("rect") and e.get("class")]
    assert sum(e.get("class") == "op" for e in boxes) == drawing.nodes
    assert {e.text for e in root.iter() if e.get("class") == "name"} >= set(names)
    width, height = float(root.get("width")), float(root.get("height"))
    for box in boxes:
        assert 0 <= float(box.get("x")) <= width - float(box.get("width"))
        assert 0 <= float(box.get("y")) <= height - float(box.get("height"))
    places = [(box.get("x"), box.get("y")) for box in boxes]
    assert len(set(places)) == len(places)


def test_a_block_names_its_queries_keys_and_values():
    end, names = layer("block")
    root = ET.fromstring(draw(end, names, "block").svg)
    said = [e.text for e in root.iter() if e.get("class") == "name"]
    assert {"q = index", "k = index", "v = index", "scores = ×", "weights = softmax", "attention.qkv.weight"} <= set(
        said
    )
    arrows = [e for e in root.iter() if e.get("class") == "edge"]
    assert len(arrows) > 30
    assert "marker-end:url(#arrow)" in root.find("{*}style").text
    assert root.find("{*}defs/{*}marker").get("id") == "arrow"


def seconds(element, attribute):
    return [
        (float(e.get("begin")[:-1]), float(e.get("dur")[:-1]))
        for e in element.iter()
        if e.get("attributeName") == attribute
    ]


def test_a_walk_shows_values_forward_and_then_gradients_backward():
    text = "d = a*b + c; exp(d) + d"
    end, names = expression(text, AT)
    root = ET.fromstring(draw(end, names, text, walk=True).svg)
    appear, sent = {}, {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        said = [t.text for t in group.findall("{*}text")]
        name, ends = said[0], [start + dur for start, dur in seconds(group, "visibility")]
        if len(ends) == 2:  # a result's value, then its gradient
            appear[name], sent[name] = ends
            assert f"{round(ends[0] / 0.8)} →" in said
        else:
            (sent[name],) = ends
    assert sorted(appear, key=appear.get) == ["×", "d = +", "exp", "+"]
    assert max(appear.values()) < min(sent.values())
    assert sent["+"] < sent["exp"] < sent["d = +"] < sent["a"] == sent["b"]
    assert draw(*expression(text, AT), text).svg.count("<set") == 0


def test_text_is_escaped():
    end, names = expression("a*b", {"a": 1.0, "b": 2.0})
    assert "<script>" not in draw(end, names, "<script>").svg


def test_paths_are_what_a_recursion_walks():
    end, names = layer("attention")
    paths = count_paths(end)
    with bugs.bug("no-sort"):
        assert end.backward(np.ones(end.shape)) == paths
    chain = names["qkv"]
    for _ in range(40):
        chain = chain + chain
    assert count_paths(chain) == 2**40 - 1  # counted, not walked
