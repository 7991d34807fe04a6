"""Orders for symbolic extents: which are kept, and which is picked at given sizes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einloom_compiler.extents import Extent, symbol
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.language import expand, parse_string
from einloom_compiler.order.cost import tree_cost
from einloom_compiler.order.exact import path_of
from einloom_compiler.order.network import Network
from einloom_compiler.order.path import tree_from_path
from einloom_compiler.order.polynomial import (
    Polynomial,
    added,
    cheapest_somewhere,
    is_never_more,
    value,
)
from einloom_compiler.order.search import least_flops
from einloom_compiler.order.select import Orders, orders

_CHAINS = {
    n: ",".join("abcdefgh"[i : i + 2] for i in range(n)) + f"->a{chr(97 + n)}" for n in range(3, 7)
}
_NETWORKS = (
    "pi,qj,ijkl,rk,sl->pqrs",
    "ki,k,kj,k->ij",
    "ijk,jr,kr->ir",
    "ab,bc,cd,da->",
    "af,fbg,gch,hdi,ie->abcde",
    "ab,c,bc,d->ad",
    "ab,cd,e->ae",
)


def _expr(subscripts: str) -> EinsumExpr:
    terms = subscripts.split("->")[0].split(",")
    return expand(parse_string(subscripts), [len(term) for term in terms])


def _symbolic(expr: EinsumExpr) -> dict[Index, Extent]:
    return {index: symbol(index.name.upper()) for index in expr.indices}


_KEPT: dict[str, Orders] = {}


def _kept(subscripts: str) -> Orders:
    if subscripts not in _KEPT:
        expr = _expr(subscripts)
        _KEPT[subscripts] = orders(expr, _symbolic(expr))
    return _KEPT[subscripts]


def _flops(expr: EinsumExpr, path: object, extents: dict[Index, int]) -> object:
    return tree_cost(tree_from_path(expr, path), extents, 1).flops  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_operands", "catalan"), [(3, 2), (4, 5), (5, 14), (6, 42)])
def test_a_chain_keeps_every_parenthesization(n_operands: int, catalan: int) -> None:
    assert len(_kept(_CHAINS[n_operands]).paths) == catalan


@given(st.sampled_from([*_CHAINS.values(), *_NETWORKS]), st.data())
def test_the_pick_has_the_least_flops_of_all_trees_at_every_size(
    subscripts: str, data: st.DataObject
) -> None:
    expr = _expr(subscripts)
    extents = {index: data.draw(st.integers(0, 300), index.name) for index in expr.indices}
    picked = _flops(expr, _kept(subscripts).pick(extents), extents)
    splits = least_flops(Network(expr, extents))
    assert picked == _flops(expr, path_of(splits, len(expr.terms)), extents)


@given(st.integers(3, 6), st.lists(st.integers(1, 500), min_size=7, max_size=7))
def test_a_chain_costs_what_the_classical_dynamic_program_says(
    n_operands: int, sizes: list[int]
) -> None:
    expr = _expr(_CHAINS[n_operands])
    extents = dict(zip(sorted(expr.indices, key=lambda i: i.name), sizes, strict=False))
    best: dict[tuple[int, int], int] = {(i, i + 1): 0 for i in range(n_operands)}
    for length in range(2, n_operands + 1):
        for i in range(n_operands - length + 1):
            j = i + length
            best[i, j] = min(
                best[i, k] + best[k, j] + 2 * sizes[i] * sizes[k] * sizes[j]
                for k in range(i + 1, j)
            )
    picked = _flops(expr, _kept(_CHAINS[n_operands]).pick(extents), extents)
    assert isinstance(picked, int)
    assert picked <= best[0, n_operands]
    if min(sizes[: n_operands + 1]) > 1:
        assert picked == best[0, n_operands]


def test_ranges_drop_the_orders_that_cannot_win_in_them() -> None:
    expr = _expr("ij,jk,kl->il")
    extents: dict[Index, Extent] = {**_symbolic(expr), Index("j"): 100, Index("k"): 100}
    assert len(orders(expr, extents).paths) == 2
    kept = orders(expr, extents, {"I": (1, 8), "L": (64, math.inf)})
    assert kept.paths == (((0, 1), (0, 1)),)


def test_concrete_factors_count_and_equal_extents_are_one_unknown() -> None:
    expr = _expr("ab,bc,cd->ad")
    n = symbol("N")
    kept = orders(expr, dict.fromkeys(expr.indices, n))
    assert len(kept.unknowns) == 1
    assert len(kept.paths) == 1
    arithmetic = orders(expr, {**dict.fromkeys(expr.indices, n), Index("a"): 2 * n + 1})
    assert len(arithmetic.unknowns) == 2


def test_many_operands_are_sampled() -> None:
    n_operands = 9
    letters = "abcdefghij"
    expr = _expr(",".join(letters[i : i + 2] for i in range(n_operands)) + "->aj")
    kept = orders(expr, _symbolic(expr))
    assert len(kept.paths) > 1
    small, large = dict.fromkeys(expr.indices, 50), dict.fromkeys(expr.indices, 50)
    small[Index("a")], large[Index("j")] = 2, 2
    for extents in (small, large):
        flops = [value(p, [extents[i] for i in kept.unknowns]) for p in kept.flops]
        assert _flops(expr, kept.pick(extents), extents) == min(flops)


_POLYNOMIALS = st.lists(
    st.tuples(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(1, 9)), max_size=4
).map(lambda terms: added((), tuple(terms)))


@given(_POLYNOMIALS, _POLYNOMIALS, st.integers(2, 40), st.integers(2, 40))
def test_what_is_shown_to_be_never_more_is_never_more(
    less: Polynomial, more: Polynomial, x: int, y: int
) -> None:
    bounds = [(2, math.inf), (2, 40.0)]
    if is_never_more(less, more, bounds):
        assert value(less, [x, y]) <= value(more, [x, y])


@given(st.lists(_POLYNOMIALS, min_size=1, max_size=5), st.integers(2, 40), st.integers(2, 40))
def test_one_of_the_kept_polynomials_is_the_least_everywhere(
    polynomials: list[Polynomial], x: int, y: int
) -> None:
    kept = cheapest_somewhere(polynomials, [(2, math.inf)] * 2)
    assert min(value(p, [x, y]) for p in kept) == min(value(p, [x, y]) for p in polynomials)
