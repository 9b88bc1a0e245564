"""The pages of docs/scratch: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from bestguess.cli import commands, parse

DOCS = Path(__file__).parents[2] / "docs"
LEVEL1 = DOCS / "scratch" / "level1.py"
PAGES = [DOCS / "scratch.md", *sorted((DOCS / "scratch").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs(page):
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert snippets
    assert any("assert" in snippet for snippet in snippets)
    room: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), room)


def test_level_1_in_one_file_reaches_the_ceiling(capsys):
    """It stands alone: NumPy, and fewer than 150 lines."""
    source = LEVEL1.read_text()
    assert len(source.splitlines()) < 150
    assert re.findall(r"^(?:import|from) (.*)", source, re.MULTILINE) == ["numpy as np"]
    end = runpy.run_path(str(LEVEL1))
    assert (end["correct"], end["parameters"]) == (10, 4_624)
    assert 0 <= end["loss"].value.item() - 3 * np.log(3) / 48 < 0.002
    assert "10 of 12 right" in capsys.readouterr().out


def test_the_first_page_s_engine_is_that_of_the_file():
    """Page 1's class, with arrays in place of floats: the same constructor, and the same method names."""
    page = (DOCS / "scratch" / "1-a-number-that-remembers.md").read_text()
    for line in ("self.value, self.parents, self.backward, self.grad = ", "def __add__(self, other):", "class Number:"):
        assert line in page
        assert line in LEVEL1.read_text()


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_every_page_ends_in_an_exercise(page):
    text = page.read_text()
    assert "## Exercise" in text
    assert text.index("<details>") > text.index("## Exercise")


@every_page
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert links or page.stem == "bugs"
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@every_page
def test_every_command_that_a_page_names_exists(page):
    for line in re.findall(r"bestguess (scratch \w+[^`\n]*)", page.read_text()):
        words = line.split("#")[0].split()
        assert " ".join(words[:2]) in commands(), line
        flags = [w for w in words[2:] if w.startswith("--")]
        known = {f.replace("_", "-") for f in vars(parse(" ".join(words[:2]), [])[0])} | {"json"}
        assert {f[2:].partition("=")[0] for f in flags} <= known, line


def test_the_pages_are_a_way_without_gaps():
    text = PAGES[0].read_text()
    for page in PAGES[1:]:
        assert f"scratch/{page.name}" in text
