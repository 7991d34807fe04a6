"""What a call costs: nanoseconds of einloom's and NumPy's calls on operands of 3 x 3.

The arithmetic takes some 10 ns, so that all else is overhead. Each line is the least of many short
turns, taken in rounds; by hand or by ``make bench-overhead``. The last lines are calls of layouts
that were not seen before, whose kernels are: they are planned anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.timing import spelled, timed

Calls = dict[str, Callable[[], Any]]


def calls() -> Calls:
    """Return what is timed, by name."""
    import einloom as el
    from einloom.native import load

    x, y, z = np.random.default_rng(0).random((3, 3, 3))
    out = np.empty((3, 3))
    square = el.spec(3, 3, dtype="float64")
    product = el.compile("ij,jk->ik", square, el.spec(3, 3, dtype="float64"))
    chain = el.compile("ij,jk,kl->il", *(el.spec(3, 3, dtype="float64") for _ in range(3)))
    found: Calls = {
        "compiled, out=": spelled(product, x, y, out=out),
        "compiled": spelled(product, x, y),
        "compiled, 3 operands, out=": spelled(chain, x, y, z, out=out),
        "el.einsum": spelled(el.einsum, "ij,jk->ik", x, y),
        "el.einsum, order=C": spelled(el.einsum, "ij,jk->ik", x, y, order="C"),
        "el.einsum to a scalar": spelled(el.einsum, "ij,ij->", x, y),
        "el.matmul": spelled(el.matmul, x, y),
        "el.tensordot, axes=1": spelled(el.tensordot, x, y, axes=1),
        "np.einsum": spelled(np.einsum, "ij,jk->ik", x, y),
        "np.einsum to a scalar": spelled(np.einsum, "ij,ij->", x, y),
        "np.matmul": spelled(np.matmul, x, y),
        "np.matmul, out=": spelled(np.matmul, x, y, out=out),
        "np.tensordot, axes=1": spelled(np.tensordot, x, y, axes=1),
    }
    if load().module is not None:
        # Less the serial call, that is the pool's cost: a released GIL, and a thread that is awake.
        rows, sums = np.ones((8, 4)), np.empty(8)
        operand = el.spec("B", 4, dtype="float64")
        product = el.compile("bi,bi->b", operand, el.spec("B", 4, dtype="float64"))
        for threads in (1, 2):
            found[f"8 inner products, threads={threads}"] = spelled(
                product, rows, rows, out=sums, threads=threads
            )
    return found


def measure(found: Calls, rounds: int) -> dict[str, float]:
    """Return the nanoseconds of each call."""
    best = dict.fromkeys(found, float("inf"))
    for call in found.values():
        call()
        call()
    for _ in range(rounds):
        for name, call in found.items():
            timed(call, 200)
            best[name] = min(best[name], 1e9 * timed(call, 2000))
    return best


#: Each equation meets so many layouts; their arithmetic takes microseconds.
NEW_LAYOUTS = {"ij,jk->ik": 60, "bij,bjk->bik": 60, "ij->ji": 60}


def new_layouts() -> dict[str, float]:
    """Return the nanoseconds of a call of a new layout: the least, over many, of each equation."""
    import einloom as el

    found = {}
    for equation, n_layouts in NEW_LAYOUTS.items():
        terms, output = equation.split("->")
        letters = sorted({*terms} - {","})
        symbols = [
            el.spec(*(letter.upper() for letter in term), dtype="float32")
            for term in terms.split(",")
        ]
        function = el.compile(equation, *symbols)
        least = float("inf")
        for number in range(n_layouts):
            extents = {letter: 33 + place for place, letter in enumerate(letters)}
            extents[letters[0]] += number
            operands = [
                np.zeros([extents[letter] for letter in term], np.float32)
                for term in terms.split(",")
            ]
            out = np.empty([extents[letter] for letter in output], np.float32)
            least = min(least, timed(spelled(function, *operands, out=out), 1))
        found[f"a new layout, {equation}"] = 1e9 * least
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100, help="turns of each call")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = measure(calls(), options.rounds)
    pool = [found[name] for name in found if name.startswith("8 inner products")]
    found |= new_layouts()
    if options.json:
        print(json.dumps({name: round(value, 1) for name, value in found.items()}, indent=2))
        return
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:<{width}} {value:8.0f} ns")
    if pool:
        serial, shared = pool
        print(
            f"{'the pool, hot':<{width}} {shared - serial:8.0f} ns (8 inner products on 2 threads)"
        )


if __name__ == "__main__":
    main()
