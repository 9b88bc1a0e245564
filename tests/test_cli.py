"""The command line: what is off is told in one line, what is right is done, and nothing heavy is imported early."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import os
import shlex
import subprocess
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from bestguess import __main__, __version__, cli
from bestguess.cli import commands, main, parse, titles
from bestguess.command import Command, Failure, UserError, make_console, nearest
from bestguess.config import flag

HEAVY = {"jax", "jaxlib", "numpy", "scipy", "matplotlib", "plotly", "equinox", "optax", "pandas", "wandb", "torch"}
every_command = pytest.mark.parametrize("name", sorted(commands()))


@pytest.fixture
def run(capsys):
    """Run a command line; return its exit status, its standard output and its standard error."""

    def run(*argv: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(list(argv))
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def refused(answer: tuple[int, str, str]) -> str:
    """Assert that the answer is one line on standard error and exit status 2; return the line."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("bestguess: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("bestguess: error: ").rstrip("\n")


# ------------------------------------------------------------------------------------- a made-up command


@dataclass(frozen=True)
class Room:
    """A room of flags."""

    width: int = 3
    """Width (features)."""
    rates: tuple[float, ...] = (0.1,)
    """Rates."""
    kind: Literal["red", "green"] = "red"
    """Kind."""
    lambda_: Annotated[float, __import__("tyro").conf.arg(name="lambda")] = 0.5
    """λ."""


@dataclass(frozen=True)
class FakeFlags:
    """Do something made up."""

    room: Room = field(default_factory=Room)
    preset: Literal["default", "wide"] = "default"
    """Preset."""
    outcome: Literal["done", "bad input", "failure", "failure with a result", "interrupt"] = "done"
    """How it ends."""

    @staticmethod
    def choices() -> dict[str, tuple[str, ...]]:
        return {"preset": ("default", "wide")}

    @staticmethod
    def chosen(values: Mapping[str, str]) -> FakeFlags:
        wide = FakeFlags(room=Room(width=100, kind="green"), preset="wide")
        return {"default": FakeFlags(), "wide": wide}[values["preset"]]


def fake(flags: FakeFlags, console: Any) -> dict[str, Any]:
    console.print("a word to the reader")
    match flags.outcome:
        case "bad input":
            raise UserError("--width 3: too narrow")
        case "failure":
            raise Failure("the self-test failed")
        case "failure with a result":
            raise Failure("2 of 4 runs are not done", {"done": 2})
        case "interrupt":
            raise KeyboardInterrupt
    return {"width": flags.room.width, "rates": flags.room.rates, "kind": flags.room.kind}


def flags_of_family(family: Any) -> type:
    assert family == "coins"
    return FakeFlags


def of_family(family: Any, flags: FakeFlags, console: Any) -> dict[str, Any]:
    return {"family": family, "width": flags.room.width}


@pytest.fixture
def made_up(monkeypatch):
    command = Command("do something made up", f"{__name__}:FakeFlags", f"{__name__}:fake")
    monkeypatch.setattr(cli, "commands", lambda: {"fake one": command, "lonely": command})
    monkeypatch.setattr(cli, "titles", lambda: {"fake": "A made-up family:"})


@pytest.mark.usefixtures("made_up")
class TestMadeUp:
    def test_done(self, run):
        code, out, err = run("fake", "one", "--width", "7", "--rates", "1e-4", "3", "--kind", "green")
        assert (code, out, err) == (0, "a word to the reader\n", "")
        assert run("lonely")[0] == 0

    def test_json_alone_goes_to_standard_output(self, run):
        code, out, err = run("fake", "one", "--json", "--rates", "1e-4", "3")
        assert (code, err) == (0, "a word to the reader\n")
        assert json.loads(out) == {"width": 3, "rates": [1e-4, 3.0], "kind": "red"}
        assert out.count("\n") == 1

    @pytest.mark.parametrize(
        ("outcome", "code", "line"),
        [
            ("bad input", 2, "bestguess: error: --width 3: too narrow\n"),
            ("failure", 1, "bestguess: failed: the self-test failed\n"),
            ("interrupt", 130, "bestguess: interrupted\n"),
        ],
    )
    def test_other_ends(self, run, outcome, code, line):
        found = run("fake", "one", "--outcome", outcome)
        assert found == (code, "a word to the reader\n", line)
        found = run("fake", "one", "--outcome", outcome, "--json")
        assert found == (code, "", "a word to the reader\n" + line)

    def test_a_failure_may_have_a_result_all_the_same(self, run):
        line = "a word to the reader\nbestguess: failed: 2 of 4 runs are not done\n"
        code, out, err = run("fake", "one", "--outcome", "failure with a result", "--json")
        assert (code, json.loads(out), err) == (1, {"done": 2}, line)

    def test_a_command_that_is_given_its_family(self, run, monkeypatch):
        command = Command(
            "…", f"{__name__}:flags_of_family", f"{__name__}:of_family", given_family=True, family="coins"
        )
        monkeypatch.setattr(cli, "commands", lambda: {"fake one": command})
        code, out, _ = run("fake", "one", "--width", "5", "--json")
        assert (code, json.loads(out)) == (0, {"family": "coins", "width": 5})

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["nonsense"], "unknown command 'nonsense'"),
            (["lonly"], "did you mean lonely?"),
            (["fake", "on"], "unknown command 'fake on'; did you mean fake one?"),
            (["fak", "one"], "unknown command 'fak one'; did you mean fake one?"),
            (["fake", "--bogus"], "fake: name one of its commands: one"),
            (["one", "--width", "3"], "unknown command 'one'; did you mean fake one?"),
            (["--verison"], "unknown command '--verison'; did you mean --version?"),
            (["--bogus"], "--bogus"),
            ([""], "unknown command ''"),
            (["--json"], "--json"),
            (["fake", "one", "--widht", "3"], "unknown flag --widht; did you mean --width? (bestguess fake one --help"),
            (["fake", "one", "--zzzzzz"], "--zzzzzz"),
            (["fake", "one", "--width", "three"], "--width three: not an integer (bestguess"),
            (["fake", "one", "--width=3.5"], "--width 3.5: not an integer"),
            (["fake", "one", "--rates", "fast"], "--rates fast: not "),
            (["fake", "one", "--width"], "--width: give a value"),
            (["fake", "one", "--kind", "gren"], "--kind gren: unknown; did you mean green? (choose from "),
            (["fake", "one", "--lambda", "x"], "--lambda x: not a number"),
            (["fake", "one", "--lambda_", "0.5"], "--lambda"),
            (["fake", "one", "surplus"], "unexpected argument surplus"),
            (["lonely", "surplus"], "surplus"),
            (["fake", "one", "--preset", "wid"], "--preset wid: unknown; did you mean wide? (choose from"),
            (["fake", "one", "--preset=zzz"], "--preset zzz: unknown (choose from default, wide)"),
            (["fake", "one", "--preset"], "--preset"),
        ],
    )  # fmt: skip
    def test_what_is_off_is_told_in_one_line(self, run, argv, said):
        assert said in refused(run(*argv))

    def test_a_preset_sets_the_defaults_and_flags_change_single_values(self):
        assert parse("lonely", ["--preset", "wide"]) == (FakeFlags.chosen({"preset": "wide"}), False)
        assert parse("lonely", ["--preset=wide", "--kind", "red"])[0].room == Room(width=100)
        assert parse("lonely", ["--width", "4", "--preset", "wide"])[0].room == Room(width=4, kind="green")
        assert parse("lonely", []) == (FakeFlags(), False)
        assert parse("lonely", ["--json"]) == (FakeFlags(), True)

    def test_overviews(self, run):
        for argv in ([], ["-h"], ["--help"]):
            code, out, err = run(*argv)
            assert (code, err) == (0, "")
            assert "A made-up family:" in out
            assert all(f"  {name}" in out for name in ("fake one", "lonely"))
        code, out, err = run("fake", "--help")
        assert (code, err) == (0, "")
        assert "fake one" in out
        assert "lonely" not in out
        assert run("fake")[1] == run("help", "fake")[1] == out
        assert "Examples:" not in out
        code, out, err = run("help", "fake", "one")
        assert (code, err) == (0, "")
        assert "--width" in out


# ------------------------------------------------------------------------------------ the real commands


def flags_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Every flag of a dataclass and its rooms: its name on the command line, its type and its field."""
    found: dict[str, tuple[Any, Any]] = {}
    hints = typing.get_type_hints(cls)
    for one in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[one.name]):
            found |= flags_of(hints[one.name])
        else:
            assert one.name not in found
            found[one.name] = hints[one.name], one
    return found


def is_positional(one: dataclasses.Field) -> bool:
    required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    return required or "Positional[" in str(one.type)


def test_the_overview_s_examples_are_commands():
    for example in cli.EXAMPLES:
        program, *words = shlex.split(example)
        name = " ".join(words[:2]) if " ".join(words[:2]) in commands() else words[0]
        assert program == "bestguess"
        cli.parse(name, words[len(name.split()) :])


def load(name: str) -> type:
    return commands()[name].flags_class()


def required(name: str) -> list[str]:
    return ["folder" for _, one in flags_of(load(name)).values() if is_positional(one)]


@every_command
def test_a_command_has_its_json_flag_its_function_and_its_summary(name):
    command = commands()[name]
    assert "json" not in flags_of(load(name))  # the command line's own
    flags, as_json = parse(name, required(name))
    # A function from a family makes the class anew.
    told = lambda cls: (cls.__name__, {one: hint for one, (hint, _) in flags_of(cls).items()})  # noqa: E731
    assert told(type(flags)) == told(load(name))
    assert not as_json
    again, as_json = parse(name, [*required(name), "--json"])
    assert (vars(again), as_json) == (vars(flags), True)
    module, _, function = command.run.partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert list(parameters) == ["family"] * command.given_family + ["flags", "console"]
    assert 10 < len(command.summary) < 90
    assert name.split()[0] in titles() or len(name.split()) == 1


def documented(cls: type) -> dict[str, str]:
    """The docstring under each field, of a dataclass, its bases and its rooms; of a class that is made, its help."""
    found: dict[str, str] = {}
    for one, hint in typing.get_type_hints(cls, include_extras=True).items():
        for told in getattr(hint, "__metadata__", ()):
            if getattr(told, "help", None):
                found[one] = told.help
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            (tree,) = ast.parse(inspect.getsource(base)).body
        except OSError:
            assert base is cls  # made from a family's config
            continue
        for statement, after in zip(tree.body, [*tree.body[1:], None]):
            if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
                assert isinstance(statement.target, ast.Name)
                found[statement.target.id] = inspect.cleandoc(ast.literal_eval(after.value))
    for hint in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(hint):
            found = documented(hint) | found  # its own flag stands for one of a room that is none
    return found


@every_command
def test_every_flag_says_what_it_means(name):
    cls = load(name)
    meanings = documented(cls)
    for one in flags_of(cls):
        assert len(meanings.get(one, "")) > 10, one
        assert meanings[one].endswith("."), one
    assert (cls.__doc__ or "").split("\n")[0].endswith(".")


@every_command
def test_help_shows_every_flag_its_meaning_and_its_default(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(name, ["--help"])
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    text = " ".join(out.replace("│", " ").split())
    cls = load(name)
    meanings = documented(cls)
    for one, (_, its_field) in flags_of(cls).items():
        assert is_positional(its_field) or flag(one) in text, one
        first = " ".join(meanings[one].split())[:20]
        assert first in text, one
    assert text.count("(default:") >= sum(not is_positional(f) for _, f in flags_of(cls).values())
    rooms = [r for r, hint in typing.get_type_hints(cls).items() if dataclasses.is_dataclass(hint)]
    assert all(f"{room} options" in text for room in rooms)


@every_command
def test_a_bad_value_of_any_flag_is_one_line(name, run):
    argv = [*name.split(), *required(name)]
    refused(run(*argv, "--nonsense"))
    refused(run(*argv, "one too many"))
    if required(name):
        said = refused(run(*name.split())).lower()
        assert "folder" in said or any(one in said for one, (_, f) in flags_of(load(name)).items() if is_positional(f))
    for one, (hint, its_field) in flags_of(load(name)).items():
        takes_any_text = Path in (hint, *typing.get_args(hint)) or str in (hint, *typing.get_args(hint))
        if takes_any_text or is_positional(its_field):
            continue
        assert flag(one) in refused(run(*argv, flag(one), "nonsense")) or hint is bool, one


def test_names_on_the_command_line_are_spelt_as_in_the_config():
    assert parse("filters train", ["--lambda", "0.5", "0.7"])[0].task.lambda_ == (0.5, 0.7)
    flags, _ = parse("filters train", ["--preset", "small", "--steps", "7"])
    expected = type(flags).chosen({"preset": "small"})
    assert flags == dataclasses.replace(expected, train=dataclasses.replace(expected.train, steps=7))
    assert flags.config().train.steps == 7


# ---------------------------------------------------------------------------------------------- imports


def in_a_new_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def imported_by(code: str) -> set[str]:
    """The top-level modules that are loaded after `code` has run in a new process."""
    done = in_a_new_process(f"import sys\n{code}\nprint('loaded', *{{n.split('.')[0] for n in sys.modules}})")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy():
    loaded = imported_by("from bestguess.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass")
    assert not loaded & (HEAVY | {"rich", "tyro", "yaml"})
    assert "bestguess" in loaded


def test_flags_import_nothing_heavy():
    """A command's own help, and a mistake in its flags, are answered before JAX is loaded."""
    every = "import bestguess.cli\nfor command in bestguess.cli.commands().values(): command.flags_class()"
    loaded = imported_by(every)
    assert not loaded & HEAVY
    assert "tyro" in loaded  # the check sees what is loaded


def test_a_bad_flag_is_refused_before_anything_heavy_is_loaded():
    mistake = "from bestguess.cli import main\ntry:\n    main(['quickstart', '--nonsense'])\nexcept SystemExit: pass"
    assert not imported_by(mistake) & HEAVY


def test_the_installed_program():
    program = Path(sys.executable).with_name("bestguess")
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"bestguess {__version__}\n", "")
    done = subprocess.run([program, "quickstart", "--steps", "x"], capture_output=True, text=True)
    refused((done.returncode, done.stdout, done.stderr))


def test_a_reader_that_has_gone_is_no_error():
    """`bestguess --help | head -0`: no traceback, no complaint."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for argv in (["--help"], ["quickstart", "--help"], ["integers", "explain", "1", "2"]):
        read, write = os.pipe()
        os.close(read)
        code = f"from bestguess.cli import main; main({argv})"
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, env=environment
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_no_fault(closed):
    code = "from bestguess.cli import main; main(['integers', 'explain', '1', '2', '3'])"
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_platform_that_jax_does_not_know_is_one_line(monkeypatch, run):
    def compute(flags: Any, console: Any) -> None:
        raise RuntimeError("Unable to initialize backend 'tpuu': Backend 'tpuu' is not in the list\nof known backends")

    monkeypatch.setenv("JAX_PLATFORMS", "tpuu")
    monkeypatch.setattr(cli, "commands", lambda: {"lonely": Command("…", f"{__name__}:FakeFlags", f"{__name__}:fake")})
    monkeypatch.setattr(Command, "call", lambda self, flags, console: compute(flags, console))
    assert refused(run("lonely")).startswith("JAX_PLATFORMS=tpuu: Unable to initialize backend 'tpuu'")
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(RuntimeError):
        cli.main(["lonely"])


def test_a_full_memory_is_one_line(monkeypatch, run):
    def compute(self: Any, flags: Any, console: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(cli, "commands", lambda: {"lonely": Command("…", f"{__name__}:FakeFlags", f"{__name__}:fake")})
    monkeypatch.setattr(Command, "call", compute)
    assert refused(run("lonely")) == "the memory is full; give smaller sizes, or close some programs"


def test_a_terminal_without_greek_letters_gets_help_and_one_line_errors():
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for argv in (["--help"], ["filters", "train", "--help"]):
        code = f"from bestguess.cli import main; main({argv})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
    for mistake, said in (
        (["--lamda", "3"], "unknown flag --lamda; did you mean --lambda?"),
        (["--steps", "x"], "--steps x: not an integer"),
    ):
        code = f"from bestguess.cli import main; main({['filters', 'train', *mistake]})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert refused((done.returncode, done.stdout, done.stderr)).startswith(said)


# --------------------------------------------------------------------------------------- command.py


def test_nearest():
    assert nearest("learning_rat", ["learning_rate", "steps"]) == "; did you mean learning_rate?"
    assert nearest("zzz", ["learning_rate", "steps"]) == ""
    assert nearest("x", []) == ""


def test_a_console_under_json_writes_to_standard_error(capsys):
    make_console(json=True).print("aside")
    make_console(json=False).print("result")
    assert capsys.readouterr() == ("result\n", "aside\n")


@pytest.mark.parametrize("words", [["sweep", ""], ["experiment", ""], ["sweep", "status", ""]])
def test_an_empty_name_is_named(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("bestguess: error: '': no ")


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("4", "4")])
def test_the_program_gives_blas_one_thread_unless_it_is_told_another_number(monkeypatch, given, found):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    seen = []
    monkeypatch.setattr(cli, "main", lambda: seen.append(os.environ["OPENBLAS_NUM_THREADS"]))
    __main__.main()
    assert seen == [found]
