"""Integers that remember how they were computed."""

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from einloom_compiler.lowering.formula import Formula, formula_text

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
