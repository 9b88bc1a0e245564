"""Charts in fewer bytes look and read the same."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

from bestguess.report.charts import Chart, Heatmap, Line
from bestguess.report.compact import compact_figure, compact_svg
from bestguess.report.render import to_plotly, to_svg


def read(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).astype(np.float64)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.0, 2.0, 127.0], "i1"),
        ([1.0, 300.0], "i2"),
        ([-70_000.0, 1.0], "i4"),
        ([0.5, float("nan"), 2.0], "f4"),
        ([1.0, float("inf")], "f4"),
        ([3e-9, 4.0], "f4"),
        ([0.1, 0.1], "f8"),  # no extent to lose within
        ([1e9 + 0.1, 1e9 + 0.2], "f8"),  # a 32-bit number would make one of both
    ],
)
def test_numbers_take_the_smallest_type_that_shows_the_same(values, dtype):
    first = {"y": {"dtype": "f8", "bdata": base64.b64encode(np.array(values).tobytes()).decode()}}
    array = json.loads(compact_figure(json.dumps(first)))["y"]
    assert array["dtype"] == dtype
    np.testing.assert_allclose(read(array), values, rtol=1e-7)


def test_a_figure_keeps_its_shape_and_its_words_and_is_no_longer_after_twice():
    drawn = to_plotly(Chart("a </script> \\u002f", "x", "y", [Heatmap([[1.0, 2.5], [0.2, 0.3], [7.0, 8.0]])]))
    text = compact_figure(drawn.to_json())
    assert "<" not in text
    assert compact_figure(text) == text
    told = json.loads(text)
    assert told["layout"] == json.loads(drawn.to_json())["layout"]
    assert told["data"][0]["z"]["shape"] == "3, 2"
    np.testing.assert_allclose(read(told["data"][0]["z"]), [1, 2.5, 0.2, 0.3, 7, 8], rtol=1e-7)


@pytest.fixture(scope="module")
def stills():
    """An SVG with curves, labels of every kind and a picture within, and its compact form."""
    chart = Chart(
        "T", "x < 1", "y", [Line([1, 2, 3], [1e-3, 2, 3], name="a & b"), Line([1, 2, 3], [1, 5, 9])], log_y=True
    )
    heat = Chart("H", "key", "query", [Heatmap(np.arange(12.0).reshape(3, 4))])
    return [(svg, compact_svg(svg)) for svg in map(to_svg, (chart, heat))]


def test_a_still_has_the_same_words_and_as_many_marks_in_fewer_bytes(stills):
    for svg, compact in stills:
        first, second = svg.decode(), compact.decode()
        assert len(second) < 0.7 * len(first)
        for mark in ("path", "use", "text", "image", "clipPath"):
            assert len(re.findall(f"<{mark}[ >]", first)) == len(re.findall(f"<{mark}[ >]", second))
        words = [re.findall(r"<text[^>]*>(.*?)</text>", text, re.S) for text in (first, second)]
        assert [re.sub(r"<[^>]*>|\s", "", word) for word in words[0]] == [
            re.sub(r"<[^>]*>|\s", "", word) for word in words[1]
        ]
        assert compact_svg(compact) == compact


def test_what_a_still_refers_to_is_in_it(stills):
    for _, compact in stills:
        text = compact.decode()
        names = re.findall(r' id="([^"]*)"', text)
        assert len(names) == len(set(names)) > 0
        assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', text)) == set(names)
        classes = set(re.findall(r' class="([^"]*)"', text))
        assert classes == set(re.findall(r"\.(c\d+)\{", text))


def test_coordinates_move_by_less_than_a_hundredth_of_a_point(stills):
    for svg, compact in stills:
        first, second = (
            [float(n) for path in re.findall(r' d="([^"]*)"', text.decode()) for n in re.findall(r"-?[\d.]+", path)]
            for text in (svg, compact)
        )
        assert len(first) > 20
        np.testing.assert_allclose(second, first, atol=0.005001)
