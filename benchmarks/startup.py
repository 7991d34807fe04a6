"""Time until a fresh process has its first result: cold, and with kernels on disk.

    python -m benchmarks.startup [--rounds 10]

Each number is the minimum over fresh processes, in milliseconds from the interpreter's first
statement, so that the interpreter's own start is not counted. Importing NumPy alone is the floor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import click

_CLOCK = "import time; start = time.perf_counter()\n"
_PRINT = "\nprint(1e3 * (time.perf_counter() - start))"
_NUMPY = "import numpy as np\n"
_EINLOOM = f"{_NUMPY}import einloom as el\n"

FLOOR = "import numpy"
#: Statements of each process, by what the table calls them.
CASES = {
    FLOOR: _NUMPY,
    "el.einsum, a 3 x 3 product": f"{_EINLOOM}x = np.ones((3, 3)); el.einsum('ij,jk->ik', x, x)",
    "el.einsum, a sum": f"{_EINLOOM}el.einsum('abc->ac', np.ones((9, 9, 9)))",
    "el.einsum, a packed product": (
        f"{_EINLOOM}x = np.ones((200, 200), np.float32); el.einsum('ij,jk->ik', x, x)"
    ),
    "el.einsum, three operands": (
        f"{_EINLOOM}x = np.ones((9, 9)); el.einsum('ij,jk,kl->il', x, x, x)"
    ),
    "el.compile, concrete extents": (
        f"{_EINLOOM}f = el.compile('ij,jk->ik', el.spec(3, 4), el.spec(4, 5))\n"
        "f(np.ones((3, 4)), np.ones((4, 5)))"
    ),
    "el.compile, a symbolic extent": (
        f"{_EINLOOM}f = el.compile('ij,jk->ik', el.spec('B', 4), el.spec(4, 5))\n"
        "f(np.ones((3, 4)), np.ones((4, 5)))"
    ),
}


def milliseconds(statements: str, cache: str) -> float:
    """Return what a fresh process, one thread, with its kernels in ``cache`` takes."""
    environment = {**os.environ, "EINLOOM_CACHE_DIR": cache, "EINLOOM_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{_CLOCK}{statements}{_PRINT}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


def measure(statements: str, rounds: int) -> tuple[float, float]:
    """Return cold and warm milliseconds: on an empty cache, and on one that holds the kernels."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="einloom-startup-") as cache:
            cold.append(milliseconds(statements, cache))
            warm.append(milliseconds(statements, cache))
    return min(cold), min(warm)


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Fresh processes of each kind.")
def main(rounds: int) -> None:
    """Print the table."""
    click.echo("| first result of | cold, ms | warm, ms | warm beyond NumPy, ms |")
    click.echo("|---|---|---|---|")
    floor = 0.0
    for name, statements in CASES.items():
        cold, warm = measure(statements, rounds)
        floor = floor or warm
        click.echo(f"| {name} | {cold:.0f} | {warm:.0f} | {warm - floor:.0f} |")


if __name__ == "__main__":
    main()
