"""Calls of a built library: from Python without ctypes, from C, threads, forks, two at once."""

import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.aot import building
from einloom.aot.building import Built
from einloom.aot.lowering import lower
from einloom.aot.shipped.loader import Function
from einloom_compiler.aot import library as ir

CPU = "x86-64-v3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aot-calls")


@pytest.fixture(scope="module")
def product(folder: Path) -> Built:
    """Return ``mk,kn->mn``, all extents symbolic, with ``M`` bounded."""
    m, k, n = el.spec("M", "K", name="a"), el.spec("K", "N", name="b"), {"M": (0, 3000)}
    built = el.aot.build("mk,kn->mn", folder / "product", m, k, dtype="float64", cpu=CPU, ranges=n)
    assert isinstance(built, Built)
    return built


def assert_is_direct(f: Function) -> None:
    """Check that calls go to the library's own function for Python."""
    assert type(type(f).__dict__["__call__"]).__name__ == "wrapper_descriptor"
    assert issubclass(type(f), Function)


def test_direct_calls_and_those_through_ctypes_agree(product: Built) -> None:
    f = el.aot.load(product.folder)
    assert_is_direct(f)
    slow = Function.__call__
    rng = np.random.default_rng(0)
    for m, k, n in [(1, 1, 1), (2, 3, 4), (5, 0, 3), (0, 4, 2), (17, 33, 9), (64, 64, 64)]:
        a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        expected = a @ b
        out = np.full((m, n), np.nan)
        assert f(a, b, out=out) is out
        np.testing.assert_allclose(out, expected, atol=1e-12)
        np.testing.assert_array_equal(f(a, b), out)
        np.testing.assert_array_equal(f(a, b, threads=2), out)
        np.testing.assert_array_equal(slow(f, a, b), out)
        np.testing.assert_array_equal(f(b=b, a=a), out)
        turned = f(a[::-1], b, threads=np.int64(2))  # type: ignore[arg-type]
        np.testing.assert_array_equal(turned[::-1], out)


def test_direct_calls_raise_what_the_others_do(product: Built) -> None:
    f = el.aot.load(product.folder)
    a, b = np.ones((2, 3)), np.ones((3, 4))
    with pytest.raises(el.ShapeError, match="axis 0 of operand 'b' has extent 4"):
        f(a, np.ones((4, 4)))
    with pytest.raises(el.ShapeError, match=r"M is 3001 in axis 0 .*outside the declared range 0"):
        f(np.ones((3001, 3)), b)
    with pytest.raises(el.DTypeError, match="float32"):
        f(a.astype(np.float32), b)
    with pytest.raises(ValueError, match="threads must be a positive integer, not 0"):
        f(a, b, threads=0)
    with pytest.raises(ValueError, match="threads must be a positive integer, not 'two'"):
        f(a, b, threads="two")  # type: ignore[arg-type]
    with pytest.raises(el.ShapeError, match="read-only"):
        out = np.empty((2, 4))
        out.flags.writeable = False
        f(a, b, out=out)
    with pytest.raises(TypeError, match="takes 2 arrays"):
        f(a, b, b)
    np.testing.assert_array_equal(f(a, b), a @ b)


def test_a_result_may_overlap_operands(product: Built) -> None:
    f = el.aot.load(product.folder)
    memory = np.arange(48.0)
    a, b, out = memory[:16].reshape(4, 4), np.eye(4)[::-1].copy(), memory[8:24].reshape(4, 4)
    expected = a @ b
    np.testing.assert_array_equal(f(a, b, out=out), expected)


def test_threads_and_forks_and_two_libraries_at_once(product: Built, folder: Path) -> None:
    other = el.aot.build("np.einsum('a,a->', x[A], y[A])", folder / "dot", dtype="float64", cpu=CPU)
    assert isinstance(other, Built)
    f, g = el.aot.load(product.folder), el.aot.load(other.folder)
    a = np.random.default_rng(0).standard_normal((300, 300))
    expected, square = a @ a, float((a.ravel() ** 2).sum())
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                np.testing.assert_allclose(f(a, a, threads=2), expected, atol=1e-10)
                np.testing.assert_allclose(g(a.ravel(), a.ravel(), threads=2), square)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    child = os.fork()
    if child == 0:
        is_right = np.allclose(f(a, a, threads=2), expected)
        os._exit(0 if is_right and np.allclose(g(a.ravel(), a.ravel(), threads=2), square) else 1)
    assert os.waitpid(child, 0)[1] == 0


_PROGRAM = r"""
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "product.h"

int main() {
    double a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, 0, 0, 1, 1, 1}, out[8], turned[6];
    assert(product_call(a, b, out, 2, 3, 2, 1) == PRODUCT_SUCCESS);
    assert(out[0] == 4 && out[1] == 5 && out[2] == 10 && out[3] == 11);
    const void *inputs[] = {a, b};
    void *outputs[] = {out};
    int64_t extents[] = {2, 3, 2}, shape[2];
    assert(product_shape(0, extents, shape) == 0 && shape[0] == 2 && shape[1] == 2);
    assert(product_shape(1, extents, shape) == PRODUCT_ERROR_OUTPUT);
    /* a in Fortran's order, the result with gaps, memory of our own */
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++)
            turned[k * 2 + i] = a[i * 3 + k];
    inputs[0] = turned;
    int64_t fortran[] = {1, 2}, gaps[] = {4, 2};
    const int64_t *in_strides[] = {fortran, NULL}, *out_strides[] = {gaps};
    int64_t need = product_workspace_bytes(extents, 1);
    assert(need > 0);
    void *memory = aligned_alloc(64, (size_t)((need + 63) / 64 * 64));
    memset(out, 0, sizeof out);
    assert(product_run_with(inputs, outputs, extents, in_strides, out_strides, memory, need, 1) ==
           PRODUCT_SUCCESS);
    assert(out[0] == 4 && out[2] == 5 && out[4] == 10 && out[6] == 11 && out[1] == 0);
    assert(product_run_with(inputs, outputs, extents, in_strides, out_strides, memory, 8, 1) ==
           PRODUCT_ERROR_WORKSPACE);
    free(memory);
    extents[0] = 3001;
    assert(product_run(inputs, outputs, extents, 1) == PRODUCT_ERROR_EXTENT);
    assert(product_workspace_bytes(extents, 1) == -PRODUCT_ERROR_EXTENT);
    extents[0] = 2;
    assert(product_run(inputs, outputs, extents, -1) == PRODUCT_ERROR_THREADS);
    inputs[1] = NULL;
    assert(product_run(inputs, outputs, extents, 1) == PRODUCT_ERROR_NULL_POINTER);
    inputs[1] = (const char *)b + 1;
    assert(product_run(inputs, outputs, extents, 1) == PRODUCT_ERROR_ALIGNMENT);
    inputs[1] = b;
    extents[1] = INT64_C(1) << 40, extents[2] = INT64_C(1) << 30;
    assert(product_run(inputs, outputs, extents, 1) == PRODUCT_ERROR_SIZE);
    extents[1] = INT64_MAX;
    assert(product_run(inputs, outputs, extents, 1) == PRODUCT_ERROR_SIZE);
    assert(product_workspace_bytes(extents, 1) == -PRODUCT_ERROR_SIZE);
    assert(strlen(product_message(PRODUCT_ERROR_SIZE)) > 0 && strlen(product_version()) > 0);
    product_release();
    printf("%s\n", product_cpu());
    return 0;
}
"""


@pytest.mark.parametrize("compiler", ["cc -std=c11", "c++ -x c++ -std=c++17"])
def test_every_function_from_c_and_cpp(product: Built, tmp_path: Path, compiler: str) -> None:
    (tmp_path / "main.c").write_text(_PROGRAM)
    home = str(product.folder)
    flags = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", f"-I{home}"]
    command = [*compiler.split(), *flags, "main.c", "-o", "main", f"-L{home}", "-lproduct"]
    command += [f"-Wl,-rpath,{home}"]
    subprocess.run(command, cwd=tmp_path, check=True)
    run = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == (f"{CPU}\n", "")


def test_several_outputs_are_a_tuple(tmp_path: Path) -> None:
    x = el.spec("A", 3, name="x", dtype="float64")
    built = el.aot.build((el.sum(x, axis=1), x[:, 0]), tmp_path / "pair", cpu=CPU)
    assert isinstance(built, Built)
    f = el.aot.load(built.folder)
    a = np.arange(12.0).reshape(4, 3)
    for found in (f(a), Function.__call__(f, a)):
        assert isinstance(found, tuple)
        np.testing.assert_array_equal(found[0], a.sum(1))
        np.testing.assert_array_equal(found[1], a[:, 0])
    out = np.empty(4), np.empty(4)
    assert f(a, out=out)[1] is out[1]
    np.testing.assert_array_equal(out[1], a[:, 0])
    assert (
        "const double *x, double *out0, double *out1, int64_t extent_A"
        in (built.folder / "pair.h").read_text()
    )


def test_rows_are_looked_up_and_indices_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lowered(*arguments: Any) -> ir.Library:
        library = lower(*arguments)
        places = [ir.Place("input", 1, 8), ir.Place("input", 0), ir.Place("output", 0)]
        rows, count = library.inputs[1].shape[0], library.inputs[0].shape[0]
        # Rows of 24 bytes from the second element on: the last one is left out.
        step = ir.Gather(places[0], places[1], places[2], "int32", rows - 1, count, 24)
        levels = [
            replace(level, variants=tuple(replace(v, steps=(step,)) for v in level.variants))
            for level in library.levels
        ]
        return replace(library, levels=tuple(levels))

    monkeypatch.setattr(building, "lower", lowered)
    indices = el.spec("N", dtype="int32", name="i")
    table = el.spec("V", 3, dtype="float64", name="t")
    el.aot.build("n,vc->nc", tmp_path / "rows", indices, table, cpu=CPU)
    f = el.aot.load(tmp_path / "rows")
    t = np.arange(21.0).reshape(7, 3)
    shifted = t.ravel()[1:19].reshape(6, 3)
    for found in ([], [0], [5, 0, 3, 3]):
        i = np.array(found, np.int32)
        np.testing.assert_array_equal(f(i, t), shifted[i])
    for wrong in (-1, 6, 1 << 30):
        with pytest.raises(IndexError, match="an index names no row"):
            f(np.array([0, wrong], np.int32), t)
