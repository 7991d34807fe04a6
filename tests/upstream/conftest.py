"""Which of the packages' own tests are fast ones."""

from __future__ import annotations

import pytest

#: opt_einsum's tests run every equation with each optimizer; these stand for the others. BLAS,
#: which einloom lacks, and opt_einsum's own expressions only repeat the same calls of ours.
_FAST = {
    "test_compare": ("auto-", "optimal-"),
    "test_compare_greek": ("auto-", "greedy-"),
    "test_compare_blas": (),
    "test_compare_blas_greek": (),
    "test_rand_equation": ("False-",),
    "test_contract_expressions": ("False-False-auto-",),
}
#: Of cases with an equation or dtype each, and so kernels of their own: one of so many. NumPy's
#: tests have most of the equations too.
_THINNED = {
    "test_compare": 24,
    "test_compare_greek": 24,
    "test_rand_equation": 8,
    "test_different_paths": 4,
}
#: NumPy's sums, of which each dtype compiles 145 kernels: uint16, float16 and float64 stand for
#: the others.
_SLOW = tuple(
    f"test_einsum_sums_{dtype}"
    for dtype in (
        *("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float32"),
        *("cfloat64", "cfloat128"),
    )
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what calls einloom as another test does, or in one more order."""
    for item in items:
        name, _, case = item.name.partition("[")
        if name in _SLOW or (name in _FAST and not case.startswith(_FAST[name])):
            item.add_marker(pytest.mark.slow)
        if name in _THINNED:
            item.add_marker(pytest.mark.thinned(_THINNED[name]))
