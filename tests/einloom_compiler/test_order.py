"""Contraction order: trees from paths, costs, and the search."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import opt_einsum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einloom_compiler.extents import symbol
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.printer import letters_of, print_einsum, print_tree
from einloom_compiler.ir.verify import verify_tree
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import c_strides, iteration_space
from einloom_compiler.order.cost import peak_elements, step_cost, tree_cost
from einloom_compiler.order.estimate import Rates
from einloom_compiler.order.exact import path_of
from einloom_compiler.order.merge import TINY_FLOPS, merged
from einloom_compiler.order.network import Network
from einloom_compiler.order.path import PathError, PathIndexError, tree_from_path
from einloom_compiler.order.search import (
    OptimizerNameError,
    OptimizeTypeError,
    least_flops,
    search,
)
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.store import paths

_MACHINE = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)


def _expr(subscripts: str) -> EinsumExpr:
    terms = subscripts.split("->")[0].split(",")
    return expand(parse_string(subscripts), [len(term) for term in terms])


def _extents(expr: EinsumExpr, sizes: dict[str, int]) -> dict[Index, int]:
    return {index: sizes[index.name] for index in expr.indices}


def test_private_indices_are_summed_before_they_multiply_the_work() -> None:
    tree = tree_from_path(_expr("ij,kl->ik"), [(0, 1)])
    assert print_tree(tree) == (
        "ij,kl->ik\n  %2 = ij->i (%0)\n  %3 = kl->k (%1)\n  %4 = i,k->ik (%2, %3)"
    )


def test_a_path_becomes_a_tree_whose_intermediates_suit_the_arrays_around_them() -> None:
    tree = tree_from_path(_expr("ij,jk,kl->il"), [(1, 2), (0, 1)])
    assert print_tree(tree) == (
        "ij,jk,kl->il\n  %3 = jk,kl->jl (%1, %2)\n  %4 = ij,jl->il (%0, %3)"
    )
    verify_tree(tree, "test")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ([(0, 1)], PathError),
        ([(0, 5), (0, 1)], PathIndexError),
        ([(0, 0), (0, 1)], PathError),
        ([(1,), (0, 1)], PathError),
    ],
)
def test_incomplete_or_impossible_paths_are_refused(
    path: list[tuple[int, ...]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        tree_from_path(_expr("ab,bc,cd->ad"), path)


def test_two_operands_are_never_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt_einsum.paths, "get_path_fn", None)
    expr = _expr("ij,jk->ik")
    tree = search(expr, _extents(expr, {"i": 2, "j": 3, "k": 4}), True)
    assert len(tree.steps) == 1


def test_the_cheaper_side_of_a_chain_is_contracted_first() -> None:
    expr = _expr("ij,jk,kl->il")
    tall = search(expr, _extents(expr, {"i": 1000, "j": 10, "k": 1000, "l": 10}), True)
    assert tall.steps[0].positions == (1, 2)
    wide = search(expr, _extents(expr, {"i": 10, "j": 1000, "k": 10, "l": 1000}), True)
    assert wide.steps[0].positions == (0, 1)


@pytest.mark.parametrize("optimize", ["greedy", "optimal", "dp", ("greedy", 10**6), "auto"])
def test_named_optimizers_are_opt_einsums(optimize: object) -> None:
    expr = _expr("ea,fb,abcd,gc,hd->efgh")
    tree = search(expr, _extents(expr, dict.fromkeys("abcdefgh", 3)), optimize)
    assert len(tree.steps) == 4


def test_an_opt_einsum_optimizer_object_is_taken() -> None:
    expr = _expr("ab,bc,cd->ad")
    chosen = search(expr, _extents(expr, dict.fromkeys("abcd", 4)), opt_einsum.DynamicProgramming())
    assert len(chosen.steps) == 2


@pytest.mark.parametrize(
    ("optimize", "error"), [("foo", OptimizerNameError), (5, OptimizeTypeError)]
)
def test_unknown_optimizers_are_named(optimize: object, error: type[Exception]) -> None:
    expr = _expr("ab,bc,cd->ad")
    with pytest.raises(error, match=repr(optimize)):
        search(expr, _extents(expr, dict.fromkeys("abcd", 4)), optimize)


@pytest.mark.parametrize(
    "subscripts", ["ij,jk->ik", "ij->i", "i,j->ij", "ijk,jk,k->i", "ij,ij->ij"]
)
def test_flops_are_counted_as_opt_einsum_counts_them(subscripts: str) -> None:
    expr = _expr(subscripts)
    sizes = {"i": 3, "j": 5, "k": 7}
    step = step_cost(expr, _extents(expr, sizes), 8)
    expected = opt_einsum.helpers.flop_count(
        "".join(i.name for i in expr.indices), bool(expr.contracted), len(expr.terms), sizes
    )
    assert step.flops == expected


def test_a_view_costs_nothing_and_symbols_stay() -> None:
    expr = _expr("ij->ji")
    assert step_cost(expr, dict.fromkeys(expr.indices, 3), 4).flops == 0
    product = _expr("ij,jk->ik")
    m, n, k = (symbol(name) for name in "MNK")
    cost = step_cost(product, dict(zip(product.indices, (m, n, k), strict=True)), 4)
    assert str(cost.flops) == "2*K*M*N"


def test_peak_counts_intermediates_alive_at_once() -> None:
    tree = tree_from_path(_expr("ab,bc,cd,de->ae"), [(0, 1), (0, 1), (0, 1)])
    assert isinstance(tree, ContractionTree)
    assert peak_elements(tree, dict.fromkeys(tree.expr.indices, 2)) == 8


def _random_expr(n_operands: int, seed: int) -> tuple[EinsumExpr, dict[Index, int]]:
    rng = np.random.default_rng(seed)
    letters = list("abcdefg")
    terms = ["".join(rng.choice(letters, rng.integers(1, 4), False)) for _ in range(n_operands)]
    used = sorted(set("".join(terms)))
    expr = _expr(f"{','.join(terms)}->{''.join(used[:2])}")
    return expr, {index: int(rng.integers(2, 9)) for index in expr.indices}


@given(st.integers(3, 9), st.integers(0, 2**16))
def test_the_search_takes_at_most_twice_the_flops_of_greedy_unless_they_are_few(
    n_operands: int, seed: int
) -> None:
    expr, extents = _random_expr(n_operands, seed)
    best, greedy = search(expr, extents, True), search(expr, extents, "greedy")
    verify_tree(best, "test")
    flops = tree_cost(best, extents, 8).flops
    assert flops <= max(2 * tree_cost(greedy, extents, 8).flops, TINY_FLOPS * n_operands)


@given(st.integers(3, 5), st.integers(0, 2**16))
def test_the_least_flops_are_those_of_all_trees(n_operands: int, seed: int) -> None:
    expr, extents = _random_expr(n_operands, seed)
    splits = least_flops(Network(expr, extents))
    found = tree_cost(tree_from_path(expr, path_of(splits, n_operands)), extents, 8).flops
    every = (tree_cost(tree_from_path(expr, p), extents, 8).flops for p in _paths(n_operands))
    assert found == min(every)


def _paths(n_operands: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield a path for every way of contracting pairs."""
    if n_operands == 1:
        yield ()
        return
    for pair in itertools.combinations(range(n_operands), 2):
        for rest in _paths(n_operands - 1):
            yield (pair, *rest)


@pytest.mark.parametrize("n_operands", [9, 20, 50])
def test_many_operands_are_refined_from_a_greedy_tree(n_operands: int) -> None:
    rng = np.random.default_rng(n_operands)
    indices = [Index(f"i{number}") for number in range(n_operands + 1)]
    terms = tuple(itertools.pairwise(indices))
    expr = EinsumExpr(terms, (indices[0], indices[-1]))
    extents = {index: int(rng.integers(20, 60)) for index in indices}
    tree = search(expr, extents, True)
    verify_tree(tree, "test")
    greedy = search(expr, extents, "greedy")
    assert tree_cost(tree, extents, 8).flops <= tree_cost(greedy, extents, 8).flops


def test_a_search_imports_neither_opt_einsum_nor_sympy() -> None:
    code = (
        "import sys\n"
        "from einloom_compiler.ir.einsum import EinsumExpr, Index\n"
        "from einloom_compiler.order.search import search\n"
        "i = [Index(f'i{n}') for n in range(12)]\n"
        "for n in (3, 4, 11):\n"
        "    expr = EinsumExpr(tuple(zip(i[:n], i[1:])), (i[0], i[n]))\n"
        "    search(expr, dict.fromkeys(i, 30), True)\n"
        "print([name for name in ('opt_einsum', 'sympy') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_tiny_contraction_is_one_step_and_a_large_one_is_not() -> None:
    expr = _expr("ij,jk,kl->il")
    assert len(search(expr, dict.fromkeys(expr.indices, 3), True).steps) == 1
    assert len(search(expr, dict.fromkeys(expr.indices, 300), True).steps) == 2


def test_elementwise_factors_are_joined_and_the_smaller_operand_is_scaled() -> None:
    expr = _expr("ij,ij,ij->ij")
    assert len(search(expr, dict.fromkeys(expr.indices, 1000), True).steps) == 1
    expr = _expr("ki,k,kj->ij")
    tree = search(expr, _extents(expr, {"k": 10000, "i": 20, "j": 500}), True)
    assert [print_einsum(step.expr) for step in tree.steps] == ["ki,k->ki", "kj,ki->ij"]


def test_a_chain_of_basis_changes_rotates_its_axes_so_that_every_step_is_a_matrix_product() -> None:
    expr = _expr("pi,qj,ijkl,rk,sl->pqrs")
    tree = search(expr, dict.fromkeys(expr.indices, 24), True)
    for step in tree.steps:
        shapes = [(24,) * len(term) for term in step.expr.terms]
        space = iteration_space(
            step.expr,
            shapes,
            [c_strides(shape) for shape in shapes],
            c_strides((24,) * len(step.expr.output)),
            letters_of(step.expr),
        )
        assert len(space.extents) <= 4, print_einsum(step.expr)


def test_joined_steps_compute_the_same() -> None:
    expr = _expr("ij,j,jk,k->i")
    tree = tree_from_path(expr, [(0, 1), (0, 1), (0, 1)])
    joined = merged(tree, dict.fromkeys(expr.indices, 3), Rates.of("float64", _MACHINE))
    assert len(joined.steps) == 1
    verify_tree(joined, "test")
    assert {print_einsum(step.expr).split("->")[1] for step in joined.steps} == {"i"}
    assert sorted(joined.steps[0].positions) == [0, 1, 2, 3]


def test_a_matrix_chain_costs_what_the_textbook_says() -> None:
    """Source: Cormen et al., "Introduction to Algorithms", matrix-chain multiplication."""
    expr = _expr("ab,bc,cd,de,ef,fg->ag")
    extents = _extents(expr, dict(zip("abcdefg", (30, 35, 15, 5, 10, 20, 25), strict=True)))
    assert tree_cost(search(expr, extents, True), extents, 8).flops == 2 * 15125


def _many() -> tuple[EinsumExpr, dict[Index, int]]:
    letters = "abcdefghijk"
    expr = _expr(",".join(letters[n : n + 2] for n in range(10)) + "->ak")
    return expr, {index: 2 + number for number, index in enumerate(expr.indices)}


def test_a_proposed_path_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    expr, extents = _many()
    named = search(expr, extents, "greedy")
    monkeypatch.setattr(opt_einsum.paths, "get_path_fn", None)
    assert search(expr, extents, "greedy") == named
    with pytest.raises(TypeError):
        search(expr, {**extents, expr.indices[0]: 99}, "greedy")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"path": [[0, 1]]}', '{"asked": 1, "path": 2}'])
def test_a_damaged_path_is_searched_for_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    expr, extents = _many()
    found = search(expr, extents, "greedy")
    entries = list((tmp_path / paths.FOLDER).glob("*.json"))
    assert len(entries) == 1
    kept = [entry.read_bytes() for entry in entries]
    for entry in entries:
        entry.write_text(damage)
    assert search(expr, extents, "greedy") == found
    assert [entry.read_bytes() for entry in entries] == kept


def test_optimizers_that_vary_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    expr, extents = _many()
    assert len(search(expr, extents, "random-greedy").steps) == 9
    assert not (tmp_path / paths.FOLDER).exists()
