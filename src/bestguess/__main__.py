"""The program `bestguess`, and `python -m bestguess`: the command line."""

import os
import signal


def main() -> None:
    """Run the command line; where Ctrl-C comes during its imports, or once it is done, end without a traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # what runs in the background may ignore it
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Before NumPy is imported. Our products in float64 are many and small, such as the thousands of AR(k). Threads of
    # BLAS wait by spinning: they gain nothing there, and where a machine does other work, too, they take a hundred
    # times as long. JAX has threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
