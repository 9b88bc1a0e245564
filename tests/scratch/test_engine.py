"""The simple path stands alone: short, and with nothing of what makes it fast."""

from __future__ import annotations

import ast
from pathlib import Path

import bestguess.scratch.engine

ENGINE = Path(bestguess.scratch.engine.__file__).parent
FILES = sorted(ENGINE.glob("*.py"))


def test_the_simple_path_is_short():
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 600


def test_the_simple_path_imports_numpy_and_itself_alone():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                assert name.startswith("bestguess.scratch.engine") or name.split(".")[0] in {
                    *("__future__", "collections", "contextlib", "dataclasses", "math", "numpy", "typing")
                }, f"{path.name} imports {name}"


def test_backward_is_what_the_first_page_promises():
    tree = ast.parse((ENGINE / "node.py").read_text())
    (backward,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "backward"]
    assert backward.end_lineno - backward.lineno < 20
