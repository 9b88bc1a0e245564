"""The code of the pages runs: a family of its own package, and predictors of another framework."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"

SWEEP = """\
method: grid
parameters:
  family: {value: coins}
  task.prior: {values: [0.5, 1]}
  train.learning_rate: {values: [0.001, 0.003]}
  train.first_seed: {values: [0, 1]}
  train.steps: {value: 20}
  train.warmup_steps: {value: 5}
  train.validate_every: {value: 10}
"""


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def package(folder: Path, name: str, entry_points: str) -> None:
    """Make the folder a place where a distribution is installed: the entry points are found through its metadata."""
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def python(folder: Path, *argv: str) -> str:
    """Return the standard output of Python in a new process that sees the packages of the folder."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    }
    done = subprocess.run([sys.executable, *argv], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def coins(tmp_path):
    """A folder with the page's package installed in it."""
    code = blocks("add-a-task.md", "python")
    assert len(code) == 5
    module = "\n".join(code[:3])
    assert len([line for line in module.splitlines() if line.strip()]) < 60
    (tmp_path / "coins.py").write_text(module, encoding="utf-8")
    (tmp_path / "coins_family.py").write_text(code[3], encoding="utf-8")
    (tmp_path / "judging.py").write_text(code[4], encoding="utf-8")
    (toml,) = blocks("add-a-task.md", "toml")
    header, line = toml.strip().splitlines()
    group = re.fullmatch(r'\[project\.entry-points\."(.*)"\]', header)
    name, value = line.split(" = ")
    assert group
    package(tmp_path, "coins", f"[{group[1]}]\n{name} = {json.loads(value)}\n")
    return tmp_path


def test_a_family_of_another_package_is_listed_and_a_broken_one_takes_nothing_with_it(coins):
    package(coins, "broken", "[bestguess.families]\nbroken = broken_family:FAMILY\n")
    (coins / "broken_family.py").write_text("raise RuntimeError('half removed')\n", encoding="utf-8")
    overview = python(coins, "-m", "bestguess.cli", "--help")
    assert all(f"  coins {word}" in overview for word in ("train", "evaluate", "report"))
    assert "Coins of unknown bias compared with Laplace's rule:" in overview
    assert "  filters train" in overview
    assert "broken: cannot be loaded (RuntimeError: half removed)" in overview


@pytest.mark.slow
def test_a_family_of_another_package_is_trained_reported_swept_and_judged(coins):
    run = lambda *argv: python(coins, "-m", "bestguess.cli", *argv)  # noqa: E731
    few = ("--steps", "60", "--warmup-steps", "10", "--validate-every", "30")
    trained = json.loads(run("coins", "train", "--prior", "0.5", "1", *few, "--out", "runs/coins", "--json"))
    assert len(trained["runs"]) == 2
    again = json.loads(run("coins", "evaluate", "runs/coins", "--json"))
    assert [one["regret"] for one in again["runs"]] == [one["regret"] for one in trained["runs"]]
    (coins / "runs" / "coins" / "report.html").unlink()
    run("coins", "report", "runs/coins")
    assert "Laplace" in (coins / "runs" / "coins" / "report.html").read_text(encoding="utf-8")
    (coins / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    assert json.loads(run("sweep", "sweep.yaml", "--json"))["done"] == 8
    assert abs(float(python(coins, "judging.py"))) < 1e-4


@pytest.mark.slow
def test_predictors_of_another_framework_are_judged(tmp_path):
    pytest.importorskip("torch")
    code = "\n".join(blocks("judge.md", "python"))
    assert code.count("bestguess.judge(") == 2
    (tmp_path / "judged.py").write_text(re.sub(r"steps=\d+", "steps=20", code), encoding="utf-8")
    printed = python(tmp_path, "judged.py").splitlines()
    assert len(printed) == 2
    assert all(re.search(r"regret \S+ ± \S+, skill -?\d", line) for line in printed)
    assert (tmp_path / "lstm.html").exists()


def test_the_pages_import_public_names_alone():
    imported = [
        found
        for page in ("add-a-task.md", "judge.md")
        for found in re.findall(r"^from (bestguess\S*) import (.*)$", "\n".join(blocks(page, "python")), re.MULTILINE)
    ]
    assert imported
    for module, names in imported:
        assert not re.search(r"(^|[\s.,])_", f"{module} {names}")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_every_command_of_a_page_works_in_a_checkout(page):
    """There `bestguess` alone is not found, and no index has the package."""
    text = page.read_text(encoding="utf-8")
    code = [line for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert [line for line in code if re.match(r"\s*(\w+=\S+ )*bestguess ", line)] == []
    assert not re.search(r"pip install (-\S+ )*'?bestguess", text)
