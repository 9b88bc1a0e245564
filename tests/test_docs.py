"""The pages' code runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.slow
def test_a_task_of_one_s_own_in_fewer_than_60_lines(tmp_path):
    """From an empty file to a trained, reported task, as the page says, with nothing but the page's code."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "add-a-task.md").read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks)
    assert len(blocks) == 3
    assert len([line for line in code.splitlines() if line.strip()]) < 60
    (tmp_path / "coins.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "coins.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"regret (\S+) ± (\S+) nats: (\S+)", done.stdout)
    assert found, done.stdout
    assert 0 < float(found[1]) < 0.002
    assert "Laplace" in (tmp_path / found[3]).read_text(encoding="utf-8")


def test_the_page_imports_public_names_alone():
    text = (DOCS / "add-a-task.md").read_text(encoding="utf-8")
    imported = re.findall(r"^from (bestguess\S*) import (.*)$", text, re.MULTILINE)
    assert imported
    for module, names in imported:
        assert not re.search(r"(^|[\s.,])_", f"{module} {names}")
