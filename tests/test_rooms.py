"""Which room may import which: arrows point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bestguess

SOURCE = Path(bestguess.__file__).parent
FAMILIES = {"filters", "integers", "rolls", "text"}
OF_A_FAMILY = {"task", "nn", "train", "report", "command"}
"""The shared rooms that a family may see beside itself."""

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),  # bestguess/__init__.py
    "command": set(),
    "task": {"command"},
    "cli": {"command"},
    "__main__": {"cli"},
    "nn": {"task", "command"},
    "train": {"task", "command"},
    "report": {"task", "command"},
    "sweep": {"task", "command", "train", "report"},
    "experiment": {"task", "command", "train", "report", "sweep"},
    "scratch": {"command"},
    **dict.fromkeys(FAMILIES, OF_A_FAMILY),
}
FILES = sorted(SOURCE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def module_of(path: Path) -> list[str]:
    parts = [SOURCE.name, *path.relative_to(SOURCE).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(source: str, package: list[str]) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, wherever in it, relative names made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def rooms_imported(source: str, package: list[str]) -> set[str]:
    """Return our own rooms that a file imports; `` is the package itself (its version)."""
    rooms = set()
    for name in imports(source, package):
        first, *rest = name.split(".")
        if first == SOURCE.name:
            rooms.add(rest[0] if rest and rest[0] in MAY_IMPORT else "")
    return rooms


def package_of(path: Path) -> list[str]:
    return module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]


@every_file
def test_a_file_imports_its_own_room_and_those_that_its_room_may(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"a new room: say in this test what {room} may import"
    seen = rooms_imported(path.read_text(), package_of(path)) - {room, ""}
    assert seen <= MAY_IMPORT[room], f"{room} may not import {sorted(seen - MAY_IMPORT[room])}"


@every_file
def test_no_shared_room_names_a_family_in_a_string_either(path):
    """`importlib.import_module("bestguess.filters")` is an import too; cli.py alone may: it dispatches."""
    room = room_of(path)
    if room in FAMILIES | {"cli"}:
        return
    named = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.match(rf"{SOURCE.name}\.({'|'.join(FAMILIES)})\b", node.value)
    ]
    assert not named


@every_file
def test_from_scratch_means_without_jax(path):
    if room_of(path) != "scratch":
        return
    names = {name.split(".")[0] for name in imports(path.read_text(), package_of(path))}
    assert not names & {"jax", "jaxlib", "equinox", "optax", "jaxtyping", "torch"}


@every_file
def test_scratch_talks_to_the_command_line_from_its_commands_alone(path):
    if room_of(path) == "scratch" and path.stem not in ("commands", "demos"):
        assert "command" not in rooms_imported(path.read_text(), package_of(path))


def test_there_are_files_and_rooms_to_check():
    assert {"cli", "command", "task", "nn", "train", "report", "filters"} <= {room_of(path) for path in FILES}


@pytest.mark.parametrize(
    ("line", "rooms"),
    [
        ("import bestguess.filters.task", {"filters"}),
        ("from bestguess import filters", {"filters"}),
        ("from bestguess.filters import task", {"filters"}),
        ("from bestguess.filters.task import FilterTask as F", {"filters"}),
        ("def f():\n    from bestguess.filters import task", {"filters"}),
        ("if TYPE_CHECKING:\n    import bestguess.integers", {"integers"}),
        ("from ..filters import task", {"filters"}),
        ("from .. import filters, rolls", {"filters", "rolls"}),
        ("from . import block", {"nn"}),
        ("from .block import Block", {"nn"}),
        ("from bestguess import __version__", {""}),
        ("import numpy, bestguess.task", {"task"}),
        ("import bestguessing.filters", set()),
        ("# import bestguess.filters", set()),
    ],
)
def test_every_form_of_import_is_seen(line, rooms):
    assert rooms_imported(line, ["bestguess", "nn"]) == rooms


def loaded_after(modules: list[str]) -> set[str]:
    code = (
        "import sys\n" + "\n".join(f"import {m}" for m in modules) + "\nprint(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def modules(room: str) -> list[str]:
    return [".".join(module_of(path)) for path in FILES if room_of(path) == room]


def test_report_loads_without_jax():
    """Neither its own imports nor theirs: drawing a page must not start an accelerator."""
    loaded = loaded_after(modules("report"))
    assert not loaded & {"jax", "jaxlib", "equinox", "optax", "wandb", "tensorboardX", "torch"}
    assert "bestguess" in loaded


def test_configs_load_without_anything_heavy():
    configs = [".".join(module_of(path)) for path in FILES if path.stem == "config"]
    assert {"bestguess.nn.config", "bestguess.train.config", "bestguess.filters.config"} <= set(configs)
    loaded = loaded_after(["bestguess.cli", "bestguess.command", *configs])
    assert not loaded & {"jax", "jaxlib", "numpy", "scipy", "matplotlib", "plotly", "equinox", "optax", "wandb"}
