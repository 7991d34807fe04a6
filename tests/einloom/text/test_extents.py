"""Extents as text round-trip."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import einloom as el
from einloom.text.extents import Unknowns, is_unknown, write
from einloom_compiler.extents import parse_extent, symbol

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
    except el.SpecError as error:
        assume("divides by zero" not in str(error) and "non-negative" not in str(error))
        raise
    assert parse_extent(write(extent)) == extent


def test_an_extent_without_a_text_is_refused() -> None:
    import sympy

    with pytest.raises(el.SpecError, match=r"sqrt\(B\) has no text"):
        write(sympy.sqrt(symbol("B")))


def test_an_unknown_is_fresh_in_each_text_and_one_within_it() -> None:
    first, second = Unknowns(), Unknowns()
    assert first.read("_1") == first.read("_1")
    assert first.read("_1") != second.read("_1")
    assert first.read("_1 + B") == first.read("_1") + symbol("B")
    assert is_unknown(first.read(None))
    assert not is_unknown(symbol("B"))
    assert not is_unknown(3)
