"""What every command shares: its declaration, its errors, its console. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text


class UserError(Exception):
    """Bad input: one line that names the flag, file or key at fault and the mend. Exit status 2."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(f"''{message}" if message.startswith(": ") else message))  # an empty name is one, too


class Absent(UserError):
    """What a command needs is not here: a file, a folder, a package, the network. Elsewhere the same input is good."""


def check_range(name: str, value: float | None, least: float, most: float | None = None) -> None:
    """Raise a UserError where the value of a flag, such as `--window`, is below `least` or above `most`, or NaN.

    None passes: it was not given.
    """
    if value is not None and not (least <= value and (most is None or value <= most)):
        bound = f"{least:,} or more" if most is None else f"from {least:,} to {most:,}"
        raise UserError(f"{name} {value}: must be {bound}")


class Failure(Exception):
    """A command that ran but whose result is a failure (a self-test, a check). Exit status 1.

    result: what --json prints all the same, where there is something to print.
    """

    status = 1
    """The exit status."""

    def __init__(self, message: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(shown(message))
        self.result = result


class Terminated(KeyboardInterrupt):
    """SIGTERM, as Ctrl-C is told: what is under way ends in an orderly way. Exit status 143."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` meanwhile, and Ctrl-C KeyboardInterrupt, where that is heard of.

    An import that is cut short leaves half a module behind, which may crash the process; Python drops what is raised in
    a destructor. There the signal comes again, a moment later.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            again(number)
        else:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def again(number: int) -> None:
        def send() -> None:
            if signal.getsignal(number) is stop:
                os.kill(os.getpid(), number)

        timer = threading.Timer(0.02, send)
        timer.daemon = True
        timer.start()

    def dropped(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            again(signal.SIGTERM if issubclass(what.exc_type, Terminated) else signal.SIGINT)
        else:
            tell(what)

    before, tell = {}, sys.unraisablehook
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, stop)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job may ignore it
            before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = tell
        for number, handler in before.items():
            signal.signal(number, handler)


def _imports(frame: FrameType | None) -> bool:
    """Return whether an import is under way where `frame` is."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def interrupted_with(on_disk: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, wherever they come in between, say what is on disk."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not stop.args:
            stop.args = (on_disk(),)
        raise


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, the dataclass of its flags, the function that runs it.

    `flags` and `run` are `module:name`, so that listing commands imports none of them. The function takes (flags,
    console) and returns one JSON-able dict; the command line adds `--json` itself. Where a command is `given_family`,
    `flags` names a function from the family to the dataclass, and the function takes (family, flags, console).

    The dataclass may have class methods `choices() -> dict[str, tuple[str, ...]]`, the values of flags such as
    --preset that set the others' defaults, and `chosen(values) -> instance`; with `supposed(args)`, the other flags
    have a say in what is chosen where nothing is. With a field `resume` it lists in
    WITH_RESUME the flags that may be given with it.
    """

    summary: str
    flags: str
    run: str
    given_family: bool = False
    family: Any = None
    """The `Family`, set by its declaration."""

    def flags_class(self) -> Any:
        """Return the dataclass of the command's flags."""
        found = load(self.flags)
        return found(self.family) if self.given_family else found

    def call(self, flags: Any, console: Console) -> dict[str, Any]:
        """Run the command and return its result."""
        return load(self.run)(*((self.family,) if self.given_family else ()), flags, console)


@contextlib.contextmanager
def told_of(where: object, fix: str = "") -> Iterator[None]:
    """Put what is at fault before the line of a UserError, and the fix behind it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}{fix}") from error


def load(path: str) -> Any:
    """Return what `module:name` names; its module is imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known word nearest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def with_extra(extra: str, package: str) -> str:
    """Return how to get a package that an extra of ours brings: a command that works in a checkout and elsewhere."""
    return f"begin the command with `uv run --extra {extra} bestguess`, or install {package}"


# Control characters, which steer a terminal; those that turn the direction of writing; halves of characters.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count and what it counts: `1 run`, `2 runs`; many: its plural where that is not by an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shown(text: str, keep: str = "") -> str:
    """Return `text` with every character that would act on a terminal, but those of `keep`, written out: `\\x1b`."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def note(line: str) -> None:
    """Say on standard error, in one line, what a reader must know of a result that is given all the same."""
    print(f"bestguess: note: {shown(line)}", file=sys.stderr)


def labelled(label: str, text: str, style: str) -> Text:
    """Return `label` in a style and, after it, `text` as it is; neither is taken as markup."""
    from rich.text import Text

    return Text.assemble((shown(label), style), " " * bool(text), shown(text))


def make_console(json: bool) -> Console:
    """Return the console that a command talks to: standard output, or standard error under `--json`.

    It prints text as it is: names and messages come from outside, and `[red]` in one of them is no markup. Styles are
    given by `style=` or as a Text.
    """
    from rich.console import Console
    from rich.text import Text

    class Literal(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(shown(text, keep="\n\t"), **options)

        def on_broken_pipe(self) -> None:
            raise  # it is called where this was caught; of itself it would exit with status 1

        def status(self, status: Any, **options: Any) -> Status:
            return super().status(Text(shown(status)) if isinstance(status, str) else status, **options)

    # A pipe has no width of its own: 100 columns keep tables whole in logs.
    file = sys.stderr if json else sys.stdout
    width = None if file.isatty() else 100
    return Literal(file=file, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)
