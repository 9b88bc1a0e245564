"""The documentation of Python's own library: natural text that every machine has, without a network.

Three texts of the running Python: the prose of each docstring, that of each language topic of `help()`, and, as pairs,
each function's signature and the first paragraph of its docstring. Other versions of Python have other texts: the
corpus's hash tells them apart.
"""

from __future__ import annotations

import ast
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bestguess import files
from bestguess.command import UserError
from bestguess.text.corpora.documents import Documents, cleaned

NAMES = ("docstrings", "signatures")
"""Raw prose; pairs of a signature and what the function is said to do."""
LEAST_WORDS = 4
_LEFT_OUT = {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
_TOPICS = "pydoc_data/topics.py"
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

_BLANK = re.compile(r"\n\s*\n")
_ITEM = re.compile(r"(?:[-*+•]|\(?\w{1,2}[.)])\s")
_DROPPED = re.compile(
    r"^(>>>|\.\.\.|\$ |\.\. |[:@]\w|[|+=~^_#*-]{3,}|[+|].*[+|]$)"  # a session, a directive, a field, a rule, a table
    r"|^[\w.]+\(.*\)( *->.*)?:?$|^\w[\w.]* ::="  # a call by itself, a rule of the grammar
    r"|  +\S+  +\S|\t\S"  # columns
)


def read_docstrings(name: str) -> Documents:
    """Return the documents of one of NAMES, each text once, by file: `origin` is the module's path.

    A topic of `help()` is a file of its own. Paragraphs of sessions, code, tables and fewer than four words are left
    out; prose is one line a paragraph, with an empty line between paragraphs. Paragraphs that stand in several places
    are kept where they come first. Raises UserError where this Python has no source files.
    """
    paired = name == "signatures"
    texts, skipped = _pairs() if paired else _prose()
    if not texts:
        raise UserError(f"--corpus {name}: this Python comes without the source files of its library; give a file")
    places = [one for _, one in texts.values()]
    return Documents(
        list(texts),
        [target for target, _ in texts.values()] if paired else None,
        [one.path for one in places],
        [one.name for one in places],
        skipped,
    )


def _prose() -> tuple[dict[str, tuple[str, _Found]], dict[str, int]]:
    """Each docstring's prose, without paragraphs that came before, and where it stands."""
    texts: dict[str, tuple[str, _Found]] = {}
    seen: set[str] = set()
    skipped = {"without prose": 0, "again": 0}
    for one in _documented():
        paragraphs = dict.fromkeys(prose(one.docstring))
        fresh = [paragraph for paragraph in paragraphs if paragraph not in seen]
        seen.update(fresh)
        if fresh:
            texts["\n\n".join(fresh)] = ("", one)
        else:
            skipped["again" if paragraphs else "without prose"] += 1
    return texts, skipped


def _pairs() -> tuple[dict[str, tuple[str, _Found]], dict[str, int]]:
    """Each signature, with its docstring's first paragraph and where it stands."""
    texts: dict[str, tuple[str, _Found]] = {}
    skipped = {"without prose": 0, "again": 0}
    for one in _documented():
        if not one.signature:
            continue
        first = prose(_BLANK.split(inspect.cleandoc(one.docstring))[0])
        if not first:
            skipped["without prose"] += 1
        elif one.signature in texts:
            skipped["again"] += 1
        else:
            texts[one.signature] = (first[0], one)
    return texts, skipped


def prose(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring that are prose, each of them one line, or one for each item of a list."""
    paragraphs = _BLANK.split(inspect.cleandoc(docstring))
    return [text for text in map(_paragraph, paragraphs) if len(text.split()) >= LEAST_WORDS]


def _paragraph(text: str) -> str:
    """The paragraph with its lines joined, or an empty text if it is none of prose."""
    lines = [line.strip() for line in text.splitlines()]
    if any(_DROPPED.search(line) for line in lines):
        return ""
    joined = ""
    for line in lines:
        joined += ("\n" if _ITEM.match(line) else " ") * bool(joined) + line
    letters = sum(one.isalpha() for one in joined)
    marks = sum(not one.isalnum() and not one.isspace() for one in joined)
    prosaic = letters > 4 * marks and any(one.islower() for one in joined)
    return cleaned(re.sub(r"[ \t]+", " ", joined)) if prosaic else ""


class _Found(NamedTuple):
    """Something with a docstring. A topic's file is the file and the topic."""

    path: str
    name: str
    signature: str
    """Of a function; else an empty text."""
    docstring: str


@cache
def _documented() -> list[_Found]:
    """Everything of the library that has a docstring, then the topics; without files of another Python's syntax."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[_Found] = []
    topics: list[_Found] = []
    for path in files.files_in(root, _LEFT_OUT) if root.is_dir() else []:
        if path.suffix != ".py":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in texts
            try:
                module = ast.parse(files.read_bytes(path))
            except (SyntaxError, ValueError, RecursionError):
                continue
        name = path.relative_to(root).as_posix()
        found += _of_module(name, module)
        if name == _TOPICS:
            topics = _of_topics(module)
    return found + topics


def _of_module(path: str, module: ast.Module) -> Iterator[_Found]:
    """In the order of the source."""
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, _WITH_DOCSTRING) and (docstring := ast.get_docstring(node, clean=False)):
            signature = ""
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                signature = f"{name}({ast.unparse(node.args)}){returns}"
            yield _Found(path, name, signature, docstring)
        inside: list[tuple[str, ast.AST]] = []
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inside.append((f"{name}.{child.name}".strip("."), child))
            else:
                inside.append((name, child))
        waiting += reversed(inside)


def _of_topics(module: ast.Module) -> list[_Found]:
    values = [one.value for one in module.body if isinstance(one, ast.Assign) and isinstance(one.value, ast.Dict)]
    texts = [pair for value in values for pair in ast.literal_eval(value).items()]
    return [_Found(f"{_TOPICS}#{topic}", topic, "", text) for topic, text in texts]
