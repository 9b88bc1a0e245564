"""One run of a sweep, as a `wandb agent` starts it: python -m bestguess.sweep.agent --task.lambda=0.9 …

Takes every form in which an agent passes arguments: --key=value, --key value, key=value, --key alone for what is true
and nothing for what is false, one JSON object or a file of it, and nested parameters as one mapping,
--task="{'lambda': 0.9}". Prints the run's figures as one JSON object.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

from bestguess.command import Failure, Terminated, UserError, make_console, terminable
from bestguess.files import hash_of, lock, parse_json, plain, read_text, read_yaml, within
from bestguess.sweep.plan import config_of
from bestguess.sweep.spec import flatten, numbers_of, read_value


def main(argv: list[str] | None = None) -> None:
    """Train and score the run that the arguments describe; exit with 0, 1 (failed) or 2 (bad input)."""
    try:
        with terminable():
            found = run(sys.argv[1:] if argv is None else argv)
        print(json.dumps(found, allow_nan=False))
    except UserError as error:
        print(f"bestguess: error: {error}", file=sys.stderr)
        sys.exit(2)
    except Failure as error:
        print(f"bestguess: failed: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt as stop:
        print("bestguess: interrupted; an agent starts the run again from its checkpoints", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)


def run(argv: list[str]) -> dict[str, Any]:
    """Train and score one run; return its config, figures and folder. Under an agent its metrics go to W&B."""
    values = parse(argv)
    values |= _left_out(values)
    family, config = config_of(values, new=True)
    from bestguess.sweep.train import train_runs
    from bestguess.train.folder import new_folder

    # An agent starts a run that was preempted again under the same ID: it finds its checkpoints.
    wandb_id = os.environ.get("WANDB_RUN_ID")
    folder = within(Path("runs") / "agent", wandb_id) if wandb_id else new_folder("agent", None)
    track = ("wandb",) if os.environ.get("WANDB_SWEEP_ID") else ()
    with lock(folder):
        console = make_console(json=True)
        [(_, outcome)] = train_runs(
            family, [config], [flatten(values)], folder, console, track=track, made_by=hash_of(values)
        )
    if outcome.fault is not None:
        raise Failure(f"{outcome.fault} ({', '.join(f'{k} {v}' for k, v in values.items())})")
    return {"config": values, "metrics": plain(outcome.metrics), "folder": str(folder)}


def parse(argv: list[str]) -> dict[str, Any]:
    """Return the values of an agent's arguments, by dotted key; UserError for one that is no key and value."""
    values: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("{"):  # ${args_json}
            values |= _of_json(word, "the arguments")
            continue
        if word.endswith(".json") and "=" not in word:  # ${args_json_file}
            values |= _of_json(read_text(Path(word)), word)
            continue
        key, equals, text = word.lstrip("-").lstrip("+").partition("=")
        if not equals:
            if not word.startswith("--"):
                raise UserError(f"{word}: expected --KEY=VALUE, such as --task.lambda=0.9")
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "True"  # ${args_no_boolean_flags}
        value = _value(text)
        values |= flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return values


def _of_json(text: str, where: str) -> dict[str, Any]:
    found = parse_json(text, where)
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected one JSON object of keys and values")
    return flatten(numbers_of(found))


def _left_out(values: dict[str, Any]) -> dict[str, Any]:
    """What the agent's own file has beside its arguments: ${args_no_boolean_flags} leaves out what is false."""
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
    if not path.is_file():
        return {}
    found = read_yaml(path)
    given = {
        key: one["value"]
        for key, one in (found.items() if isinstance(found, dict) else ())
        if isinstance(one, dict) and "value" in one
    }
    return {key: value for key, value in flatten(numbers_of(given)).items() if key not in values}


def _value(text: str) -> Any:
    if text[:1] in "{[(":
        try:
            return ast.literal_eval(text)  # what Python prints for a mapping; it computes nothing
        except (ValueError, SyntaxError):
            pass
    return None if text == "None" else {"True": True, "False": False}.get(text, read_value(text))


if __name__ == "__main__":
    main()
