"""One progress line on stderr while a first compile takes noticeably long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds after which a compile is worth a line.
PATIENCE = 1.0


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Say what is being compiled, once, if it takes more than a second and stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    message = f"einloom: compiling {what} ...\n"
    timer = threading.Timer(PATIENCE, lambda: sys.stderr.write(message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
