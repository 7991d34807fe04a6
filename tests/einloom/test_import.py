"""What importing einloom loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("sympy", "opt_einsum", "numba", "llvmlite", "tensorflow", "keras", "torch", "jax"),
    *("click", "rich", "ml_dtypes", "h5py"),
)


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({HEAVY!r} & sys.modules.keys()))".replace(
        repr(HEAVY), repr(set(HEAVY))
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import einloom", set()),
        ("import einloom as el; el.einsum, el.spec, el.parse, el.compile, el.matmul", set()),
        ("import einloom as el; el.spec(3, 4)", set()),
        ("import einloom as el; el.parse('np.matmul(x[3, 4], y[4, 5])').equation", set()),
        ("from einloom.keras import backend as K; import einloom.tensorflow as tf", set()),
        ("import einloom as el; el.spec('B', 4)", {"sympy"}),
        ("import einloom.cli", {"click"}),
        ("import einloom.keras.models as m; m.read_model, m.record_from_keras, m.kind_of", set()),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code: str, expected: set[str]) -> None:
    assert loaded_after(code) == expected
