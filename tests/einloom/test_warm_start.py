"""A fresh process with a warm cache gets its results without the compiler's dependencies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import sys
import numpy as np
import einloom as el
rng = np.random.default_rng(0)
{statements}
heavy = {{"numba", "llvmlite", "sympy", "opt_einsum", "platformdirs", "filelock", "click", "rich"}}
print(sorted(heavy & sys.modules.keys()))
"""

STATEMENTS = {
    "two operands": """
x, y = rng.random((6, 7)), rng.random((7, 5))
np.testing.assert_allclose(el.einsum("ij,jk->ik", x, y), x @ y, rtol=1e-13)
""",
    "a packed product": """
x = rng.random((60, 70), np.float32)
np.testing.assert_allclose(el.einsum("ij,kj->ik", x, x), x @ x.T, rtol=1e-4)
""",
    "a compiled function": """
f = el.compile("bij,bjk->bik", el.spec(3, 4, 5), el.spec(3, 5, 8))
x, y = rng.random((3, 4, 5)), rng.random((3, 5, 8))
np.testing.assert_allclose(f(x, y), x @ y, rtol=1e-13)
""",
    "four operands": """
x = rng.random((4, 4))
expected = np.linalg.multi_dot([x, x, x, x])
np.testing.assert_allclose(el.einsum("ij,jk,kl,lm->im", x, x, x, x), expected, rtol=1e-13)
""",
    "ten operands, and an optimizer by name": """
x = rng.random((3, 3))
chain = ",".join("abcdefghijk"[n : n + 2] for n in range(10)) + "->ak"
expected = np.linalg.matrix_power(x, 10)
np.testing.assert_allclose(el.einsum(chain, *[x] * 10), expected, rtol=1e-12)
np.testing.assert_allclose(el.einsum(chain, *[x] * 10, optimize="greedy"), expected, rtol=1e-12)
""",
}


def _imported(statements: str, cache: Path) -> str:
    environment = {**os.environ, "EINLOOM_CACHE_DIR": str(cache), "EINLOOM_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(statements=statements)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with all kernels, compiled by one process."""
    folder = tmp_path_factory.mktemp("warm")
    assert "numba" in _imported("".join(STATEMENTS.values()), folder)
    return folder


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_second_process_imports_neither_compiler_nor_optimizer(name: str, warm: Path) -> None:
    assert _imported(STATEMENTS[name], warm) == "[]"
