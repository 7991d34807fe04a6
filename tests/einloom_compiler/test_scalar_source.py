"""Scalar expressions as source: un-jitted, compiled on scalars and on vectors, against NumPy."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.einloom_compiler.elementwise import LANES

from einloom_compiler.codegen import simd_lowering
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT, OPTIONS, print_module
from einloom_compiler.codegen.scalar_source import ScalarText, scalar_lines
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import (
    Mapped,
    Number,
    Scalar,
    Value,
    combined,
    evaluate_scalar,
)

pytestmark = pytest.mark.thinned(4)

Array = npt.NDArray[Any]

A, B, C = Value(0), Value(1), Value(2)
ANY = [
    combined("add", A, combined("multiply", B, C)),
    combined("subtract", combined("add", A, B), combined("add", A, B)),
    combined("where", A, B, C),
    combined("where", combined("equal", A, B), C, A),
    combined("add", combined("not_equal", A, B), combined("equal", B, C)),
    Mapped(make_map("square"), combined("add", A, Number(3.0))),
    combined("where", combined("equal", A, A), Number(1.0), Number(0.0)),
]
ORDERED = [
    combined("maximum", A, combined("minimum", B, C)),
    combined("maximum", Number(2.0), A),
    combined("minimum", A, Number(2.0)),
    combined("where", combined("less", A, B), combined("less_equal", C, B), C),
    Mapped(make_map("relu"), combined("add", A, B)),
]
FLOATING = [
    combined("divide", A, B),
    combined("divide", Number(1.0), combined("add", Number(1.0), Mapped(make_map("exp"), A))),
    combined("where", combined("less", A, B), combined("divide", A, B), Number(np.nan)),
    combined("maximum", combined("divide", A, B), Number(-np.inf)),
    combined("multiply", Mapped(make_map("tanh"), A), Mapped(make_map("sigmoid"), A)),
    *(combined("power", A, Number(n)) for n in (-1.0, 0.0, 1.0, 2.0, 3.0, 1.5, -2.5, np.inf)),
    combined("power", A, B),
]
DTYPES = ("float32", "float64", "int32", "int64", "uint8")
CASES = [
    (dtype, body)
    for dtype in DTYPES
    for body in (*ANY, *ORDERED, *(FLOATING if dtype.startswith("float") else ()))
]


def _values(dtype: str) -> list[Array]:
    rng = np.random.default_rng(3)
    found = rng.integers(-4, 5, (3, 64)).astype(dtype)
    if dtype.startswith("float"):
        found = found * np.asarray(1.25, dtype)
        found[0, :3] = found[1, 2:5] = found[2, 4:7] = np.nan, np.inf, -np.inf
    return list(found)


def _module(text: ScalarText, head: str, loop: str, store: str) -> dict[str, Any]:
    pad = "        " if loop else "    "
    body = "".join(f"{pad}{line}\n" for line in (*text.lines, store))
    namespace: dict[str, Any] = {}
    exec(print_module(f"{head}\n{loop}{body}"), namespace)
    return namespace


def _compiled(text: ScalarText, values: list[Array], width: int) -> Array:
    from numba import from_dtype, njit, types

    simd_lowering.register()
    dtype, n = values[0].dtype, len(values[0])
    head = f"@njit({OPTIONS})\ndef kernel(x, out):"
    result = text.result
    if width > 1:
        result = result if text.is_vector else f"vset{width}({result})"
        store = f"vstore{width}(out, i, {result})"
    else:
        store = f"out[i] = {result}"
    namespace = _module(text, head, f"    for i in range(0, {n}, {width}):\n", store)
    kernel = namespace["kernel"]
    options = {**kernel.targetoptions, "no_cpython_wrapper": True}
    options.pop("nopython", None)
    pointer: Any = types.CPointer
    kind = pointer(from_dtype(dtype))
    jitted: Any = njit([types.void(kind, kind)], **options)(kernel.py_func)
    (overload,) = jitted.overloads.values()
    address = overload.library.get_pointer_to_function(overload.fndesc.llvm_cfunc_wrapper_name)
    joined, out = np.concatenate(values), np.empty(n, dtype)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)(
        joined.ctypes.data, out.ctypes.data
    )
    return out


def _in_python(text: ScalarText, values: list[Array]) -> Array:
    body = "".join(f"    {line}\n" for line in text.lines)
    source = print_module(f"def value(a, b, c):\n{body}    return {text.result}\n")
    namespace: dict[str, Any] = {"njit": lambda **_: lambda function: function}
    exec(source.replace(NUMBA_IMPORT, ""), namespace)
    with np.errstate(all="ignore"):
        found: Array = np.broadcast_to(namespace["value"](*values), values[0].shape)
    return found


def _check(got: Array, body: Scalar, values: list[Array]) -> None:
    wide = [value.astype("float64") if value.dtype.kind == "f" else value for value in values]
    exact = np.broadcast_to(evaluate_scalar(body, wide), values[0].shape)
    assert got.dtype == values[0].dtype
    if got.dtype.kind == "f":
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(
                got, exact.astype(got.dtype), rtol=16 * np.finfo(got.dtype).eps
            )
    else:
        np.testing.assert_array_equal(got, exact.astype(got.dtype))


@pytest.mark.parametrize(("dtype", "body"), CASES)
def test_source_is_the_expression_in_every_form(dtype: str, body: Scalar) -> None:
    values, n, width = _values(dtype), 64, LANES[dtype]
    _check(_in_python(scalar_lines(body, ["a", "b", "c"], dtype), values), body, values)
    given = ["x[i]", f"x[i + {n}]", f"x[i + {2 * n}]"]
    _check(_compiled(scalar_lines(body, given, dtype), values, 1), body, values)
    if dtype != "uint8":
        loads = [f"vload{width}(x, i + {n * k})" for k in range(3)]
        text = scalar_lines(body, loads, dtype, vectors=(0, 1, 2))
        _check(_compiled(text, values, width), body, values)


def test_vectors_and_scalars_mix() -> None:
    values = _values("float32")
    body = combined("maximum", combined("add", A, B), combined("where", C, B, A))
    loads = ["vload8(x, i)", "x[64]", "x[128 + i // 64]"]
    text = scalar_lines(body, loads, "float32", vectors=(0,))
    assert text.is_vector
    same = [values[0], np.full(64, values[1][0]), np.full(64, values[2][0])]
    _check(_compiled(text, values, 8), body, same)


def test_a_part_used_twice_is_computed_once() -> None:
    twice = Mapped(make_map("exp"), A)
    lines = scalar_lines(combined("multiply", twice, twice), ["a"], "float32").lines
    assert lines == ("v0 = exp_float32(a)", "v1 = v0 * v0")


def test_no_vector_in_it_makes_it_a_scalar() -> None:
    text = scalar_lines(Number(2.0), ["a"], "float32", vectors=(0,))
    assert (text.result, text.is_vector) == ("np.float32(2.0)", False)
