"""Integers that remember how they were computed."""

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from einloom_compiler.lowering.contracted import Contracted, Run
from einloom_compiler.lowering.formula import (
    Formula,
    definitions,
    formula_text,
    is_open,
    open_symbol,
)
from einloom_compiler.lowering.groups import Axis

VALUES = {"n_i": 24, "n_j": 7, "n_k": 5}
LEAVES = st.sampled_from([*(Formula(v, name) for name, v in VALUES.items()), 0, 1, 3])
OPERATORS = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod]


def _combine(parts: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    def combined(of: tuple[Callable[[Any, Any], int], int, int]) -> int:
        function, left, right = of
        is_division = function in (operator.floordiv, operator.mod)
        return left if is_division and int(right) == 0 else function(left, right)

    binary = st.tuples(st.sampled_from(OPERATORS), parts, parts).map(combined)
    return st.one_of(binary, parts.map(operator.neg), parts.map(abs))


@given(st.recursive(LEAVES, _combine, max_leaves=8))
def test_the_text_computes_the_value(formula: int) -> None:
    assert eval(formula_text(formula), dict(VALUES)) == formula


def test_neutral_elements_leave_no_trace() -> None:
    n = Formula(24, "n_i")
    assert formula_text(1 * n + 0) == "n_i"
    assert formula_text(-(-n // 8)) == "-(-n_i // 8)"
    assert formula_text(n * (n * 3)) == "n_i * n_i * 3"


def test_open_formulas_are_equal_only_where_all_sizes_agree() -> None:
    b, t = open_symbol(4, "B", 0), open_symbol(4, "T", 1)
    assert b != t and b != 4 and b == open_symbol(8, "B", 0)
    assert b * t + b == b * (t + 1)
    assert hash(b * t) == hash(t * b)
    assert is_open(b * 2) and not is_open(Formula(4, "n"))
    # A multiple divides exactly; that 4 is a multiple of 2 says nothing of other sizes.
    assert (b * 8) // 4 == b * 2
    assert (b // 2) * 2 != b
    assert b % 2 != 0
    assert b - (b // 4) * 4 not in (0, 1)
    assert b // 2 == open_symbol(6, "B", 0) // 2
    # Decisions go by the value.
    assert b < 5 and max(b, 3) is b


def test_contracted_blocks_of_open_formulas_never_exceed_their_depth() -> None:
    for depth in (384, 256, 100):
        k = Axis(open_symbol(8, "K", 0), (1, 1, 0), "k")
        step = Contracted((k,), (Run(1, 1), Run(1, 1)), 1).block(depth)
        for points in (1, 7, 8, 99, 100, 383, 384, 385, 1000, 4097):
            names: dict[str, Any] = {"K": points}
            for name, meaning in definitions(step):
                names[name] = eval(meaning, {}, names)
            size = eval(formula_text(step), {}, names)
            assert 1 <= size <= max(depth, 8)
