"""The documentation of Python's own library as a corpus."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from bestguess.command import UserError
from bestguess.text.corpora import docstrings
from bestguess.text.corpora.docstrings import prose, read_docstrings

DOCSTRING = """Return the first thing that
    is found, or None.

    Usage:

        thing = find(1)

    >>> find(1)  # this is a session with more words
    1

    :param one: the first of the things that there are
    :return: nothing at all, since it is lost

    find(one, two) -> thing

    ======  =========
    one     the first
    ======  =========

    A list of what there is to be said:
    - the first of them
      goes on here
    - the second one

    x = {1: 2}; y = [a, b]; z = (c, d); e = f[g][h]

    Too short.
    """


def test_prose_is_what_is_left_without_sessions_code_tables_and_short_lines():
    assert prose(DOCSTRING) == [
        "Return the first thing that is found, or None.",
        "A list of what there is to be said:\n- the first of them goes on here\n- the second one",
    ]


MODULES = {
    "one.py": """
'''The module one does what the others do not.'''
class A:
    '''A class with a docstring of its own.

    This paragraph is in two places at once.'''
    def f(self, x: int, *, y=3) -> int:
        '''Return the sum of x and y as it is.

        More about this function is said here.'''
        def inside(): '''Short.'''
async def g(): '''Wait for as long as it takes.'''
""",
    "pkg/two.py": """
def h(): '''This paragraph is in two places at once.'''
def i(): pass
def h(): '''Another one of the very same signature.'''
""",
    "pydoc_data/topics.py": "topics = {'if': 'The if statement is used for conditional execution.', 'x': 'No words'}",
    "damaged.py": "def f(:",
    "latin.py": "# coding: latin-1\n'''Das Ärgernis ist größer als die Freude.'''",
    "test/left_out.py": "'''This one is left out of the corpus.'''",
    "idlelib/left_out.py": "'''This one is left out of the corpus too.'''",
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small standard library in place of the real one."""
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(docstrings.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    docstrings._documented.cache_clear()
    yield tmp_path
    docstrings._documented.cache_clear()


def test_docstrings_in_the_order_of_the_source_each_paragraph_once(library):
    found = read_docstrings("docstrings")
    assert list(zip(found.origin, found.name, found.source)) == [
        ("latin.py", "", "Das Ärgernis ist größer als die Freude."),
        ("one.py", "", "The module one does what the others do not."),
        (
            "one.py",
            "A",
            "A class with a docstring of its own.\n\nThis paragraph is in two places at once.",
        ),
        ("one.py", "A.f", "Return the sum of x and y as it is.\n\nMore about this function is said here."),
        ("one.py", "g", "Wait for as long as it takes."),
        ("pkg/two.py", "h", "Another one of the very same signature."),
        ("pydoc_data/topics.py#if", "if", "The if statement is used for conditional execution."),
    ]
    assert found.target is None
    assert found.skipped == {"without prose": 2, "again": 1}


def test_signatures_and_the_first_paragraph(library):
    found = read_docstrings("signatures")
    assert found.target is not None
    assert list(zip(found.source, found.target)) == [
        ("A.f(self, x: int, *, y=3) -> int", "Return the sum of x and y as it is."),
        ("g()", "Wait for as long as it takes."),
        ("h()", "This paragraph is in two places at once."),
    ]
    assert found.skipped == {"without prose": 1, "again": 1}
    assert found.origin == ["one.py", "one.py", "pkg/two.py"]


@pytest.mark.parametrize("name", docstrings.NAMES)
def test_a_python_without_source_files_is_one_line(library, monkeypatch, name):
    monkeypatch.setattr(docstrings.sysconfig, "get_paths", lambda: {"stdlib": str(library / "none")})
    docstrings._documented.cache_clear()
    with pytest.raises(UserError, match=f"--corpus {name}: this Python comes without the source files"):
        read_docstrings(name)


def test_the_library_of_this_python_is_a_corpus(monkeypatch):
    """A sixth of it, to be fast."""
    all_files = docstrings.files.files_in
    monkeypatch.setattr(docstrings.files, "files_in", lambda *given: [*sixth(*given), *topics(*given)])

    def sixth(*given: Any) -> list[Path]:
        own = [path for path in all_files(*given) if path.suffix == ".py" and "site-packages" not in path.parts]
        return own[::6]

    def topics(*given: Any) -> list[Path]:
        return [path for path in all_files(*given) if path.parts[-2:] == ("pydoc_data", "topics.py")]

    docstrings._documented.cache_clear()
    found, pairs = read_docstrings("docstrings"), read_docstrings("signatures")
    docstrings._documented.cache_clear()
    paragraphs = [paragraph for text in found.source for paragraph in text.split("\n\n")]
    assert len(found) > 400
    assert len(set(paragraphs)) == len(paragraphs) > 1_500
    assert min(len(paragraph.split()) for paragraph in paragraphs) >= docstrings.LEAST_WORDS
    assert not [text for text in paragraphs if text.startswith(">>>")]
    assert not {one.split("/")[0] for one in found.origin} & {"test", "idlelib", "lib2to3", "site-packages"}
    assert "pydoc_data/topics.py#assert" in found.origin
    assert 200 < len(set(pairs.source)) == len(pairs)
    for signature in pairs.source[::7]:
        name, _, arguments = signature.partition("(")
        ast.parse(f"def {name.rpartition('.')[2]}({arguments}: pass")
