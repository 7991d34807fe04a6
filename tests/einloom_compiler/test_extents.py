"""Symbolic extents: equality, evaluation, text."""

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from einloom_compiler.errors import ShapeError, SpecError
from einloom_compiler.extents import (
    evaluate,
    factored,
    free_names,
    is_equal,
    is_unknown,
    latex,
    parse_extent,
    parseable,
    product,
    quotient,
    replaced,
    symbol,
    text,
)


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        (3, 3, True),
        (3, 4, False),
        ("B", "B", True),
        ("B", "C", None),
        ("B", 0, None),
        ("B + 1", 0, False),
        ("B + 1", "B", False),
        ("2*B", "B + B", True),
        ("2*B", "B", None),
        ("B*C", "C*B", True),
    ],
)
def test_equality_holds_never_holds_or_depends(
    left: object, right: object, verdict: bool | None
) -> None:
    assert is_equal(parse_extent(left), parse_extent(right)) is verdict


def test_evaluate_names_the_missing_symbol() -> None:
    extent = parse_extent("2*B + K")
    assert evaluate(extent, {"B": 3, "K": 1}) == 7
    with pytest.raises(ShapeError, match=r"needs values for K"):
        evaluate(extent, {"B": 3})


def test_evaluate_rejects_negative_results() -> None:
    with pytest.raises(ShapeError, match=r"is -2 at"):
        evaluate(parse_extent("B - 5"), {"B": 3})


@pytest.mark.parametrize("source", ["B", "2*B + 1", "B*C - 1", "7", "B//2"])
def test_text_parses_back(source: str) -> None:
    extent = parse_extent(source)
    assert is_equal(parse_extent(text(extent)), extent)


@pytest.mark.parametrize("source", ["f(B)", "B.real", "1.5", "-1 if B else 2", "B[0]", "", "("])
def test_only_arithmetic_on_names_is_an_extent(source: str) -> None:
    with pytest.raises(SpecError, match="is not an extent"):
        parse_extent(source)


@pytest.mark.parametrize("source", [-1, True, 2.5, [3]])
def test_other_values_are_no_extents(source: object) -> None:
    with pytest.raises(SpecError):
        parse_extent(source)


def test_none_is_a_fresh_unknown_each_time() -> None:
    assert is_equal(parse_extent(None), parse_extent(None)) is None
    assert free_names(product([symbol("B"), 3])) == {"B"}


# --- text ----------------------------------------------------------------------------------------

_LEAVES = st.sampled_from(["1", "2", "7", "B", "T", "n_2", "Σ"])
EXTENTS = st.recursive(
    _LEAVES,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=6,
)


@given(EXTENTS)
def test_written_extents_read_back_equal(source: str) -> None:
    try:
        extent = parse_extent(source)
    except SpecError as error:
        assume("divides by zero" not in str(error) and "non-negative" not in str(error))
        raise
    assert parse_extent(parseable(extent)) == extent


def test_an_extent_without_a_text_is_refused() -> None:
    with pytest.raises(SpecError, match=r"sqrt\(B\) has no text"):
        parseable(sympy.sqrt(symbol("B")))


@pytest.mark.parametrize(
    ("source", "shown", "in_latex"),
    [
        (7, "7", "7"),
        ("B*C + 1", "B*C + 1", "B C + 1"),
        ("(B + 1)//2", "(B + 1)//2", r"\left\lfloor{\frac{B}{2} + \frac{1}{2}}\right\rfloor"),
    ],
)
def test_extents_as_text_and_in_latex(source: object, shown: str, in_latex: str) -> None:
    assert text(parse_extent(source)) == shown
    assert latex(parse_extent(source)) == in_latex


def test_an_unknown_is_shown_by_a_number() -> None:
    unknown = symbol()
    number = text(unknown).removeprefix("?")
    assert number.isdecimal()
    assert text(unknown * 2 + symbol("B")) == f"B + 2*?{number}"
    assert latex(unknown + 1) == f"u_{{{number}}} + 1"
    assert factored(3 * unknown) == f"3*?{number}"
    assert is_unknown(unknown)
    assert not is_unknown(symbol("B"))


def test_text_of_what_cannot_be_read_back_is_still_shown() -> None:
    assert text(symbol("B") / 2) == "B/2"


def test_costs_have_their_common_factors_taken_out() -> None:
    B, M, N = map(symbol, "BMN")
    assert factored(2 * B * M * N + 2 * B * M) == "2*B*M*(N + 1)"
    assert (factored(38400), factored(2 / 3), factored(B / B * sympy.Rational(1, 8))) == (
        *("38,400", "0.667", "0.125"),
    )


# --- arithmetic ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dividend", "divisor", "expected"),
    [
        (12, 4, 3),
        (12, 5, None),
        (0, 0, None),
        ("6*B*K", "2*K", "3*B"),
        ("B", "B", 1),
        ("4*B + 4", "B + 1", 4),
    ],
)
def test_quotient(dividend: object, divisor: object, expected: object) -> None:
    found = quotient(parse_extent(dividend), parse_extent(divisor))
    assert found == (None if expected is None else parse_extent(expected))
    assert not isinstance(expected, int) or type(found) is int


def test_symbols_are_replaced_all_at_once() -> None:
    a, b = symbol("a"), symbol("b")
    assert replaced(a + 2 * b, {"a": b, "b": a}) == b + 2 * a
    assert type(replaced(a * b, {"a": 2, "b": 3})) is int


def test_a_symbol_of_sympy_counts_by_its_name() -> None:
    assert parse_extent(sympy.Symbol("B")) == symbol("B")
    assert parse_extent(2 * sympy.Symbol("B") + 1) == 2 * symbol("B") + 1
    assert type(parse_extent(sympy.Integer(3))) is int


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (sympy.Rational(1, 2), "must be an integer, not 1/2"),
        (sympy.Float(2.5), r"must be an integer, not 2\.5"),
        (sympy.I, "must be an integer"),
        (sympy.zoo, "must be an integer|divides by zero"),
        (sympy.Integer(-3), "non-negative, not -3"),
        (-sympy.Symbol("n", positive=True) - 1, "non-negative"),
        (sympy.Symbol("B") > 2, "is no extent"),
    ],
)
def test_what_sympy_knows_beyond_extents_is_refused(source: object, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        parse_extent(source)
