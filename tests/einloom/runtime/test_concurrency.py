"""Calls from several Python threads and processes at once, by both backends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import einloom as el
from einloom.compiled import CompiledFunction
from einloom.native import load
from einloom.native.build import find_compiler
from einloom.runtime.prepared import PreparedCalls, adopted
from einloom.runtime.recipe import Launch
from einloom.runtime.threads import Backend

Array = npt.NDArray[Any]

needs_native = pytest.mark.skipif(load().module is None, reason="needs the native runtime")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
quiet_fork = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


def _product(backend: Backend) -> CompiledFunction:
    operands = el.spec("B", "M", "K", dtype="f8"), el.spec("B", "K", "N", dtype="f8")
    return el.compile("bij,bjk->bik", *operands, threads_backend=backend)


def _squares(n: int = 24) -> Array:
    return np.random.default_rng(1).random((64, n, n))


def test_the_work_of_these_tests_can_be_shared_out() -> None:
    x = _squares()
    function = _product("pool")
    (step,) = function.evaluation([x, x], function(x, x)).recipe.steps
    assert isinstance(step, Launch)
    assert step.bound.total >= 8


@pytest.mark.parametrize("backend", ["pool", "numba"])
@pytest.mark.parametrize("threads", [1, 2, 3, 7, None])
def test_threads_do_not_change_the_bits(backend: Backend, threads: int | None) -> None:
    function, x = _product(backend), _squares()
    expected = _product("pool")(x, x, threads=1)
    for _ in range(3):
        np.testing.assert_array_equal(function(x, x, threads=threads), expected)
    own = el.compile(function.expression, threads=threads, threads_backend=backend)
    for _ in range(3):
        np.testing.assert_array_equal(own(x, x), expected)


@pytest.mark.parametrize("backend", ["pool", "numba"])
def test_one_function_in_many_threads(backend: Backend) -> None:
    function, x = _product(backend), _squares()
    small = _squares(3)[:2]
    expected, expected_small = function(x, x, threads=1), small @ small
    ready = threading.Barrier(4)
    problems: list[str] = []

    def work() -> None:
        ready.wait()
        for _ in range(50):
            if not np.array_equal(function(x, x, threads=2), expected):
                problems.append("large")
            if not np.allclose(function(small, small), expected_small):
                problems.append("small")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems == []


@needs_fork
@quiet_fork
@pytest.mark.parametrize("backend", ["pool", "numba"])
def test_a_forked_child_computes_in_parallel(backend: Backend) -> None:
    function, x = _product(backend), _squares()
    expected = function(x, x, threads=2)
    function(x, x, threads=2)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            results = [np.array_equal(function(x, x, threads=2), expected) for _ in range(5)]
            native = load().module
            started = native is None or backend == "numba" or native.pool_workers() >= 1
            os._exit(0 if all(results) and started else 1)
        assert os.waitpid(child, 0)[1] == 0
        np.testing.assert_array_equal(function(x, x, threads=2), expected)


def _in_worker(seed: int) -> float:
    x = np.random.default_rng(seed).random((32, 20, 20))
    return float(_product("pool")(x, x, threads=2).sum())


@needs_fork
@quiet_fork
def test_workers_of_multiprocessing_compute() -> None:
    here = [_in_worker(seed) for seed in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_in_worker, range(4)) == here


@needs_fork
@quiet_fork
@needs_native
def test_a_fork_while_the_pool_works() -> None:
    function, x = _product("pool"), _squares()
    expected = function(x, x, threads=2)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            function(x, x, threads=2)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if np.array_equal(function(x, x, threads=2), expected) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        worker.join()


# --- the GIL: a kernel that waits for Python --------------------------------------------------

KERNELS = """
#include <stdint.h>
#include <unistd.h>
/* Wait until *block[0] is set; then set *block[1]. Give up after 20 s. */
void wait_for(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi) {
    volatile int64_t *flag = (int64_t *)(intptr_t)block[0];
    (void)acc_0;
    for (int i = 0; i < 20000 && lo < hi; i++) {
        if (*flag) { *(int64_t *)(intptr_t)block[1] = 1; return; }
        usleep(1000);
    }
}
"""


@pytest.fixture(scope="module")
def wait_for(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Give the address of a kernel that waits until its operand is set."""
    compiler = find_compiler()
    if compiler is None or load().module is None:
        pytest.skip("needs a C compiler and the native runtime")
    folder: Path = tmp_path_factory.mktemp("kernels")
    source, library = folder / "kernels.c", folder / "kernels.so"
    source.write_text(KERNELS)
    command = [*compiler, "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    address = ctypes.cast(loaded.wait_for, ctypes.c_void_p).value
    assert address is not None
    return address


def _assert_python_runs_beside(call: Callable[[Array, Array], object]) -> None:
    flag, done = np.zeros(1, np.int64), np.zeros(1, np.int64)
    started = threading.Event()

    def work() -> None:
        started.set()
        call(flag, done)

    worker = threading.Thread(target=work)
    worker.start()
    started.wait()
    flag[0] = 1  # reached only if the kernel lets Python run
    worker.join()
    assert done[0] == 1


def test_a_launch_releases_the_gil(wait_for: int) -> None:
    native = load().module
    assert native is not None

    def call(flag: Array, done: Array) -> None:
        block = np.array([flag.ctypes.data, done.ctypes.data, 0], np.int64)
        for parts in (1, 2):
            native.run(wait_for, block.ctypes.data, 0, 2, parts, parts)

    _assert_python_runs_beside(call)


def test_a_kept_call_of_much_work_releases_the_gil(wait_for: int) -> None:
    @adopted
    class Waiting(PreparedCalls):
        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            raise AssertionError("the call was kept")

    waiting = Waiting()
    flag, out = np.zeros(1, np.int64), np.zeros(1, np.int64)
    step = (wait_for, 1, 0, 0, False, 1, (0, 0, 0), (0, 1))
    assert waiting._keep((flag,), {"out": out}, (out, None, (step,), (), 0, True, True, None))
    _assert_python_runs_beside(lambda flag, done: waiting(flag, out=done))


@needs_native
def test_a_busy_pool_leaves_the_caller_to_itself(wait_for: int) -> None:
    native = load().module
    assert native is not None
    flag, done = np.zeros(1, np.int64), np.zeros(1, np.int64)
    block = np.array([flag.ctypes.data, done.ctypes.data, 0], np.int64)
    shared: list[bool] = []
    worker = threading.Thread(
        target=lambda: shared.append(native.run(wait_for, block.ctypes.data, 0, 2, 2, 2))
    )
    worker.start()
    function, x = _product("pool"), _squares()
    expected = function(x, x, threads=1)
    for _ in range(20):
        np.testing.assert_array_equal(function(x, x, threads=2), expected)
    ready, mine = np.ones(1, np.int64), np.zeros(1, np.int64)
    own = np.array([ready.ctypes.data, mine.ctypes.data, 0], np.int64)
    while native.run(wait_for, own.ctypes.data, 0, 2, 2, 2):
        pass  # the worker has not taken the pool yet
    flag[0] = 1
    worker.join()
    assert shared == [True]
    assert native.run(wait_for, own.ctypes.data, 0, 2, 2, 2)
