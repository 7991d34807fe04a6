"""Output that never fails on a character that a terminal's encoding lacks."""

from __future__ import annotations

import io
import sys


def allow_every_character() -> None:
    """Let stdout and stderr escape characters that their encoding cannot write."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
