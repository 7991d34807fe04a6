"""The unknowns of one text."""

from __future__ import annotations

import pytest

import einloom as el
from einloom.text.extents import Unknowns
from einloom_compiler.extents import is_unknown, symbol


def test_an_unknown_is_fresh_in_each_text_and_one_within_it() -> None:
    first, second = Unknowns(), Unknowns()
    assert first.read("_1") == first.read("_1")
    assert first.read("_1") != second.read("_1")
    assert first.read("_1 + B") == first.read("_1") + symbol("B")
    assert is_unknown(first.read(None))
    assert not is_unknown(symbol("B"))
    assert not is_unknown(3)


def test_an_extent_of_too_many_sums_or_bits_is_refused() -> None:
    with pytest.raises(el.SpecError, match=r"at most 10 of \+ and -"):
        Unknowns().read("+".join("B" * 12))
    with pytest.raises(el.SpecError, match=r"at most 2\*\*63 - 1"):
        Unknowns().read(str(2**63))
