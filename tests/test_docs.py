"""The code of the pages runs: a family of its own package, and predictors of another framework."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bestguess import cli
from bestguess.command import UserError
from bestguess.sweep.shipped import shipped
from tests.hostile.cases import flags_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "experiments").rglob("*.md"))]

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


IN_TURN = """\
import contextlib, io, json, runpy, sys
from bestguess.cli import main
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(words) if len(words) > 1 else runpy.run_path(words[0], run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                raise
    said.append(out.getvalue())
print(json.dumps(said))
"""


def in_turn(folder: Path, *commands: list[str]) -> list[str]:
    """Return the standard output of each command of ours, or script, one after the other in a new process."""
    return json.loads(python(folder, "-c", IN_TURN, json.dumps(commands)))


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
    few = ("--steps", "60", "--warmup-steps", "10", "--validate-every", "30")
    train = ["coins", "train", "--prior", "0.5", "1", *few, "--out", "runs/coins", "--json"]
    trained, again = map(json.loads, in_turn(coins, train, ["coins", "evaluate", "runs/coins", "--json"]))
    assert len(trained["runs"]) == 2
    assert [one["regret"] for one in again["runs"]] == [one["regret"] for one in trained["runs"]]
    (coins / "runs" / "coins" / "report.html").unlink()
    (coins / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    report, sweep = ["coins", "report", "runs/coins"], ["sweep", "sweep.yaml", "--json"]
    _, swept, judged = in_turn(coins, report, sweep, ["judging.py"])
    assert "Laplace" in (coins / "runs" / "coins" / "report.html").read_text(encoding="utf-8")
    assert json.loads(swept)["done"] == 8
    assert abs(float(judged)) < 1e-4


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


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE):
        words = re.sub(r"\]\(.*?\)", "", heading).strip().lower()
        plain = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{plain}-{found.count(plain)}" if plain in found else plain)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    """To a file, and to a heading in it."""
    text = without_code(page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    dead = []
    for link in links:
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        if "://" not in link and not (there.exists() and (not anchor or anchor in anchors(there))):
            dead.append(link)
    assert not dead


def written_commands(page: Path) -> list[tuple[str, bool]]:
    """Return the shell commands of a page or a docstring, and whether each stands in a block of its own."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    if page.suffix == ".py":
        return [(line.strip(), True) for line in text.split('"""')[1].splitlines() if line.startswith("    uv run")]
    code = "".join(re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.DOTALL))
    found = [(part, True) for line in code.splitlines() for part in line.split(" #")[0].split("&&")]
    return found + [(inline, False) for inline in re.findall(r"`([^`\n]+)`", without_code(text))]


MENTIONED = re.compile(r"(\$ |uv run |--\S+ \S+ |python -m )*(bestguess|python) (.*)")
"""What runs a command of ours, or a script: `uv run --extra cuda bestguess …`, `python benchmarks/…`."""


def test_every_command_of_a_page_is_one_that_there_is():
    """With every flag of it, and the experiment or the script that it names; those in a block parse as they are."""
    wrong = []
    for page in [*PAGES, *(ROOT / "benchmarks").glob("*.py")]:
        for command, in_block in dict.fromkeys(written_commands(page)):
            found = MENTIONED.fullmatch(command.strip())
            if found is None or "coins" in command:
                continue
            words = [word for word in shlex.split(found[3]) if word != "…"]
            try:
                check = check_own if found[2] == "bestguess" else check_script
                check(["no-sort" if word == "NAME" else word for word in words], in_block)
            except (UserError, AssertionError) as error:
                wrong.append(f"{page.relative_to(ROOT)}: {command}: {error}")
    assert not wrong, "\n".join(wrong)


def check_own(words: list[str], in_block: bool) -> None:
    name = next((one for one in (" ".join(words[:2]), *words[:1]) if one in cli.commands()), None)
    if name is None or "--help" in words:
        assert set(words) <= {*cli.titles(), "--help"} or name, "no such command"
        return
    given = words[len(name.split()) :]
    if in_block:
        cli.parse(name, given)
    known = {"--json", "--preset", *flags_of(cli.commands()[name].flags_class())}
    asked = [word.partition("=")[0].replace("_", "-") for word in given if word.startswith("--")]
    unknown = {word for word in asked if word not in known and word.replace("--no-", "--") not in known}
    assert not unknown, f"no flag {unknown}"
    if name in ("sweep", "experiment") and given and re.fullmatch(r"(experiments/)?[a-z_]+(\.yaml)?", given[0]):
        assert Path(given[0]).stem in (*shipped(), "no-sort", "mine"), "no such experiment"


def check_script(words: list[str], in_block: bool) -> None:
    if not words or not words[0].startswith(("benchmarks/", "experiments/")):
        return
    assert (ROOT / words[0]).exists(), "no such script"
    text = "".join((ROOT / one).read_text(encoding="utf-8") for one in (words[0], *PARSED_IN))
    unknown = {word for word in words if word.startswith("--") and f'"{word}"' not in text}
    assert not unknown, f"no flag {unknown}"


PARSED_IN = "benchmarks/arguments.py", "benchmarks/side_by_side.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:src|docs|benchmarks|experiments|tests)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_every_command_of_a_page_works_in_a_checkout(page):
    """There `bestguess` alone is not found, and no index has the package."""
    text = page.read_text(encoding="utf-8")
    code = [line for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert [line for line in code if re.match(r"\s*(\w+=\S+ )*bestguess ", line)] == []
    assert not re.search(r"pip install (-\S+ )*'?bestguess", text)
