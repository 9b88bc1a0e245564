"""`python -m bestguess` is the command line."""

from bestguess.cli import main

main()
