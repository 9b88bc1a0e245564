"""The command line: find the command, parse its flags, run it. Imports nothing heavy until it must."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from bestguess import __version__, files
from bestguess.command import Command, Failure, Terminated, UserError, make_console, nearest, shown, terminable
from bestguess.config import check_bounds
from bestguess.family import families, unloadable
from bestguess.mistakes import in_one_line, unknown_command

_SCRATCH = "bestguess.scratch.flags:", "bestguess.scratch.commands."
_EXPERIMENT = "bestguess.experiment.config:", "bestguess.experiment.commands:"
_SWEEP = "bestguess.sweep.config:", "bestguess.sweep.commands:"

OWN: dict[str, Command] = {
    "sweep": Command(
        "train every run of a W&B sweep YAML, or resume a sweep by its ID",
        _SWEEP[0] + "SweepFlags",
        _SWEEP[1] + "sweep",
    ),
    "sweep status": Command(
        "report which runs of a sweep are done, and why the others are not",
        _SWEEP[0] + "StatusFlags",
        _SWEEP[1] + "status",
    ),
    "experiment": Command(
        "run a sweep, test its hypotheses, and write verdicts, figures and a page",
        _EXPERIMENT[0] + "ExperimentFlags",
        _EXPERIMENT[1] + "experiment",
    ),
    "scratch check": Command(
        "check every gradient of the NumPy engine, or see how a classic bug is caught",
        _SCRATCH[0] + "CheckFlags",
        _SCRATCH[1] + "engine:run_check",
    ),
    "scratch graph": Command(
        "draw a computation graph with its values and gradients (SVG)",
        _SCRATCH[0] + "GraphFlags",
        _SCRATCH[1] + "engine:run_graph",
    ),
    "scratch level1": Command(
        "memorise twelve strings in seconds, compared with the best possible score",
        _SCRATCH[0] + "Level1Flags",
        _SCRATCH[1] + "models:run_level1",
    ),
    "scratch copilot": Command(
        "train a small GPT to complete seen and unseen Python snippets, in a minute",
        _SCRATCH[0] + "CopilotFlags",
        _SCRATCH[1] + "models:run_copilot",
    ),
    "scratch stdlib": Command(
        "train a larger GPT on the source of Python's standard library, or on your own text",
        _SCRATCH[0] + "StdlibFlags",
        _SCRATCH[1] + "text:run_stdlib",
    ),
    "scratch teach": Command(
        "run one of three classroom demos with a model that trains during the lesson",
        _SCRATCH[0] + "TeachFlags",
        _SCRATCH[1] + "teach:run_teach",
    ),
    "scratch options": Command(
        "compare longer training, an easier task, and sampling temperatures",
        _SCRATCH[0] + "OptionsFlags",
        _SCRATCH[1] + "studies:run_options",
    ),
    "scratch causes": Command(
        "test four suspected causes of bad completions in controlled runs",
        _SCRATCH[0] + "CausesFlags",
        _SCRATCH[1] + "studies:run_causes",
    ),
    "completion": Command(
        "print a script with which bash or zsh completes commands and flags",
        "bestguess.completion:CompletionFlags",
        "bestguess.completion:completion",
    ),
}

EXAMPLES = (
    "bestguess quickstart",
    "bestguess filters train --preset small --lambda 0.9 0.97 --seeds 2",
    "bestguess integers predict 2 4 8 16",
    "bestguess rolls test FILE",
    "bestguess text train --corpus FILE",
)
"""Commands that stand for a family each, as they are typed."""
_ASKED = "--help", "--version"
_JSON = "--json", "--no-json"

TITLES: dict[str, str] = {
    "completion": "Tab completion:",
    "sweep": "Sweeps over many runs:",
    "experiment": "Experiments with hypotheses and verdicts:",
    "scratch": "An autograd engine and a GPT in NumPy alone:",
}


@functools.cache
def commands() -> dict[str, Command]:
    """Return every command by name: the registered families', then those that serve all of them."""
    found: dict[str, Command] = {}
    for family in families():
        found |= family.every_command()
    # What stands alone comes first in the overview.
    return dict(sorted(found.items(), key=lambda item: " " in item[0])) | OWN


@functools.cache
def titles() -> dict[str, str]:
    """Return the line over each room's commands."""
    return {family.name: family.title for family in families()} | TITLES


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv` (default: the process's) and exit with its status.

    0: done. 1: ran, and the result is a failure. 2: bad input, told in one line. 130: Ctrl-C. 143: SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: nobody listens, and no file of ours is to take its number
            os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, io.StringIO())
    # A terminal that has no λ gets a question mark, not a traceback.
    getattr(sys.stdout, "reconfigure", lambda errors: None)(errors="replace")
    try:
        try:
            with terminable():
                status = _dispatch(argv)
            sys.exit(status)
        finally:
            sys.stdout.flush()  # at exit nobody could catch what it raises
    except UserError as error:
        print(f"bestguess: error: {error}", file=sys.stderr)
        sys.exit(2)
    except Failure as error:
        print(f"bestguess: failed: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt as stop:
        how = "terminated" if isinstance(stop, Terminated) else "interrupted"
        print(": ".join(["bestguess", how, *map(str, stop.args[:1])]), file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        _mute()
        sys.exit(0)
    except MemoryError:
        print("bestguess: error: the memory is full; give smaller sizes, or close some programs", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        # JAX looks for its devices at the first computation, wherever that is.
        if not (platforms := os.environ.get("JAX_PLATFORMS")) or "backend" not in str(error):
            raise
        told = f"JAX_PLATFORMS={shown(platforms)}: {shown(' '.join(str(error).split()))}"
        print(f"bestguess: error: {told}; set cpu or cuda, or unset it", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # what no one nearer to it has told
        if error.filename is None:
            _mute()  # it may be standard output itself, and what is left in its buffer would fail again at exit
        what = "the system" if error.filename is None else os.fsdecode(error.filename)
        print(f"bestguess: error: {shown(what)}: {files.explain(error)}", file=sys.stderr)
        sys.exit(2)


def _mute() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"bestguess {__version__}")
        return 0
    words = [word for word in argv[:2] if not word.startswith("-")]
    name = next((n for n in (" ".join(words), *words[:1]) if n in commands()), None)
    if name is None:
        family = argv[0]
        if family in titles() and set(argv[1:]) <= {"-h", "--help"}:
            print(_overview(family))
            return 0
        if family in unloadable():
            raise UserError(f"{family}: this family's package cannot be loaded ({unloadable()[family]})")
        told = unknown_command(words or argv[:1], [*commands(), *_ASKED], titles())
        raise UserError(f"{told} (bestguess --help lists the commands)")
    flags, as_json = parse(name, argv[len(name.split()) :])
    try:
        result = commands()[name].call(flags, make_console(as_json))
    except Failure as failure:
        if as_json and failure.result is not None:
            print(json.dumps(failure.result, allow_nan=False))
        raise
    if as_json:
        print(json.dumps(result, allow_nan=False))
    return 0


def parse(name: str, args: list[str]) -> tuple[Any, bool]:
    """Return the flags of command `name` parsed from `args`, and whether --json is among them.

    UserError in one line if they are off.
    """
    import tyro

    cls = commands()[name].flags_class()
    prog = f"bestguess {name}"
    supposed = cls.supposed(args) if hasattr(cls, "supposed") else {}
    default = cls.chosen(_chosen(cls.choices(), args, supposed)) if hasattr(cls, "choices") else None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = tyro.cli(
                _with_json(cls),
                args=args,
                prog=prog,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
                **({} if default is None else {"default": _with_json(cls)(**_fields(default))}),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{in_one_line(said.getvalue(), args)} ({prog} --help lists the flags)") from None
    values = _fields(given)
    as_json, flags = values.pop("json"), cls(**values)
    check_bounds(flags)
    _refuse_empty_paths(flags, args)
    _refuse_missing_paths(flags, args, prog)
    if getattr(flags, "resume", None) is not None:
        _refuse_beside_resume(flags, args)
    if hasattr(flags, "with_given"):
        flags = flags.with_given(set(_typed(args)) - set(_JSON))
    return flags, as_json


def _fields(instance: Any) -> dict[str, Any]:
    return {one.name: getattr(instance, one.name) for one in dataclasses.fields(instance)}


@functools.cache
def _with_json(cls: type) -> type:
    """Return the flags with one more, which every command has."""
    import tyro

    told = "Print the result as one JSON object to standard output, and everything else to standard error."
    hint = Annotated[bool, tyro.conf.arg(help=told)]
    made = dataclasses.make_dataclass(
        cls.__name__, [("json", hint, dataclasses.field(default=False))], bases=(cls,), frozen=True
    )
    made.__doc__, made.__module__ = cls.__doc__, cls.__module__
    return made


def _refuse_empty_paths(flags: Any, args: list[str]) -> None:
    """An empty path would be the working directory: `--out "$NEW"` with a variable that is not set."""
    for arg, after in zip(args, [*args[1:], None]):
        flag, has_value, value = arg.partition("=")
        if flag.startswith("--") and (value if has_value else after) == "":
            name = flag[2:].replace("-", "_")
            if Path() in (getattr(flags, name, None), getattr(flags, name + "_", None)):
                raise UserError(f"{flag} '': is empty; name a file or a folder")


def _refuse_missing_paths(flags: Any, args: list[str], prog: str) -> None:
    """A positional path whose default is the empty one, which only stands after inherited flags, is to be given."""
    if any(arg and Path(arg) == Path() for arg in args):  # the working directory is meant
        return
    for one in dataclasses.fields(flags):
        if "Positional" in str(one.type) and one.default == getattr(flags, one.name) == Path():
            raise UserError(f"{one.name.upper()} is missing: a path ({prog} --help describes it)")


def _refuse_beside_resume(flags: Any, args: list[str]) -> None:
    """--resume takes its configuration from the folder, so any other flag would be silently without effect."""
    others = [arg for arg in _typed(args) if arg not in ("--resume", *_JSON, *flags.WITH_RESUME)]
    if others:
        raise UserError(f"--resume {flags.resume}: uses the configuration in the folder; drop {' '.join(others)}")


def _typed(args: list[str]) -> list[str]:
    """Return the names of the flags in `args`."""
    return [arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")]


def _chosen(choices: dict[str, tuple[str, ...]], args: list[str], supposed: Mapping[str, str]) -> dict[str, str]:
    """Return the values in `args` of the flags that set the others' defaults.

    Where one is not given, what the other flags suppose, or `default`.
    """
    found = {}
    for flag, known in choices.items():
        name = supposed.get(flag, "default")
        for i, arg in enumerate(args):
            if arg == f"--{flag}" and i + 1 < len(args):
                name = args[i + 1]
            elif arg.startswith(f"--{flag}="):
                name = arg.partition("=")[2]
        if name not in known:
            raise UserError(f"--{flag} {name}: unknown{nearest(name, known)} (choose from {', '.join(known)})")
        found[flag] = name
    return found


def _overview(family: str | None = None) -> str:
    shown = {n: c for n, c in commands().items() if family is None or n.split()[0] == family}
    width = max((len(n) for n in shown), default=0)
    head = titles()[family] if family else "Small transformers compared with the best possible predictor."
    lines = [f"usage: bestguess {family or ''} COMMAND [flags]".replace("  ", " "), "", head, ""]
    last = None
    for name, command in shown.items():
        room = name.split()[0]
        if family is None and room != last and room in titles():
            lines += [("" if last is None else "\n") + titles()[room]]
        last = room
        lines.append(f"  {name:<{width}}  {command.summary}")
    lines += [f"\n{name}: cannot be loaded ({reason})" for name, reason in unloadable().items()]
    lines += [] if family else ["\nExamples:", *(f"  {example}" for example in EXAMPLES)]
    lines += [
        "",
        "bestguess COMMAND --help describes a command and its flags. Every command takes --json.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
