"""``einloom.einsum`` of symbolic operands: no keyword argument is ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import opt_einsum
import pytest

import einloom as el
import einloom.tensorflow as etf
from einloom_compiler.errors import CastingError, EinloomError, UnsupportedError
from einloom_compiler.order.path import PathError
from einloom_compiler.order.search import OptimizerNameError, OptimizeTypeError

X, Y, Z = el.spec("I", "J", name="x"), el.spec("J", "K", name="y"), el.spec("K", "L", name="z")
CHAIN = "ij,jk,kl->il"
AT_ONCE = "%3 = ij,jk,kl->il (%0, %1, %2)"
LAST_PAIR_FIRST = "%3 = jk,kl->"


@pytest.mark.parametrize("einsum", [el.einsum, etf.einsum])
@pytest.mark.parametrize(
    ("optimize", "error", "reason"),
    [
        ("bogus", OptimizerNameError, "'bogus' names no optimizer; known: auto"),
        ("best", OptimizerNameError, "'best' names no optimizer"),
        (5, OptimizeTypeError, "did not understand optimize=5"),
        ([(0, 1)], PathError, "leaves 2 operands uncontracted"),
        ([(0, 7), (0, 1)], PathError, "names operand 7 where 3 are left"),
    ],
)
def test_a_bad_optimize_is_refused_when_the_expression_is_made(
    einsum: Callable[..., Any], optimize: Any, error: type[EinloomError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        einsum(CHAIN, X, Y, Z, optimize=optimize)


def test_a_bad_optimize_is_refused_where_a_function_is_compiled() -> None:
    with pytest.raises(OptimizerNameError, match="'bogus' names no optimizer"):
        el.compile(CHAIN, X, Y, Z, optimize="bogus")
    with pytest.raises(PathError, match="leaves 2 operands"):
        el.einsum(CHAIN, X, Y, Z).compile(optimize=[(0, 1)])


def test_a_view_of_an_array_does_not_hide_a_bad_optimize() -> None:
    with pytest.raises(OptimizerNameError, match="bogus"):
        el.einsum("ii->i", np.eye(3), optimize="bogus")


@pytest.mark.parametrize("einsum", [el.einsum, etf.einsum])
def test_optimize_chooses_the_order_of_what_is_compiled(einsum: Callable[..., Any]) -> None:
    at_once = einsum(CHAIN, X, Y, Z, optimize=False)
    assert AT_ONCE in at_once.compile().plan
    assert AT_ONCE in at_once.explain()
    last_first = einsum(CHAIN, X, Y, Z, optimize=[(1, 2), (0, 1)])
    assert LAST_PAIR_FIRST in last_first.compile().plan
    assert LAST_PAIR_FIRST in at_once.compile(optimize=[(1, 2), (0, 1)]).plan
    assert str(at_once.cost.flops) == "3*I*J*K*L"
    assert str(at_once.compile(optimize=[(1, 2), (0, 1)]).cost.flops) == "2*I*J*L + 2*J*K*L"


def test_optimize_survives_text_and_json() -> None:
    expression = el.einsum(CHAIN, X, Y, Z, optimize=["einsum_path", (1, 2), (0, 1)])
    for again in (
        el.Expression.from_json(expression.to_json()),
        el.parse("np.einsum('ij,jk,kl->il', x[I,J], y[J,K], z[K,L], optimize=[(1,2),(0,1)])"),
    ):
        assert LAST_PAIR_FIRST in again.compile().plan


def test_an_optimizer_of_opt_einsum_is_taken_and_cannot_be_written() -> None:
    rng = np.random.default_rng(0)
    arrays = rng.random((2, 3)), rng.random((3, 4)), rng.random((4, 5))
    expression = el.einsum(CHAIN, X, Y, Z, optimize=opt_einsum.RandomGreedy(max_repeats=2))
    np.testing.assert_allclose(
        expression.compile()(*arrays), np.linalg.multi_dot(arrays), rtol=1e-12
    )
    with pytest.raises(el.SpecError, match="RandomGreedy cannot be written"):
        expression.to_json()


def test_without_an_optimizer_the_grammar_is_numpys_strict_one() -> None:
    x = el.spec(3, 4)
    assert el.einsum("i...->i", x).shape == (3,)
    with pytest.raises(el.SubscriptError, match=r"no '\.\.\.' ellipsis provided"):
        el.einsum("i...->i", x, optimize=False)
    with pytest.raises(ValueError, match="ellipsis"):
        np.einsum("i...->i", np.ones((3, 4)))


def test_a_path_beside_computed_operands_is_refused() -> None:
    inner = el.einsum(CHAIN, X, Y, Z)
    with pytest.raises(UnsupportedError, match=r"optimize=\[\(0, 1\)\] .* compile them apart"):
        el.einsum("ij,jk->ik", inner, el.spec("L", 3, name="w"), optimize=[(0, 1)])


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"order": "Q"}, ValueError, r"order must be one of .* \(got 'Q'\)"),
        ({"order": "F"}, UnsupportedError, "order='F' needs arrays: .* C order; .* out="),
        ({"casting": "foo"}, ValueError, r"casting must be one of .* \(got 'foo'\)"),
        ({"casting": "no"}, CastingError, "declared with one dtype, not any, any"),
        ({"dtype": "float32"}, el.DTypeError, "declare the operands' dtypes"),
        ({"out": np.ones((2, 2))}, el.DTypeError, "out= and dtype= need arrays"),
    ],
)
def test_keywords_without_meaning_for_symbolic_operands_are_refused(
    keywords: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        el.einsum("ij,jk->ik", X, Y, **keywords)


def test_keywords_that_hold_anyway_are_taken() -> None:
    x, y = el.spec(2, 3, dtype="float32", name="x"), el.spec(3, 4, dtype="float32", name="y")
    assert el.einsum("ij,jk->ik", x, y, order="C", casting="no").shape == (2, 4)
    with pytest.raises(CastingError, match="not float32, float64"):
        el.einsum("ij,jk->ik", x, el.spec(3, 4, dtype="float64", name="y"), casting="equiv")


def test_the_cost_counts_a_shared_operand_once() -> None:
    square = el.einsum("ij,jk->ik", el.spec(4, 4, name="x"), el.spec(4, 4, name="y"))
    assert square.cost.flops == 2 * 4**3
    assert el.einsum("ij,jk->ik", square, square).cost.flops == 2 * 2 * 4**3


def test_a_name_that_an_unknown_could_have_is_refused() -> None:
    with pytest.raises(el.SpecError, match=r"'_1' .* write None for one"):
        el.spec("_1", 3)
    with pytest.raises(el.SpecError, match=r"'2\*_7 \+ B'"):
        el.spec("2*_7 + B")
    assert el.spec("_rows", None).ndim == 2


def test_an_unexpected_keyword_names_the_function() -> None:
    with pytest.raises(TypeError, match=r"matmul\(\) got an unexpected keyword argument 'foo'"):
        etf.matmul(X, Y, foo=1)  # type: ignore[call-arg]


def test_the_cost_prints_unknowns_by_number() -> None:
    unknown = el.spec(None, 3, name="x")
    shown = str(el.einsum("ij->i", unknown).cost)
    assert "FLOPs/byte" in shown
    assert "_" not in shown
