"""Which room may import which: arrows point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import bestguess
from bestguess.family import GROUP

SOURCE = Path(bestguess.__file__).parent
FAMILIES = {entry.value.split(".")[1] for entry in entry_points(group=GROUP) if entry.value.startswith("bestguess.")}
"""A family of ours is known by its entry point, here too."""
OF_A_FAMILY = {
    *("task", "nn", "train", "report", "command", "config", "files"),
    *("family", "sampled", "batches", "workflow", "experiment"),
}
"""The shared rooms that a family may import; of `experiment` its declarations alone."""
DECLARATION = {"report", "train", "experiment"}
"""The rooms that `family` names in annotations alone: declaring a family loads none of them."""

MAY_IMPORT: dict[str, set[str]] = {
    "": {"judging", "xla"},  # bestguess/__init__.py, the first at the first use
    "xla": set(),
    "command": set(),
    "files": {"command"},
    "config": {"command", "files"},
    "task": {"command"},
    "batches": set(),
    "family": {"command", "config", *DECLARATION},
    "sampled": {"batches", "command", "config", "family", "task", "train", "report"},
    "judging": {"command", "config", "family", "report", "task", "workflow"},
    "mistakes": {"command"},
    "completion": {"cli", "command", "config"},
    "cli": {"command", "config", "family", "files", "mistakes"},
    "__main__": {"cli"},
    "nn": {"task", "command", "config", "files"},
    "train": {"task", "command", "config", "files"},
    "report": {"task", "command", "config", "files"},
    "workflow": {"command", "config", "family", "files", "report", "task", "train"},
    "sweep": {"task", "command", "config", "family", "files", "report", "train", "workflow"},
    "experiment": {"task", "command", "config", "family", "files", "report", "train", "workflow", "sweep"},
    "scratch": {"command", "files"},
    **dict.fromkeys(FAMILIES, OF_A_FAMILY),
}
FILES = sorted(SOURCE.rglob("*.py"))


def every_file(which: Callable[[Path], bool] = lambda path: True) -> pytest.MarkDecorator:
    """Run a test for every file, or for every one that it is about."""
    return pytest.mark.parametrize("path", filter(which, FILES), ids=lambda path: str(path.relative_to(SOURCE)))


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


@every_file()
def test_a_file_imports_its_own_room_and_those_that_its_room_may(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"a new room: say in this test what {room} may import"
    seen = rooms_imported(path.read_text(), package_of(path)) - {room, ""}
    assert seen <= MAY_IMPORT[room], f"{room} may not import {sorted(seen - MAY_IMPORT[room])}"


@every_file(lambda path: room_of(path) in FAMILIES)
def test_a_family_imports_nothing_of_experiments_but_how_to_declare_one(path):
    seen = {name for name in imports(path.read_text(), package_of(path)) if name.startswith("bestguess.experiment")}
    assert all(f"{name}.".startswith("bestguess.experiment.declare.") for name in seen)


def loaded_by(source: str, package: list[str]) -> set[str]:
    """Return our own rooms that importing a file, or calling what is in it, loads: all but those of annotations."""

    class WithoutAnnotations(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            self.generic_visit(node)
            return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node

    return rooms_imported(ast.unparse(WithoutAnnotations().visit(ast.parse(source))), package)


def test_declaring_a_family_loads_nothing_that_trains_or_draws():
    path = SOURCE / "family.py"
    assert rooms_imported(path.read_text(), package_of(path)) >= DECLARATION  # in annotations
    assert loaded_by(path.read_text(), package_of(path)) == {"command", "config"}


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("if TYPE_CHECKING:\n    from bestguess.report import page\nelse:\n    import bestguess.task", {"task"}),
        ("if True:\n    from bestguess.report import page", {"report"}),
        ("def f():\n    from bestguess.report import page", {"report"}),
        ("if TYPE_CHECKING:\n    import bestguess.report\nimport bestguess.train", {"train"}),
    ],
)
def test_what_is_for_annotations_alone_is_told_apart(source, rooms):
    assert loaded_by(source, ["bestguess"]) == rooms


def test_the_workflow_imports_no_family():
    """It is given one: a family of another package trains by the very same code."""
    paths = [path for path in FILES if room_of(path) == "workflow"]
    assert {"commands", "evaluation", "flags", "select", "training"} <= {path.stem for path in paths}
    for path in paths:
        names = set(imports(path.read_text(), package_of(path)))
        assert not [name for name in names if name.split(".")[1:2] and name.split(".")[1] in FAMILIES], path
        assert not MAY_IMPORT["workflow"] & FAMILIES


@every_file(lambda path: room_of(path) in FAMILIES and path.stem in ("family", "config", "flags"))
def test_a_family_is_declared_without_its_workings(path):
    """family.py and config.py of a family are read before anything is trained: they import configs and words alone."""
    seen = rooms_imported(path.read_text(), package_of(path)) - {room_of(path), ""}
    assert seen <= {"command", "config", "family", "files", "nn", "train", "workflow"}, seen


@every_file(lambda path: room_of(path) not in FAMILIES)
def test_no_shared_room_names_a_family_in_a_string_either(path):
    """`importlib.import_module("bestguess.filters")` is an import too: families are found by entry point alone."""
    named = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.match(rf"{SOURCE.name}\.({'|'.join(FAMILIES)})\b", node.value)
    ]
    assert not named


@every_file(lambda path: room_of(path) == "scratch")
def test_from_scratch_means_without_jax(path):
    names = {name.split(".")[0] for name in imports(path.read_text(), package_of(path))}
    assert not names & {"jax", "jaxlib", "equinox", "optax", "jaxtyping", "torch"}


@every_file(lambda path: room_of(path) == "scratch" and "commands" not in path.parts)
def test_scratch_talks_to_the_command_line_from_its_commands_alone(path):
    assert "command" not in rooms_imported(path.read_text(), package_of(path))


def arrows(sources: dict[str, tuple[str, list[str]]]) -> dict[str, set[str]]:
    """Return the modules that each module imports, of those in `sources` (by name: the source and its package).

    Every import counts, wherever it stands: one inside a function hides a circle from Python but not from a reader, and
    one for the type checker alone still says that two modules know each other. Only the version, which the package
    itself holds, may be read from anywhere.
    """
    found: dict[str, set[str]] = {}
    for module, (source, package) in sources.items():
        names = {name for name in imports(source, package) if name != f"{SOURCE.name}.__version__"}
        known = {name if name in sources else name.rpartition(".")[0] for name in names} & sources.keys()
        found[module] = known - {module}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or by way of others."""

    def reached(module: str) -> set[str]:
        seen: set[str] = set()
        waiting = [module]
        while waiting:
            waiting += (new := graph[waiting.pop()] - seen)
            seen |= new
        return seen

    reach = {module: reached(module) for module in graph}
    groups = {frozenset({other for other in reach[one] if one in reach[other]}) for one in graph if one in reach[one]}
    return sorted(map(sorted, groups))


def test_no_modules_import_each_other():
    graph = arrows({".".join(module_of(path)): (path.read_text(), package_of(path)) for path in FILES})
    assert "bestguess.report.charts" in graph["bestguess.report.look"]
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("import bestguess.nn.b", "from . import a", [["a", "b"]]),
        ("def f():\n    from bestguess.nn.b import g", "from bestguess.nn import a", [["a", "b"]]),
        ("if TYPE_CHECKING:\n    from .b import B", "from .c import C", [["a", "b", "c"]]),
        ("from .b import B", "import numpy", []),
        ("from bestguess import __version__", "from .a import A", []),
    ],
)
def test_every_circle_is_seen(a, b, expected):
    package = ["bestguess", "nn"]
    sources = {"bestguess.nn.a": a, "bestguess.nn.b": b, "bestguess.nn.c": "from .a import A"}
    graph = arrows(
        {name: (source, package) for name, source in sources.items()}
        | {"bestguess": ("from .nn import a", ["bestguess"])}
    )
    assert circles(graph) == [[f"bestguess.nn.{name}" for name in group] for group in expected]


@every_file()
def test_a_file_has_400_lines_at_most(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{lines} lines: split it at the seam where a stranger would look for two files"


def test_there_are_files_and_rooms_to_check():
    expected = {"cli", "command", "config", "family", "sampled", "task", "nn", "train", "report", "workflow", "scratch"}
    assert expected | FAMILIES <= {room_of(path) for path in FILES}


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
    declared = [".".join(module_of(path)) for path in FILES if path.stem in ("family", "flags")]
    assert {"bestguess.family", "bestguess.filters.family", "bestguess.workflow.flags"} <= set(declared)
    loaded = loaded_after(["bestguess.cli", "bestguess.command", *configs, *declared])
    assert not loaded & {"jax", "jaxlib", "numpy", "scipy", "matplotlib", "plotly", "equinox", "optax", "wandb"}


READERS_AND_WRITERS = {
    *("read_text", "write_text", "read_bytes", "write_bytes", "open", "safe_open", "savez", "savez_compressed"),
    *("unlink", "rmdir", "rmtree", "mkdir", "makedirs", "touch", "symlink_to", "hardlink_to"),
    *("json.load", "json.loads", "yaml.safe_load", "yaml.load", "yaml.safe_dump", "yaml.dump", "np.load", "np.save"),
    *("os.open", "os.replace", "os.rename", "os.link", "os.remove", "os.utime", "shutil.copy", "shutil.move"),
}
"""Calls that read or write a file, by their last name or, where that says too little, by the last two."""

OUTSIDE_OF_FILES = {
    "report/compact.py": {"json.loads"},  # what Plotly has just written
    "report/page.py": {"read_text"},  # a style sheet and a script of the package itself
    "train/machine.py": {"read_text"},  # /proc and /sys have no size, and nothing of a user's
    "sweep/lease.py": {"read_text"},  # /proc
    "sweep/worker.py": {"read_text"},  # /proc
    "scratch/commands/record.py": {"read_text"},  # /proc
    "cli.py": {"os.open"},  # /dev/null
    "sweep/commands.py": {"open"},  # /dev/null
}


def calls(source: str) -> Iterator[str]:
    """Yield the name of every call that reads or writes a file, unless it is a function of the room `files`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        *_, room, last = ["", "", *ast.unparse(node.func).split(".")]
        if room == "files":
            continue
        plainly = isinstance(node.func, ast.Name)  # read_text and its like may be imported from files by name
        if f"{room}.{last}" in READERS_AND_WRITERS:
            yield f"{room}.{last}"
        elif last in (("open", "safe_open", "rmtree") if plainly else READERS_AND_WRITERS):
            yield last


@every_file()
def test_files_is_the_only_door_to_the_outside(path):
    if room_of(path) != "files":
        seen = set(calls(path.read_text()))
        assert seen <= OUTSIDE_OF_FILES.get(str(path.relative_to(SOURCE)), set()), f"call files.py instead: {seen}"


def test_no_exception_to_that_outlives_its_reason():
    for name, allowed in OUTSIDE_OF_FILES.items():
        assert set(calls((SOURCE / name).read_text())) == allowed, name


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(p)", ["open"]),
        ("p.open('a')", ["open"]),
        ("(a / b).read_text()", ["read_text"]),
        ("yaml.safe_load(t)", ["yaml.safe_load"]),
        ("json.loads(p.read_bytes())", ["json.loads", "read_bytes"]),
        ("with safe_open(p): pass", ["safe_open"]),
        ("os.replace(a, b)", ["os.replace"]),
        ("text.replace(a, b)", []),
        ("files.read_text(p)", []),
        ("read_text(p)", []),
        ("json.dumps(v)", []),
    ],
)
def test_every_form_of_access_is_seen(line, found):
    assert list(calls(line)) == found
