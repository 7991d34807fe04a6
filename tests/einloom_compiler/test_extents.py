"""Symbolic extents: equality, evaluation, text."""

import pytest

from einloom_compiler.errors import ShapeError, SpecError
from einloom_compiler.extents import (
    evaluate,
    free_names,
    is_equal,
    parse_extent,
    product,
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
    assert is_equal(parse_extent(text(extent).replace("floor(B/2)", "B//2")), extent)


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
