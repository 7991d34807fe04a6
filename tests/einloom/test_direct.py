"""The direct family over extents, strides and dtypes: transposes both ways, maps, sums."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import einloom as el
from einloom.runtime import contractor
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.schedule.machine import host

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]
Close = Callable[..., None]
TRANSPOSES = ["ij->ji", "ijk->kji", "ijkl->ljki", "ijkl->ikjl", "ijk->jki", "ijk->ikj"]
MAPS = ["i,j->ij", "ki,kj->kij", "ij,i->ij", "ij,j->ij", "ij,ij->ij", "i,j,k->ijk", "ik,jk->ijk"]
SUMS = ["ij->i", "ij->j", "ijk->ik", "ijk->j", "iij->j", "ij,ij->i", "ij,i->i", "i,ij->j"]
DTYPES = ["uint8", "float16", "float32", "int64", "complex64", "complex128"]


@contextmanager
def _no_jit() -> Iterator[None]:
    settings = vars(numba.config)
    before = settings["DISABLE_JIT"]
    settings["DISABLE_JIT"] = 1
    try:
        yield
    finally:
        settings["DISABLE_JIT"] = before


@contextmanager
def _l2_bytes(n: int) -> Iterator[None]:
    """Plan for a machine with an L2 of ``n`` bytes: larger copies are streamed."""
    machine = replace(host(), l2_bytes=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contractor, "host", lambda: machine)
        yield


def _operands(equation: str, extents: dict[str, int], dtype: str, steps: list[int]) -> list[Array]:
    """Return operands whose axes have these steps; a step of 0 repeats one element."""
    rng = np.random.default_rng(11)
    found = []
    for term in equation.split("->")[0].split(","):
        shape = tuple(
            extents[letter] * max(1, abs(s)) for letter, s in zip(term, steps, strict=False)
        )
        values = rng.uniform(-9, 9, shape) + (1j * rng.uniform(-9, 9, shape) if "c" in dtype else 0)
        array = np.asarray(np.abs(values) if dtype[0] == "u" else values).astype(dtype)
        view = array[tuple(slice(None, None, s or 1) for s in steps[: len(term)])]
        for axis, step in enumerate(steps[: len(term)]):
            if step == 0 and view.shape[axis]:
                first = view[(slice(None),) * axis + (slice(0, 1),)]
                view = np.broadcast_to(first, view.shape)
        found.append(view)
    return found


def _expected(equation: str, operands: list[Array]) -> Array:
    wide = [x.astype(np.float64) if x.dtype == np.float16 else x for x in operands]
    return np.asarray(np.einsum(equation, *wide))


STEPS = st.lists(st.sampled_from([1, 1, 1, 2, -1, -3, 0]), min_size=4, max_size=4)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    equation=st.sampled_from(TRANSPOSES),
    extents=st.tuples(*[st.integers(0, 21)] * 2, *[st.integers(0, 5)] * 2),
    dtype=st.sampled_from(DTYPES),
    steps=STEPS,
    l2_bytes=st.sampled_from([16, 1 << 20]),
)
@example(equation="ijkl->ljki", extents=(3, 7, 5, 17), dtype="float32", steps=[1] * 4, l2_bytes=16)
def test_copies_of_any_layout(
    equation: str, extents: tuple[int, ...], dtype: str, steps: list[int], l2_bytes: int
) -> None:
    (x,) = _operands(equation, dict(zip("ijkl", extents, strict=True)), dtype, steps)
    with _no_jit(), _l2_bytes(l2_bytes):
        np.testing.assert_array_equal(el.einsum(equation, x), np.einsum(equation, x))


@pytest.mark.thinned(8)
@pytest.mark.parametrize("l2_bytes", [16, 1 << 20])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("equation", TRANSPOSES[:4])
def test_compiled_copies_around_block_edges(equation: str, dtype: str, l2_bytes: int) -> None:
    with _l2_bytes(l2_bytes):
        f = el.compile(equation, *(el.spec(("I", "J", "K", "L")[: len(equation.split("->")[1])]),))
        for i, j in ((1, 1), (15, 17), (16, 32), (33, 7), (70, 65)):
            extents = {"i": i, "j": j, "k": 5, "l": 9}
            (x,) = _operands(equation, extents, dtype, [1] * 4)
            expected = np.einsum(equation, x)
            memory = np.zeros(expected.nbytes + 64 + 16, np.uint8)
            start = -memory.ctypes.data % 64 + 16
            out = memory[start : start + expected.nbytes].view(dtype).reshape(expected.shape)
            for threads in (1, 2):
                out[...] = 0
                np.testing.assert_array_equal(f(x, out=out, threads=threads), expected)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    equation=st.sampled_from([*MAPS, *SUMS]),
    extents=st.tuples(*[st.integers(0, 21)] * 2, st.integers(0, 5)),
    dtype=st.sampled_from(DTYPES),
    steps=STEPS,
)
@example(equation="ij,i->i", extents=(3, 5, 1), dtype="complex64", steps=[1, 1, 1, 1])
def test_maps_and_sums_of_any_layout(
    equation: str, extents: tuple[int, ...], dtype: str, steps: list[int], assert_close: Close
) -> None:
    i, j, k = extents
    operands = _operands(
        equation, {"i": i, "j": i if "ii" in equation else j, "k": k}, dtype, steps
    )
    with _no_jit():
        assert_close(el.einsum(equation, *operands), _expected(equation, operands), 500)


@pytest.mark.thinned(8)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("equation", [*MAPS, *SUMS])
def test_compiled_maps_and_sums_around_vector_edges(
    equation: str, dtype: str, assert_close: Close
) -> None:
    for i, j in ((3, 1), (5, 15), (9, 16), (4, 17), (2, 65)):
        operands = _operands(equation, {"i": i, "j": j, "k": 7}, dtype, [1] * 4)
        expected = _expected(equation, operands)
        assert_close(el.einsum(equation, *operands), expected, i * j)


def test_lanes_beyond_the_end_add_nothing_even_where_a_factor_is_not_finite() -> None:
    x, y = np.ones((3, 5), np.float32), np.array([np.inf, np.nan, 2], np.float32)
    np.testing.assert_array_equal(el.einsum("ij,i->i", x, y), [np.inf, np.nan, 10])
    np.testing.assert_array_equal(el.einsum("ij,i->ij", x, y)[:, 4], y)


def test_copies_keep_the_bits_of_nans_and_are_one_kernel_for_all_dtypes_of_one_size() -> None:
    bits = np.array([[0x7E01, 0x7C01], [0xFE33, 0x8000]], np.uint16)
    got = el.einsum("ij->ji", bits.view(np.float16))
    np.testing.assert_array_equal(got.view(np.uint16), bits.T)
    kernels = set()
    for dtype in ("float32", "int32", "uint32"):
        f = el.compile("ij->ji", el.spec((40, 30), dtype=dtype))
        kernels |= {kernel.nest for kernel in f.plan_for((40, 30)).kernels}
    assert len(kernels) == 1


def test_large_copies_are_streamed_and_small_ones_are_not() -> None:
    large = el.compile("ij->ji", el.spec((2048, 2048), dtype="float32"))
    small = el.compile("ij->ji", el.spec((64, 64), dtype="float32"))
    plan = large.plan_for((2048, 2048))
    (nest,) = (kernel.nest for kernel in plan.kernels)
    assert isinstance(nest, LoopNest)
    assert nest.transposition is not None
    assert plan.scratch_bytes == nest.scratch_elements * 4 > 0
    assert "vstream" in large.source
    assert "vstream" not in small.source
