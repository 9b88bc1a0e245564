"""The pages of docs/scratch: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bestguess.cli import commands, parse

DOCS = Path(__file__).parents[2] / "docs"
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
