"""opt_einsum's own tests of ``contract``, from the installed wheel, run against ``einloom.einsum``.

The module's source is executed with ``opt_einsum.contract`` replaced. ``use_blas`` chooses among
opt_einsum's own back ends and means nothing to einloom, which has no BLAS.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import opt_einsum
import pytest

import einloom as el

pytestmark = pytest.mark.thinned(8)

_CALLS: list[str] = []


def contract(*operands: Any, optimize: Any = True, use_blas: bool = True) -> Any:
    """Take opt_einsum's arguments to ``einloom.einsum``."""
    del use_blas
    _CALLS.append(str(operands[0]))
    return el.einsum(*operands, optimize=optimize)


def _load(module: str) -> dict[str, Any]:
    spec = find_spec(f"opt_einsum.tests.{module}")
    if spec is None or spec.origin is None:
        return {}
    namespace: dict[str, Any] = {"__name__": f"opt_einsum_{module}"}
    original = opt_einsum.contract
    opt_einsum.contract = contract
    try:
        exec(compile(Path(spec.origin).read_text(), spec.origin, "exec"), namespace)
    finally:
        opt_einsum.contract = original
    return namespace


_NAMESPACE = _load("test_contract")
globals().update({k: v for k, v in _NAMESPACE.items() if k.startswith("test_")})


def test_opt_einsum_wheel_brings_its_tests() -> None:
    """Without them this file would pass and check nothing."""
    assert _NAMESPACE["contract"] is contract
    before = len(_CALLS)
    _NAMESPACE["test_contract_plain_types"](True)
    assert len(_CALLS) == before + 1


@pytest.mark.parametrize("labels", [("a", "b", "c"), ((0, 1), (0, 2), (1, 2)), (100, 200, 300)])
def test_any_hashable_label_in_sublists(labels: tuple[Any, ...]) -> None:
    """opt_einsum's wider sublists: strings, tuples and large integers."""
    np = pytest.importorskip("numpy")
    i, j, k = labels
    x, y = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    ours = el.einsum(x, [i, j], y, [j, k], [i, k])
    assert np.allclose(ours, opt_einsum.contract(x, [i, j], y, [j, k], [i, k]))
    assert np.allclose(el.einsum(x, [i, j], y, [j, k]), opt_einsum.contract(x, [i, j], y, [j, k]))
