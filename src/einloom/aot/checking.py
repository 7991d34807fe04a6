"""Check a built library: random inputs in a fresh process without einloom, against a reference."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.aot.building import Built
from einloom.aot.cpus import host_architecture
from einloom.aot.shipped.calls import parsed, value
from einloom.aot.targets import example_sizes
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import EinloomError
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.traversal import dtype_of, nodes_of

Array = npt.NDArray[Any]
#: Returns what the library should, for these inputs.
Reference = Callable[[Sequence[Array]], Sequence[Array]]
#: Largest difference allowed of an output, relative to its largest value, by the least precise
#: dtype that it is computed in.
TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-5, "complex64": 2e-5}
_TOLERANCE = 1e-12
#: What the fresh process runs: it may import NumPy, the loader, and nothing of einloom.
_SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import numpy as np
sys.path.insert(0, {folder!r})
from {name} import {name} as function
assert not any(module.partition(".")[0].startswith("einloom") for module in sys.modules)
with np.load({inputs!r}) as given:
    results = {{}}
    for case in range({n_cases}):
        arrays = [given[f"{{case}}_{{n}}"].view(dtype) for n, dtype in enumerate({dtypes!r})]
        found = function(*arrays)
        for n, array in enumerate(found if isinstance(found, tuple) else (found,)):
            results[f"{{case}}_{{n}}"] = array.view({storages!r}[n])
np.savez({outputs!r}, **results)
print(function.cpu)
"""


class CheckError(EinloomError, RuntimeError):
    """A library's results differ from the reference, or it could not be run."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        cpu: the level that ran.
        against: what gave the expected results.
        cases: how many sizes were tried.
        error: largest difference, relative to the largest value of its output.
    """

    cpu: str
    against: str
    cases: int
    error: float


def check_source(built: Built) -> Checked:
    """Compare a library with what it was built from: its reference, else its graphs compiled here.

    Small and larger sizes of all symbols are tried, as far as guards and ranges allow.

    Raises:
        CheckError: as :func:`check`.
    """
    architecture = built.manifest["architecture"]
    if architecture != host_architecture():
        raise CheckError(
            f"{built.name} is {architecture} code, which this machine does not run; "
            "it is built, and its example.c runs it there"
        )
    source = built.source
    reference, against = source.reference, "Keras"
    if reference is None:
        against = "the same compiled in the process"
        program = source.program()

        def reference(arrays: Sequence[Array]) -> Sequence[Array]:
            return program.run_all(arrays, [None] * len(source.roots), None, "pool")

    sizes = sizes_to_try(built.manifest, example_sizes(source, built.name))
    return check(built, reference, against, sizes)


def sizes_to_try(manifest: Mapping[str, Any], small: Mapping[str, int]) -> list[dict[str, int]]:
    """Return small sizes of a library's symbols, the least, and larger ones, as guards allow."""
    tried = [dict(small)]
    for factor in (0, 7, 40):
        sizes = {}
        for symbol in manifest["symbols"]:
            size = max(small[symbol["name"]] * factor, symbol["least"])
            sizes[symbol["name"]] = size if symbol["most"] is None else min(size, symbol["most"])
        if sizes not in tried and all(_holds(guard, sizes) for guard in manifest["guards"]):
            tried.append(sizes)
    return tried


def _holds(guard: Mapping[str, str], sizes: Mapping[str, int]) -> bool:
    left, right = (value(parsed(guard[side]), sizes) for side in ("left", "right"))
    return left == right if guard["relation"] == "==" else left >= right


def check(
    built: Built, reference: Reference, against: str, sizes: Sequence[Mapping[str, int]]
) -> Checked:
    """Compare a library with its reference on random inputs.

    Args:
        built: the library.
        reference: what it should compute.
        against: what people are told that the reference is.
        sizes: of symbols, one mapping a case.

    Raises:
        CheckError: the process fails, or results differ by more than :data:`TOLERANCES`.
    """
    manifest = built.manifest
    generator = np.random.default_rng(0)
    cases = [
        [
            random_array(generator, [value(parsed(n), case) for n in port["shape"]], port["dtype"])
            for port in manifest["inputs"]
        ]
        for case in sizes
    ]
    cpu, found = _results(built, cases)
    names = [port["name"] for port in manifest["outputs"]]
    allowed = [tolerance(root) for root in built.source.roots]
    worst = 0.0
    for number, (arrays, results) in enumerate(zip(cases, found, strict=True)):
        wanted = reference(arrays)
        for name, most, result, expected in zip(names, allowed, results, wanted, strict=True):
            error = difference(result, expected)
            worst = max(worst, error)
            if error > most:
                raise CheckError(
                    f"{built.name}: output '{name}' differs from the reference by "
                    f"{error:.1e} of its largest value at {dict(sizes[number])}"
                )
    return Checked(cpu, against, len(cases), worst)


def _results(built: Built, cases: Sequence[Sequence[Array]]) -> tuple[str, list[list[Array]]]:
    """Return the level that ran and the outputs of each case."""
    manifest = built.manifest
    dtypes = [as_dtype(port["dtype"]) for port in manifest["outputs"]]
    home = str(Path(np.__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="einloom-check-") as scratch:
        inputs, outputs = Path(scratch, "inputs.npz"), Path(scratch, "outputs.npz")
        given = {
            f"{case}_{n}": array.view(_storage(array.dtype))
            for case, arrays in enumerate(cases)
            for n, array in enumerate(arrays)
        }
        np.savez(inputs, **given)
        names = [port["dtype"] for port in manifest["inputs"]]
        packages = Path(scratch, "packages")
        packages.mkdir()
        for name in ("numpy", "numpy.libs", *(["ml_dtypes"] if "bfloat16" in names else [])):
            if Path(home, name).exists():
                (packages / name).symlink_to(Path(home, name))
        script = _SCRIPT.format(
            paths=[str(packages)],
            folder=str(built.folder),
            name=built.name,
            inputs=str(inputs),
            outputs=str(outputs),
            n_cases=len(cases),
            dtypes=names,
            storages=[str(_storage(dtype)) for dtype in dtypes],
        )
        command = [sys.executable, "-I", "-S", "-B", "-c", script]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise CheckError(f"{built.name} fails in a fresh process:\n{run.stderr.strip()}")
        with np.load(outputs) as loaded:
            found = [
                [loaded[f"{case}_{n}"].view(dtype) for n, dtype in enumerate(dtypes)]
                for case in range(len(cases))
            ]
    return run.stdout.strip(), found


def _storage(dtype: npt.DTypeLike) -> Any:
    """Return a dtype that files of arrays can hold, of the same bytes."""
    found = np.dtype(dtype)
    return np.dtype(np.uint16) if found.name == "bfloat16" else found


def tolerance(root: Node) -> float:
    """Return the largest difference allowed of an output, relative to its largest value."""
    return max(TOLERANCES.get(str(dtype_of(node)), _TOLERANCE) for node in nodes_of(root))


def random_array(generator: np.random.Generator, shape: Sequence[int], name: str) -> Array:
    """Return random numbers of a dtype; 0 and 1 where it holds integers, which may be indices."""
    dtype = as_dtype(name)
    if dtype.kind in "iub":
        return generator.integers(0, 2, shape).astype(dtype)
    values: Array = generator.standard_normal(shape)
    if dtype.kind == "c":
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(dtype)


def difference(result: Array, expected: Array) -> float:
    """Return the largest difference relative to the largest value."""
    if result.shape != expected.shape:
        return float("inf")
    wide = np.complex128 if result.dtype.kind == "c" else np.float64
    a, b = result.astype(wide), expected.astype(wide)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        gap = np.nan_to_num(np.where(a == b, 0, abs(a - b)))
    scale = max(1e-30, float(np.nan_to_num(abs(b), posinf=1.0).max(initial=0.0)))
    return float(gap.max(initial=0.0)) / scale
