"""opt_einsum takes ``tensordot``, ``transpose`` and ``einsum`` from the module ``einloom``."""

from __future__ import annotations

from typing import Any

import numpy as np
import opt_einsum
import pytest

import einloom as el

CASES: list[tuple[str, list[Any]]] = [
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,jk,kl->li", [(2, 3), (3, 4), (4, 5)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("abc,bd,dc->a", [(2, 3, 4), (3, 5), (5, 4)]),
    ("ii,ij->j", [(3, 3), (3, 4)]),
    ("ij,kl->", [(2, 3), (4, 5)]),
]


@pytest.mark.parametrize(("equation", "shapes"), CASES)
def test_contract_runs_on_einloom(operands: Any, equation: str, shapes: list[Any]) -> None:
    arrays = [operands(shape) for shape in shapes]
    got = opt_einsum.contract(equation, *arrays, backend="einloom")
    want = opt_einsum.contract(equation, *arrays, backend="numpy")
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_contract_expression_runs_on_einloom(operands: Any) -> None:
    equation, shapes = CASES[0]
    arrays = [operands(shape) for shape in shapes]
    expression = opt_einsum.contract_expression(equation, *shapes)
    np.testing.assert_array_equal(
        expression(*arrays, backend="einloom"), np.einsum(equation, *arrays)
    )


def test_contract_expression_keeps_constants(operands: Any) -> None:
    equation, shapes = CASES[0]
    arrays = [operands(shape) for shape in shapes]
    expression = opt_einsum.contract_expression(
        equation, arrays[0], arrays[1], shapes[2], constants=[0, 1]
    )
    np.testing.assert_array_equal(
        expression(arrays[2], backend="einloom"), np.einsum(equation, *arrays)
    )


def test_the_calls_reach_einloom(operands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    real = el.tensordot

    def recorded(*args: Any, **kwargs: Any) -> Any:
        called.append(kwargs.get("axes", args[2:]))
        return real(*args, **kwargs)

    monkeypatch.setattr(el, "tensordot", recorded)
    opt_einsum.backends.dispatch._cached_funcs.pop(("tensordot", "einloom"), None)
    try:
        equation, shapes = CASES[0]
        opt_einsum.contract(equation, *(operands(s) for s in shapes), backend="einloom")
    finally:
        opt_einsum.backends.dispatch._cached_funcs.pop(("tensordot", "einloom"), None)
    assert len(called) == 2
