"""The program `bestguess`, and `python -m bestguess`: the command line."""

import signal


def main() -> None:
    """Run the command line; where Ctrl-C comes during its imports, or once it is done, end without a traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # what runs in the background may ignore it
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bestguess.cli import main as command_line

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command_line()
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
