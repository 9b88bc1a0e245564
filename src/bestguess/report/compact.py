"""The charts of a page in fewer bytes: matplotlib's SVG and Plotly's JSON, without what no reader can see."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Any

import numpy as np

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_DECIMALS = 2  # of a coordinate, in points of 1/72 inch
_COORDINATES = ("d", "x", "y", "width", "height", "points", "viewBox", "transform")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"(?<=^#).+|(?<=url\(#)[^)]+")
# The types of number that Plotly reads, smallest first.
_TYPES = ("i1", "i2", "i4", "f4")
_PRECISION = 1e-6  # of the extent of a series' values; a pixel is a thousandth


def compact_svg(svg: bytes) -> bytes:
    """Return a figure that matplotlib wrote as SVG in about a quarter of the bytes, to be looked at, not to be edited.

    Coordinates keep 2 decimals of a point, a style that several elements share becomes a class, and what is not
    drawn goes: metadata, white space, groups that only bear a name. Twice does no more than once.
    """
    root = ET.fromstring(svg)
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    values = (value for element in root.iter() for value in element.attrib.values())
    used = dict.fromkeys(name for value in values for name in _REFERENCE.findall(value))
    names = {name: f"n{number}" for number, name in enumerate(used)}
    for element in root.iter():
        if element.get("id") not in names:
            element.attrib.pop("id", None)
        shorter = {key: _shorter(key, value, names) for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({key: value for key, value in shorter.items() if value})
    _share_styles(root)
    _unwrap(root)
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("xlink", _XLINK[1:-1])
    return ET.tostring(root)


def _shorter(key: str, value: str, names: dict[str, str]) -> str:
    """Return an attribute's value with short names and few decimals."""
    if key == "id":
        return names[value]
    if value.startswith("data:"):
        return value
    value = _REFERENCE.sub(lambda found: names[found[0]], value)
    # A factor of a scale is no coordinate.
    if key in _COORDINATES and "scale" not in value and "matrix" not in value:
        value = re.sub(r"\s*rotate\(-?0 [^)]*\)", "", value)
        value = _NUMBER.sub(lambda found: f"{float(found[0]):.{_DECIMALS}f}".rstrip("0").rstrip("."), value)
    if key == "d":
        value = re.sub(r"\s*([A-Za-z])\s*", r"\1", value.strip())
    return value


def _share_styles(root: ET.Element) -> None:
    """Make each style that stands at two elements or more a class of the style sheet."""
    counts = Counter(element.attrib["style"] for element in root.iter() if "style" in element.attrib)
    classes = {style: f"c{n}" for n, style in enumerate(style for style, count in counts.items() if count > 1)}
    if not classes:
        return
    for element in root.iter():
        if element.get("style") in classes:
            element.set("class", classes[element.attrib.pop("style")])
    sheet = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    (style,) = root.iter(f"{_SVG}style")
    style.text = (style.text or "") + sheet


def _unwrap(element: ET.Element) -> None:
    """Replace groups without attributes by what they hold, and drop white space between elements."""
    if element.tag == f"{_SVG}text":
        return
    children = []
    for child in element:
        _unwrap(child)
        child.tail = None
        children += list(child) if child.tag == f"{_SVG}g" and not child.attrib else [child]
    if len(element):
        element.text = None
    element[:] = children


def compact_figure(text: str) -> str:
    """Return Plotly's JSON of a figure with its arrays in the smallest type that no reader can tell from the first.

    text: JSON, in which an array of numbers is {"dtype": "f8", "bdata": base64, perhaps "shape"}. No "<" is left in
    what is returned, so that it cannot end the script element that holds it.
    """
    return json.dumps(json.loads(text, object_hook=_narrow), separators=(",", ":")).replace("<", "\\u003c")


def _narrow(found: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a figure's JSON, with fewer bytes a number if it is an array of 64-bit numbers."""
    if found.get("dtype") not in ("f8", "i8"):
        return found
    values = np.frombuffer(base64.b64decode(found["bdata"]), np.dtype(found["dtype"]).newbyteorder("<"))
    finite = values[np.isfinite(values)]
    for dtype in _TYPES:
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = values.astype(f"<{dtype}")
        error = np.abs(narrow.astype(np.float64)[np.isfinite(values)] - finite)
        if dtype != "f4":
            same = bool(len(finite) == len(values) and not error.any())
        else:
            same = bool(not len(finite) or error.max() <= _PRECISION * np.ptp(finite))
        if same:
            return found | {"dtype": dtype, "bdata": base64.b64encode(narrow.tobytes()).decode()}
    return found
