"""What is wrong with a command line, in one line of ours instead of tyro's boxed message. Imports nothing heavy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from bestguess.command import nearest


def unknown_command(words: Sequence[str], known: Iterable[str], rooms: Iterable[str]) -> str:
    """Return what is wrong with the words of a command line, none of which is a command, and what may be meant.

    known: the commands, such as `filters train`. rooms: what they begin with, where they are two words.
    """
    first, asked, known = words[0], " ".join(words[:2]), list(known)
    own = [name for name in known if name.startswith(f"{first} ")]
    if own and len(words) == 1:
        return f"{first}: name one of its commands: {', '.join(name.split()[1] for name in own)}"
    if not own and len(alike := [name for name in known if name.endswith(f" {first}")]) > 1:
        meant = f"; did you mean {', '.join(alike[:-1])} or {alike[-1]}?"
    else:
        meant = nearest(asked, own or alike or [*known, *rooms])
    return f"unknown command {asked!r}{meant}"


def in_one_line(box: str, args: Sequence[str]) -> str:
    """Return tyro's boxed message about `args` as one line, with the flag or the value that may be meant."""
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()]
    body = [line for line in lines if line and not re.match(r"─+ .* ─+$", line)]
    if "╭" not in box:  # where the terminal has no frames, the title is a paragraph of its own
        body = body[2:]
    rule = re.compile(r"[─-]+$")
    first = list(itertools.takewhile(lambda line: not rule.match(line), body))
    message = " ".join(first).rstrip(".") or "bad flags"
    if found := re.match(r"Unrecognized options: (.*)", message):
        return _unknown(found[1].split(", "), [line for line in body if line.startswith("--")])
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", message):
        value, flag, known = found[1], found[2], re.findall(r"'([^']*)'", found[3])
        return f"{flag} {value}: unknown{nearest(value, known)} (choose from {', '.join(known)})"
    if found := re.match(r"Missing value for argument '(.*)'", message):
        return f"{found[1]}: give a value"
    if found := re.match(r"Missing from .*?: (.*)", message):
        needed = re.findall(r"(\S+) (.*?)\.? \(required\)", found[1])
        return "; ".join(f"{name} is missing: {about[:1].lower()}{about[1:]}" for name, about in needed) or message
    if found := re.match(r"Error parsing (--[\w-]+): (.*)", message):
        usage = next((line for line in body if line.startswith(f"{found[1]} ")), "")
        return _not_of_its_type(found[1], found[2], usage, args)
    return message


def _unknown(words: Sequence[str], hints: Sequence[str]) -> str:
    """Say which flags there are none of, with the nearest that there is; hints: lines of help that tyro gives."""
    flags = [word for word in words if re.match(r"--?[A-Za-z]", word)]
    if not flags:
        return f"unexpected argument{'s' * (len(words) > 1)} {' '.join(words)}"
    alike = list(dict.fromkeys(line.split(" ")[0].rstrip(",") for line in hints))
    meant = nearest(flags[0].partition("=")[0], alike) or (f"; did you mean {' or '.join(alike)}?" if alike else "")
    return f"unknown flag{'s' * (len(flags) > 1)} {', '.join(flags)}{meant}"


def _not_of_its_type(flag: str, reason: str, usage: str, args: Sequence[str]) -> str:
    """Say what a value is not; which types tyro has tried is of no use to anybody."""
    same = lambda arg: arg.partition("=")[0].replace("_", "-") == flag  # noqa: E731
    place = next((i for i, arg in enumerate(args) if same(arg)), None)
    if place is None:
        return f"{flag}: {reason}"
    inline = args[place].partition("=")[2:] if "=" in args[place] else ()
    values = [*inline, *itertools.takewhile(lambda arg: not arg.startswith("--"), args[place + 1 :])]
    kinds = {"an integer": r"\bINT\b|int\(\)", "a number": r"\bFLOAT\b|float:", "True or False": r"\{True,False\}"}
    wanted = [kind for kind, sign in kinds.items() if re.search(sign, reason)]
    wanted = wanted or [kind for kind, sign in kinds.items() if re.search(sign, usage)]
    if wanted:
        told = f"not {' or '.join(wanted)}"
    else:
        told = "not a value that it takes" if "valid parse" in reason else reason
    return f"{flag} {' '.join(values)}: {told}"
