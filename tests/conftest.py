"""What every test shares: a quiet TensorFlow, golden files, hypothesis profiles, slow tests."""

from __future__ import annotations

import difflib
import gc
import os
import platform
import re
import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Read once, when the frameworks are imported: so before anything below or any test imports them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# One set of kernels, whose words errors have, on every CPU: by default the CPU decides.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from einloom_compiler.schedule.machine import VARIABLE as MACHINE
from einloom_compiler.schedule.machine import described

GOLDEN_FOLDER = Path(__file__).parent / "golden"

# No deadline: the first example of a shape compiles a kernel, the others only run it. Nor a limit
# on drawing examples: a busy machine would break it. `ci` is the default, so that no run fails by
# chance; --hypothesis-profile chooses another.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _UNTIMED, derandomize=True, max_examples=30)
settings.register_profile("whole", _UNTIMED, derandomize=True, max_examples=120)
settings.register_profile("explore", _UNTIMED, max_examples=100, print_blob=True)
settings.register_profile("thorough", _UNTIMED, max_examples=2000, print_blob=True)
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("einloom")
    group.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden/ anew from this run's output (read the diff before committing)",
    )
    group.addoption("--run-slow", action="store_true", help="run the tests marked `slow` too")


#: The CPU levels whose usual machines schedules are planned for, by the width of vectors in bits.
_LEVELS = {128: "x86-64-v2", 256: "x86-64-v3", 512: "x86-64-v4"}


def pytest_configure(config: pytest.Config) -> None:
    """Plan for a usual machine; keep kernels in a folder of this run, not the user's.

    The first so that schedules, which tests read, depend neither on the sizes of caches nor on
    whether some test before has measured speeds. Workers and subprocesses share the folder. A cache
    that is named in the environment is used: runs that follow it need not compile.
    """
    if MACHINE not in os.environ:
        is_arm = platform.machine() in ("aarch64", "arm64")
        os.environ[MACHINE] = "aarch64" if is_arm else _LEVELS[described().simd_bits]
    if "EINLOOM_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="einloom-tests-")
        os.environ["EINLOOM_CACHE_DIR"] = folder

        def remove() -> None:
            os.environ.pop("EINLOOM_CACHE_DIR", None)
            shutil.rmtree(folder, ignore_errors=True)

        config.add_cleanup(remove)


def _left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases that a fast run leaves out: by their names, so that it is always the same.

    Of so many cases of a test one is kept, and of each test one at least.
    """
    tests: dict[str, list[tuple[int, int, pytest.Item]]] = {}
    for number, item in enumerate(items):
        thinned = item.get_closest_marker("thinned")
        if thinned is not None and "[" in item.name and not item.get_closest_marker("slow"):
            (cases,) = thinned.args
            place = zlib.crc32(item.nodeid.encode()) % cases
            tests.setdefault(item.nodeid.partition("[")[0], []).append((place, number, item))
    left_out: set[pytest.Item] = set()
    for found in tests.values():
        kept = min(found)[1]
        left_out |= {item for place, number, item in found if place and number != kept}
    return left_out


#: The files that take longest, the longest first: 7 s and more of a fast run (2026-11). Workers are
#: given them first, so that none is left alone with one at the end.
_LONG_FILES = (
    *("upstream/test_numpy_einsum.py", "einloom_compiler/test_attention.py"),
    *("einloom_compiler/test_packed.py", "einloom/test_epilogues.py"),
    *("einloom_compiler/test_rows.py", "test_examples.py", "einloom_compiler/test_vmath.py"),
    *("einloom/aot/test_build.py", "einloom_compiler/test_prepacked.py"),
    *("einloom/aot/test_calls.py", "einloom/aot/test_keras.py"),
    *("einloom/functions/test_pointwise.py", "einloom_compiler/test_objects.py"),
    *("einloom/test_compile_choices.py", "einloom/keras/test_layers.py"),
    *("einloom/keras/lowering/test_attention.py", "einloom/keras/lowering/test_models.py"),
    *("test_readme.py", "einloom/native/test_build.py", "einloom_compiler/test_tiled.py"),
    *("einloom/frontends/test_tensorflow_products.py", "einloom/keras/test_ops.py"),
    *("einloom/functions/test_arranging.py", "einloom/keras/test_layer_functions.py"),
    *("einloom/runtime/test_optimized_programs.py", "einloom_compiler/store/test_kernels.py"),
    *("upstream/test_opt_einsum_contract.py", "einloom/aot/test_functions.py"),
    *("einloom/test_direct.py", "einloom/keras/lowering/test_layers.py"),
    *("einloom/keras/test_backend_math.py",),
)


def _place(item: pytest.Item) -> int:
    """Return when an item's turn is: the number of its file among the long ones, else last."""
    folder = Path(__file__).parent
    name = item.path.relative_to(folder).as_posix() if item.path.is_relative_to(folder) else ""
    return _LONG_FILES.index(name) if name in _LONG_FILES else len(_LONG_FILES)


def _takes_all(config: pytest.Config) -> bool:
    return bool(
        config.getoption("--run-slow") or re.search(r"\bslow\b", config.option.markexpr or "")
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    if _takes_all(config):
        return None
    return "fast run: slow tests and thinned cases are left out; --run-slow takes them"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; deselect slow tests and thinned cases unless asked for them.

    The latter are thousands, and each that is skipped instead is set up, and reported three times
    by a worker to the process that prints it: half a minute of a run on two cores (2026-11).
    """
    items.sort(key=_place)
    if _takes_all(config):
        return
    left_out = _left_out(items) | {item for item in items if item.get_closest_marker("slow")}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _settle() -> None:
    """Let the garbage collector look no more at what lives by now: frameworks and test items.

    It would walk all that at each collection, for a second or more.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: frameworks and test items are made, and all of it lives.

    That takes 8.5 s of CPU time instead of 10.7 (2026-12), most of it for TensorFlow and Keras.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    _settle()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        _settle()


@pytest.fixture(scope="session", autouse=True)
def _kernels_are_compiled_here() -> Iterator[None]:
    """Let no test start processes that compile kernels beside it: every CPU has a worker already.

    Such a process takes a second to start, for a few kernels of a fifth of a second each.
    """
    from einloom_compiler.codegen import several

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "_MOST_PROCESSES", 0)
        yield


class Golden:
    """Compares text with the file of that name under tests/golden/.

    A file ends in exactly one newline, whatever the text does; nothing else is normalised.
    """

    def __init__(self, folder: Path, *, update: bool) -> None:
        self._folder = folder
        self._update = update

    def __call__(self, name: str, text: str) -> None:
        """Fail unless ``tests/golden/<name>`` holds ``text``; with --update-golden, write it."""
        __tracebackhide__ = True
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise ValueError(f"golden file {name!r} lies outside {self._folder}")
        got = text.rstrip("\n") + "\n"
        want = path.read_text(encoding="utf-8") if path.is_file() else None
        if got == want:
            return
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(got, encoding="utf-8", newline="\n")
            return
        if want is None:
            pytest.fail(
                f"golden file {name!r} does not exist; write it with --update-golden from:\n{got}",
                pytrace=False,
            )
        diff = difflib.unified_diff(
            want.splitlines(), got.splitlines(), f"golden/{name}", "this run", lineterm=""
        )
        pytest.fail(
            f"the text differs from golden file {name!r}; if that is right, --update-golden:\n"
            + "\n".join(diff),
            pytrace=False,
        )


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Golden:
    """Compare text with a file: ``golden("schedule/tile_remainder.txt", text)``."""
    return Golden(GOLDEN_FOLDER, update=pytestconfig.getoption("--update-golden"))


class Closeness:
    """Compares floating-point results with a bound from dtype and reduction length.

    A sum of n products of size up to one differs from the exact one by at most about n * eps; the
    bound allows that, relative to the largest value. Integers and bools must be equal.
    """

    def __call__(self, got: Any, expected: Any, n_terms: int = 1) -> None:
        """Fail unless ``got`` has the shape of ``expected`` and values within the bound."""
        __tracebackhide__ = True
        got, expected = np.asarray(got), np.asarray(expected)
        assert got.shape == expected.shape, f"{got.shape} != {expected.shape}"
        if got.dtype.kind not in "fcV":
            np.testing.assert_array_equal(got, expected)
            return
        eps = _EPSILON.get(got.dtype.name, 2.0**-52)
        wide = np.complex128 if got.dtype.kind == "c" else np.float64
        got, expected = got.astype(wide), expected.astype(wide)
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(finite.max(initial=1.0))
        bound = 4 * eps * (1 + n_terms) * scale
        np.testing.assert_allclose(got, expected, rtol=4 * eps, atol=bound)


_EPSILON = {
    "bfloat16": 2.0**-7,
    "float16": 2.0**-10,
    "float32": 2.0**-23,
    "complex64": 2.0**-23,
}


@pytest.fixture(scope="session")
def assert_close() -> Closeness:
    """Compare results: ``assert_close(got, expected, n_terms)``."""
    return Closeness()
