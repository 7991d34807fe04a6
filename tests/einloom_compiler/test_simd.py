"""SIMD primitives: what is compiled equals the plain-Python twin, bit for bit where it is exact."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from einloom_compiler.codegen.jit import Kernel, serial
from einloom_compiler.codegen.numba_source import OPTIONS, print_module
from einloom_compiler.codegen.text import KernelText

pytestmark = pytest.mark.thinned(2)

Array = npt.NDArray[Any]
DTYPES = ["float32", "float64", "complex64", "complex128", "int32", "uint64"]


def _both(body: str, source: Array, target: Array, numbers: tuple[int, ...] = ()) -> list[Array]:
    """Run ``body`` on pointers x and y and numbers n0, n1, ... jitted and as Python."""
    names = [f"n{k}" for k in range(len(numbers))]
    head = ", ".join(["x", "y", *names, "acc", "acc_0", "lo", "hi"])
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    storage = [source.dtype.name, target.dtype.name]
    text = KernelText(
        title="test",
        source=print_module(f"@njit({OPTIONS})\ndef kernel({head}):\n{lines}\n"),
        pointers=tuple(zip("xy", storage, strict=True)),
        numbers=tuple(names),
        scratch_elements=0,
        scratch_dtype="uint8",
    )
    kernel = Kernel(None, text)  # type: ignore[arg-type]
    jitted, plain = target.copy(), target.copy()
    kernel.run_python([source, plain], numbers, total=1)
    words = [source.ctypes.data, jitted.ctypes.data, *numbers, 0]
    block = (ctypes.c_int64 * len(words))(*words)
    serial(kernel.entry)(ctypes.addressof(block), 0, 0, 1)
    return [jitted, plain]


def _values(n: int, dtype: str) -> Array:
    rng = np.random.default_rng(3)
    values = rng.integers(-8, 9, n) + (1j * rng.integers(-8, 9, n) if dtype[0] == "c" else 0)
    return np.asarray(np.abs(values) if dtype[0] == "u" else values).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 4, 8])
def test_lanes_are_multiplied_and_added(dtype: str, width: int) -> None:
    if dtype[0] == "c" and width > 4:
        pytest.skip("wider than any vector register")
    x = _values(32, dtype)
    body = (
        f"a, b, c = vload{width}(x, 0), vload{width}(x, 8), vload{width}_masked(x, 16, n0)\n"
        f"vstore{width}(y, 0, vfma(a, b, c))\n"
        f"vstore{width}(y, 8, vadd(vmul(a, b), vset{width}(x[31])))\n"
        f"vstore{width}_masked(y, 16, vconj(a), n0)\n"
        f"vstore{width}(y, 24, vset{width}_masked(x[30], n0))"
    )
    for n in range(width + 1):
        jitted, plain = _both(body, x, np.zeros(32, dtype), (n,))
        np.testing.assert_array_equal(jitted, plain)
        np.testing.assert_array_equal(
            jitted[:width],
            x[:width] * x[8 : 8 + width] + np.where(np.arange(width) < n, x[16 : 16 + width], 0),
        )
        np.testing.assert_array_equal(jitted[16 + n : 24], 0)


@pytest.mark.thinned(1)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sum_of_lanes(dtype: str) -> None:
    x = _values(8, dtype)
    jitted, plain = _both("y[0] = vsum(vload4(x, 1))", x, np.zeros(1, dtype))
    np.testing.assert_array_equal(jitted, plain)
    np.testing.assert_array_equal(jitted[0], x[1:5].sum())


@pytest.mark.parametrize(("dtype", "width", "n"), [("float32", 8, 3), ("int64", 4, 6)])
def test_lanes_are_spread_along_a_run(dtype: str, width: int, n: int) -> None:
    body = [f"v = vload{width}(x, 0)"]
    for k in range(n):
        body.append(f"vstore{width}(y, {k * width}, vrepeat(v, {n}, {k}))")
        body.append(f"vstore{width}(y, {(n + k) * width}, vcycle(v, {min(n, width)}, {k}))")
    source = np.arange(width).astype(dtype)
    repeated = np.repeat(source, n)
    recurring = np.resize(source[:n], n * width)
    for result in _both("\n".join(body), source, np.zeros(2 * n * width, dtype)):
        np.testing.assert_array_equal(result, np.concatenate([repeated, recurring]))


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", [*DTYPES, "uint8", "uint16"])
@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_blocks_are_transposed_whole_or_in_part(dtype: str, width: int) -> None:
    x = (np.arange(20 * 20) % 251 + 1).astype(dtype)
    whole = f"vtranspose{width}(y, 1, n0, x, 2, n1)"
    jitted, plain = _both(whole, x, np.zeros(20 * 20, dtype), (19, 20))
    np.testing.assert_array_equal(jitted, plain)
    part = f"vtranspose{width}_masked(y, 1, n0, x, 2, n1, n2, n3)"
    for n_c, n_k in ((width, width), (width - 1, 1), (1, width), (0, 3), (width // 2, width - 1)):
        jitted, plain = _both(part, x, np.zeros(20 * 20, dtype), (19, 20, n_c, n_k))
        np.testing.assert_array_equal(jitted, plain)
        assert np.count_nonzero(jitted) == n_c * n_k


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("n", [0, 1, 3, 15, 16, 17, 63, 64, 65, 200])
def test_streamed_copies_write_what_is_asked_and_no_more(dtype: str, n: int) -> None:
    x = np.arange(1, 300).astype(dtype)
    bits = {"float16": "uint16"}.get(dtype, dtype)
    body = "vstream(y, n1, x, 3, n0)\nvfence()"
    for to in (0, 1, 5, 16):
        jitted, plain = _both(body, x.view(bits), np.zeros(300, bits), (n, to))
        np.testing.assert_array_equal(jitted, plain)
        np.testing.assert_array_equal(jitted[to : to + n], x.view(bits)[3 : 3 + n])
        assert not jitted[to + n :].any()


def test_streamed_copies_to_elements_that_straddle_lines() -> None:
    """Complex numbers are aligned to their parts only, so that a line may start within one."""
    memory = np.zeros(200 * 16 + 72, np.uint8)
    start = -memory.ctypes.data % 64 + 8
    target = memory[start : start + 200 * 16].view(np.complex128)
    x = np.arange(200).astype(np.complex128)
    words = [x.ctypes.data, target.ctypes.data, 0]
    text = KernelText(
        title="test",
        source=print_module(
            f"@njit({OPTIONS})\n"
            "def kernel(x, y, acc, acc_0, lo, hi):\n    vstream(y, 0, x, 0, 150)\n"
        ),
        pointers=(("x", "complex128"), ("y", "complex128")),
        numbers=(),
        scratch_elements=0,
        scratch_dtype="uint8",
    )
    block = (ctypes.c_int64 * 3)(*words)
    serial(Kernel(None, text).entry)(ctypes.addressof(block), 0, 0, 1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(target[:150], x[:150])
    assert not target[150:].any()


def test_the_phase_of_a_pointer_counts_elements_past_a_line() -> None:
    memory = np.zeros(64, np.float32)
    start = -memory.ctypes.data % 64 // 4
    for past in (0, 1, 7, 15):
        (jitted, plain) = _both("y[0] = vphase(x)", memory[start + past :], np.zeros(1, np.int64))
        assert (jitted[0], plain[0]) == (past, 0)
