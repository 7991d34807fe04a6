"""Time reductions that are no sums of products: ``python -m benchmarks.reductions [NAME ...]``.

Cases are in ``cases/reductions.json``: maxima, products, variances and softmax along axes of
arrays, most of them larger than the caches. Times are milliseconds, the least of interleaved
repeats after a check against NumPy, on as many threads as there are cores; the ratio is the best
peer's time in ours. Bytes are those of the operand, read once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import einloom as el
from benchmarks.timing import Effort, sampled
from einloom import functions

CASES = Path(__file__).parent / "cases" / "reductions.json"
#: How long a case is measured.
EFFORT = Effort(rounds=30)

Array = npt.NDArray[Any]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A reduction and its operand.

    Attributes:
        name: unique among all cases.
        function: its name in :mod:`einloom.functions`.
        shape: of the operand.
        axis: what it runs along.
        dtype: of the operand.
    """

    name: str
    function: str
    shape: tuple[int, ...]
    axis: int | tuple[int, ...]
    dtype: str


def load_cases(names: list[str]) -> Iterator[Case]:
    """Give the cases called so, all of them where no name is given."""
    known = {each["name"]: each for each in json.loads(CASES.read_text())["cases"]}
    for name in names or known:
        if name not in known:
            raise SystemExit(f"no case {name!r}; known are {', '.join(known)}")
        each = known[name]
        axis = tuple(each["axis"]) if isinstance(each["axis"], list) else each["axis"]
        yield Case(name, each["function"], tuple(each["shape"]), axis, each["dtype"])


def numpy_peer(case: Case, x: Array) -> Call:
    """Return a call of NumPy's function, or of what people write for it."""
    axis = case.axis
    if case.function != "softmax":
        function = getattr(np, case.function)
        return lambda: function(x, axis=axis)

    def softmax() -> Array:
        shifted: Array = np.exp(x - x.max(axis=axis, keepdims=True))
        shifted /= shifted.sum(axis=axis, keepdims=True)
        return shifted

    return softmax


def torch_peer(case: Case, x: Array) -> Call | None:
    """Return a call of PyTorch's function; None where it has none, or is not there."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tensor, axis = torch.from_numpy(x), case.axis
    calls: dict[str, Call] = {
        "max": lambda: torch.amax(tensor, dim=axis),
        "min": lambda: torch.amin(tensor, dim=axis),
        "var": lambda: torch.var(tensor, dim=axis, correction=0),
    }
    if isinstance(axis, int):
        calls["prod"] = lambda: torch.prod(tensor, dim=axis, dtype=tensor.dtype)
        calls["softmax"] = lambda: torch.softmax(tensor, dim=axis)
    return calls.get(case.function)


def operand(case: Case) -> Array:
    """Return values whose products neither overflow nor vanish."""
    values = np.random.default_rng(0).uniform(-1, 1, case.shape)
    if case.function == "prod":
        return (1 + values / 1024).astype(case.dtype)
    return (values * 100).astype(case.dtype)


def run(case: Case) -> str:
    """Return a line of the table: each contender's time."""
    x = operand(case)
    function = getattr(functions, case.function)
    compiled = el.compile(function(el.spec(*x.shape, dtype=case.dtype), axis=case.axis))
    expected = numpy_peer(case, x)()
    tolerance = 1e-2 if case.dtype == "float16" else 1e-4
    np.testing.assert_allclose(compiled(x), expected, rtol=tolerance, atol=tolerance)
    calls = {"einloom": lambda: compiled(x), "numpy": numpy_peer(case, x)}
    peer = torch_peer(case, x)
    calls |= {} if peer is None else {"torch": peer}
    least = {name: min(found) for name, found in sampled(calls, EFFORT).items()}
    own = least["einloom"]
    ratio = min(seconds for name, seconds in least.items() if name != "einloom") / own
    times = "  ".join(f"{name} {1e3 * seconds:8.3f}" for name, seconds in least.items())
    return f"{case.name:<24} {times}  {1e-9 * x.nbytes / own:6.1f} GB/s  ratio {ratio:.2f}"


def main() -> None:
    """Print a line for each case."""
    for case in load_cases(sys.argv[1:]):
        print(run(case), flush=True)


if __name__ == "__main__":
    main()
