"""Scripts with which a shell completes commands, flags and their values. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bestguess.config import flag

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.command import Command

Flags = Mapping[str, tuple[str, ...]]
"""Values by flag, where they are few and have names; else none."""


@dataclass(frozen=True)
class CompletionFlags:
    """Print a script with which a shell completes commands, flags and the values of flags.

    For this session: source <(bestguess completion). For every one: write it to a file that the shell reads.
    """

    shell: Literal["bash", "zsh"] = "bash"
    """Shell that is to read it."""


def completion(flags: CompletionFlags, console: Console) -> dict[str, Any]:
    """Print and return the script of a shell."""
    from bestguess.cli import commands

    script = script_of(flags.shell, {name: flags_of(command) for name, command in commands().items()})
    console.print(script, soft_wrap=True, highlight=False)
    return {"shell": flags.shell, "script": script}


def flags_of(command: Command) -> Flags:
    """Return a command's flags with the values of those that are chosen from a list."""
    return _flags(command.flags_class()) | {"--json": (), "--help": ()}


def _flags(cls: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for one in dataclasses.fields(cls):
        hint = hints[one.name]
        if dataclasses.is_dataclass(hint):
            found |= _flags(hint)
        elif "Positional[" not in str(one.type):
            found[flag(one.name)] = _values(hint)
            if hint is bool:
                found["--no-" + flag(one.name)[2:]] = ()
    return found


def _values(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return tuple(map(str, typing.get_args(hint)))
    return tuple(value for inner in typing.get_args(hint) for value in _values(inner))


def script_of(shell: str, table: Mapping[str, Flags]) -> str:
    """Return the script; table: every command's flags, by its whole name."""
    two = sorted(name for name in table if " " in name)
    firsts = dict.fromkeys([*(name.split()[0] for name in table), "help", "--help", "--version"])
    seconds = {first: [name.split()[1] for name in table if name.startswith(f"{first} ")] for first in firsts}
    every = [*two, *(name for name in table if " " not in name)]  # `sweep status` before `sweep`, which begins so, too
    values = [(f"{_pattern(name)}:{one}", of) for name in every for one, of in table[name].items() if of]
    lines = [
        "_bestguess() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" words=""',
        '    local command="${COMP_WORDS[1]} ${COMP_WORDS[2]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '    if [[ $COMP_CWORD == 1 ]]; then words="' + " ".join(firsts) + '"',
        '    elif [[ $COMP_CWORD == 2 && $word != -* ]]; then case "${COMP_WORDS[1]}" in',
        *(_case(first, of) for first, of in seconds.items() if of),
        '    esac; elif [[ $word == -* ]]; then case "$command" in',
        *(_case(_pattern(name), table[name]) for name in every),
        '    esac; else case "$command:$before" in',
        *(_case(pattern, of) for pattern, of in values),
        "    esac; fi",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _bestguess bestguess",
    ]
    return "\n".join((["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []) + lines)


def _pattern(name: str) -> str:
    """A pattern of the shell for a command line's first two words."""
    return shlex.quote(name) if " " in name else f"{shlex.quote(name + ' ')}*"


def _case(pattern: str, words: Iterable[str]) -> str:
    return f"        {pattern}) words={shlex.quote(' '.join(words))} ;;"
