"""The command line: find the command, parse its flags, run it. Imports nothing heavy until it must."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from bestguess import __version__
from bestguess.command import Failure, UserError, make_console, nearest


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, the dataclass of its flags, the function that runs it.

    `flags` and `run` are `module:name`, so that listing commands imports none of them. The
    dataclass has a field `json: bool`, and may have a method `presets() -> dict[str, instance]`
    beside a field `preset`, and on those instances a method `designs() -> dict[str, instance]` beside a field
    `design`: a second choice, made within the first; with a field `resume` it lists in WITH_RESUME
    the flags that may stand beside it. The function takes (flags, console) and returns one JSON-able dict.
    """

    summary: str
    flags: str
    run: str


_FILTERS = "bestguess.filters.config:", "bestguess.filters.commands:"
_INTEGERS = "bestguess.integers.flags:", "bestguess.integers.answers:", "bestguess.integers.runs:"
_SCRATCH = "bestguess.scratch.flags:", "bestguess.scratch.commands:"
_EXPERIMENT = "bestguess.experiment.config:", "bestguess.experiment.commands:"
_SWEEP = "bestguess.sweep.config:", "bestguess.sweep.commands:"

COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "watch transformers learn to filter, beside the optimum: 3 minutes on a laptop",
        _FILTERS[0] + "QuickstartFlags",
        _FILTERS[1] + "quickstart",
    ),
    "filters train": Command(
        "train an ensemble, evaluate it, roll it out, write its page",
        _FILTERS[0] + "TrainFlags",
        _FILTERS[1] + "train",
    ),
    "filters evaluate": Command(
        "measure the distance to the Kalman filter on test sequences",
        _FILTERS[0] + "EvaluateFlags",
        _FILTERS[1] + "evaluate_run",
    ),
    "filters rollout": Command(
        "feed predictions back and compare with the filter's own, by horizon",
        _FILTERS[0] + "RolloutFlags",
        _FILTERS[1] + "rollout_run",
    ),
    "filters report": Command(
        "write the page and the figures again",
        _FILTERS[0] + "ReportFlags",
        _FILTERS[1] + "report_run",
    ),
    "integers train": Command(
        "train an ensemble on sequences that follow recurrences",
        "bestguess.integers.config:TrainFlags",
        "bestguess.integers.commands:train",
    ),
    "integers evaluate": Command(
        "measure accuracy and regret beside the oracle, on seen and held-out rows",
        _INTEGERS[0] + "EvaluateFlags",
        _INTEGERS[2] + "evaluate_run",
    ),
    "integers report": Command(
        "write the page and the figures again",
        _INTEGERS[0] + "ReportFlags",
        _INTEGERS[2] + "report_run",
    ),
    "integers generate": Command(
        "go on with a sequence, term after term, beside the oracle",
        _INTEGERS[0] + "GenerateFlags",
        _INTEGERS[2] + "generate_run",
    ),
    "integers distill": Command(
        "teach one model what a folder's runs predict together",
        _INTEGERS[0] + "DistillFlags",
        "bestguess.integers.distill:distill",
    ),
    "integers export": Command(
        "write one run's model as one small file for integers predict",
        _INTEGERS[0] + "ExportFlags",
        _INTEGERS[2] + "export_run",
    ),
    "integers memory": Command(
        "say what memory a training needs: a formula beside XLA's own figure",
        _INTEGERS[0] + "MemoryFlags",
        "bestguess.integers.memory:memory",
    ),
    "integers predict": Command(
        "ask the model that lies in the package what comes next: no training needed",
        _INTEGERS[0] + "PredictFlags",
        _INTEGERS[1] + "predict",
    ),
    "integers explain": Command(
        "say which recurrences a sequence may be, and what comes next (no model)",
        _INTEGERS[0] + "ExplainFlags",
        _INTEGERS[1] + "explain",
    ),
    "sweep": Command(
        "train all runs of a W&B sweep YAML, or go on with a sweep by its ID",
        _SWEEP[0] + "SweepFlags",
        _SWEEP[1] + "sweep",
    ),
    "sweep status": Command(
        "say what of a sweep is done, and why the rest is not",
        _SWEEP[0] + "StatusFlags",
        _SWEEP[1] + "status",
    ),
    "experiment": Command(
        "run an experiment and judge its hypotheses: sweep, analysis, page in one go",
        _EXPERIMENT[0] + "ExperimentFlags",
        _EXPERIMENT[1] + "experiment",
    ),
    "scratch check": Command(
        "prove every gradient of the NumPy engine, or watch a classic bug being caught",
        _SCRATCH[0] + "CheckFlags",
        _SCRATCH[1] + "run_check",
    ),
    "scratch graph": Command(
        "draw a computation graph with its values and gradients (SVG)",
        _SCRATCH[0] + "GraphFlags",
        _SCRATCH[1] + "run_graph",
    ),
    "scratch level1": Command(
        "memorise twelve strings beside the ceiling, in seconds",
        _SCRATCH[0] + "Level1Flags",
        _SCRATCH[1] + "run_level1",
    ),
    "scratch copilot": Command(
        "learn to complete Python, memorised and never seen, in a minute",
        _SCRATCH[0] + "CopilotFlags",
        _SCRATCH[1] + "run_copilot",
    ),
    "scratch stdlib": Command(
        "the copilot's second stage: learn the standard library's own source",
        _SCRATCH[0] + "StdlibFlags",
        _SCRATCH[1] + "run_stdlib",
    ),
    "scratch teach": Command(
        "three ways to teach with a model that learns while the class watches",
        _SCRATCH[0] + "TeachFlags",
        _SCRATCH[1] + "run_teach",
    ),
    "scratch options": Command(
        "train longer, an easier task, or other temperatures: what each changes",
        _SCRATCH[0] + "OptionsFlags",
        _SCRATCH[1] + "run_options",
    ),
    "scratch causes": Command(
        "try four suspected causes of bad completions in controlled runs",
        _SCRATCH[0] + "CausesFlags",
        _SCRATCH[1] + "run_causes",
    ),
}

FAMILIES: dict[str, str] = {
    "filters": "Linear state-space sequences beside the Kalman filter:",
    "integers": "Integer sequences beside an exact Bayes predictor:",
    "sweep": "Many runs, and the proof that all of them are done:",
    "experiment": "Questions with hypotheses, and their verdicts:",
    "scratch": "A NumPy-only autograd engine and GPT:",
}


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv` (default: the process's) and exit with its status.

    0: done. 1: ran, and the result is a failure. 2: bad input, told in one line. 130: interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    # A terminal that has no λ gets a question mark, not a traceback.
    getattr(sys.stdout, "reconfigure", lambda errors: None)(errors="replace")
    try:
        try:
            sys.exit(_dispatch(argv))
        finally:
            sys.stdout.flush()  # at exit nobody could catch what it raises
    except UserError as error:
        print(f"bestguess: error: {error}", file=sys.stderr)
        sys.exit(2)
    except Failure as error:
        print(f"bestguess: failed: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("bestguess: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"bestguess {__version__}")
        return 0
    words = [word for word in argv[:2] if not word.startswith("-")]
    name = next((n for n in (" ".join(words), *words[:1]) if n in COMMANDS), None)
    if name is None:
        family = argv[0]
        if family in FAMILIES and set(argv[1:]) <= {"-h", "--help"}:
            print(_overview(family))
            return 0
        known = [n for n in COMMANDS if n.startswith(family + " ")] or [*COMMANDS, *FAMILIES]
        asked = " ".join(words) or argv[0]
        raise UserError(f"unknown command {asked!r}{nearest(asked, known)} (bestguess --help lists them)")
    command = COMMANDS[name]
    flags = parse(name, argv[len(name.split()) :])
    try:
        result = _load(command.run)(flags, make_console(flags.json))
    except Failure as failure:
        if flags.json and failure.result is not None:
            print(json.dumps(failure.result, allow_nan=False))
        raise
    if flags.json:
        print(json.dumps(result, allow_nan=False))
    return 0


def parse(name: str, args: list[str]) -> Any:
    """Return the flags of command `name` parsed from `args`; UserError in one line if they are off."""
    import tyro

    cls = _load(COMMANDS[name].flags)
    prog = f"bestguess {name}"
    default = _preset(cls, args) if hasattr(cls, "presets") else None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            flags = tyro.cli(
                cls,
                args=args,
                prog=prog,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
                **({} if default is None else {"default": default}),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_one_line(said.getvalue())} ({prog} --help lists the flags)") from None
    if getattr(flags, "resume", None) is not None:
        _refuse_beside_resume(flags, args)
    return flags


def _refuse_beside_resume(flags: Any, args: list[str]) -> None:
    """--resume takes its configuration from the folder, so any other flag would be silently without effect."""
    given = [arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")]
    others = [arg for arg in given if arg not in ("--resume", *flags.WITH_RESUME)]
    if others:
        raise UserError(
            f"--resume {flags.resume}: goes on with the folder's own configuration; drop {' '.join(others)}"
        )


def _preset(cls: Any, args: list[str]) -> Any:
    """The preset that `args` names sets the defaults, and so does a design; other flags then change single values."""
    preset = _named("preset", cls.presets(), args)
    return _named("design", preset.designs(), args) if hasattr(preset, "designs") else preset


def _named(flag: str, known: dict[str, Any], args: list[str]) -> Any:
    """Return the one of `known` that the flag names in `args`, or else the one named default."""
    name = "default"
    for i, arg in enumerate(args):
        if arg == f"--{flag}" and i + 1 < len(args):
            name = args[i + 1]
        elif arg.startswith(f"--{flag}="):
            name = arg.partition("=")[2]
    if name not in known:
        raise UserError(f"--{flag} {name}: unknown{nearest(name, known)} (choose from {', '.join(known)})")
    return known[name]


def _one_line(box: str) -> str:
    """Return the first paragraph of tyro's boxed message, and the flag that it suggests, as one line."""
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()]
    body = [line for line in lines if line and not re.match(r"─+ .* ─+$", line)]
    if "╭" not in box:  # where the terminal has no frames, the title is a paragraph of its own
        body = body[2:]
    rule = re.compile(r"[─-]+$")
    first = list(itertools.takewhile(lambda line: not rule.match(line), body))
    message = " ".join(first).rstrip(".") or "bad flags"
    if any(line.startswith("Perhaps you meant") for line in body):
        rest = body[next(i for i, line in enumerate(body) if line.startswith("Perhaps")) :]
        hints = list(dict.fromkeys(line.split(" ")[0].rstrip(",") for line in rest if re.match("--[a-z]", line)))
        message += f"; did you mean {' or '.join(hints[:3])}?" if hints else ""
    return message


def _overview(family: str | None = None) -> str:
    shown = {n: c for n, c in COMMANDS.items() if family is None or n.split()[0] == family}
    width = max((len(n) for n in shown), default=0)
    head = FAMILIES[family] if family else "Small transformers beside the best possible guess."
    lines = [f"usage: bestguess {family or ''} COMMAND [flags]".replace("  ", " "), "", head, ""]
    last = None
    for name, command in shown.items():
        room = name.split()[0]
        if family is None and room != last and room in FAMILIES:
            lines += [("" if last is None else "\n") + FAMILIES[room]]
        last = room
        lines.append(f"  {name:<{width}}  {command.summary}")
    lines += [
        "",
        "bestguess COMMAND --help explains a command and its flags; --json gives its result as one JSON object.",
    ]
    return "\n".join(lines)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    main()
