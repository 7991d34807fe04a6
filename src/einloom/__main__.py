"""Run the command line: ``python -m einloom``."""

from einloom.cli import main

main()
