"""Recipes: launches with intermediates in one workspace, reshapes that are no steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
import einloom.functions
from einloom.compiled import CompiledFunction
from einloom.runtime.recipe import Launch, Recipe


def _recipe(function: CompiledFunction, *arrays: Any, out: Any = None) -> Recipe:
    out = function(*arrays) if out is None else out
    return function.evaluation(arrays, out).recipe


def test_intermediates_share_memory_where_their_lives_do_not_meet() -> None:
    dtype = np.dtype(np.float64)
    shapes = [(8,), (8,), (16,), (3,)]
    #        lives: 0-1, 1-2, 2-3, 3-4
    moves = ((0, 2), (2, 3), (3, 4), (4, 5), (5, 1))
    kernel: Any = None  # none is run
    steps = tuple(Launch(kernel, (source,), target) for source, target in moves)
    recipe = Recipe(1, (), tuple((shape, dtype) for shape in shapes), steps)
    assert recipe.offsets == (0, 64, 128, 0)
    assert recipe.workspace_bytes == 256


def test_each_intermediate_begins_on_a_cache_line() -> None:
    specs = [el.spec(3, 5), el.spec(5, 7), el.spec(7, 3), el.spec(3, 2)]
    function = el.compile("ij,jk,kl,lm->im", *specs, optimize="greedy")
    recipe = _recipe(function, *(np.ones(s.shape) for s in specs))
    assert len(recipe.steps) == 3
    assert len(recipe.buffers) == 2
    assert all(offset % 64 == 0 for offset in recipe.offsets)


def test_a_reshape_of_a_result_in_c_order_is_no_step() -> None:
    x, y = np.arange(12.0).reshape(3, 4), np.arange(20.0).reshape(4, 5)
    product = el.kron(el.spec(3, 4, name="x"), el.spec(4, 5, name="y"))
    assert isinstance(product, el.Expression)
    function = el.compile(product)
    recipe = _recipe(function, x, y)
    assert [type(step) for step in recipe.steps] == [Launch]
    assert recipe.buffers == ()
    np.testing.assert_array_equal(function(x, y), np.kron(x, y))


def test_axes_of_extent_one_are_no_reason_for_a_copy() -> None:
    x = el.spec("B", 4, name="x")
    rows, array = el.functions.exp(x)[:, None], np.arange(12.0).reshape(3, 4)
    squares = el.einsum("bi,bi->b", x, x)[:, None]
    joined = el.functions.concatenate([rows, el.functions.sqrt(x)[:, None]], axis=1)
    padded = el.functions.pad(rows, ((0, 0), (0, 0), (1, 1)))
    for made, n_steps in ((squares, 1), (joined, 2), (padded, 3)):
        recipe = _recipe(el.compile(made), array)
        assert len(recipe.steps) == n_steps
        assert not any(step.target in step.operands for step in recipe.launches)


def test_a_reshaped_result_that_is_not_in_c_order_is_written_as_it_is() -> None:
    x, y = np.arange(12.0).reshape(3, 4), np.arange(20.0).reshape(4, 5)
    function = el.compile(el.kron(el.spec(3, 4, name="x"), el.spec(4, 5, name="y")))
    out = np.empty((12, 20), order="F")
    for _ in range(2):
        assert function(x, y, out=out) is out
        np.testing.assert_array_equal(out, np.kron(x, y))
    recipe = _recipe(function, x, y, out=out)
    assert [type(step) for step in recipe.steps] == [Launch]


@pytest.mark.parametrize("is_transposed", [False, True])
def test_an_operand_is_reshaped_in_place_or_copied(is_transposed: bool) -> None:
    x = np.arange(12.0).reshape(3, 4)
    x = x.T if is_transposed else x
    y = np.arange(12.0)
    for _ in range(3):
        np.testing.assert_allclose(el.vdot(x, y), np.vdot(x, y))
        np.testing.assert_array_equal(el.outer(x, y), np.outer(x, y))


def test_empty_intermediates_and_results() -> None:
    function = el.compile("ij,jk,kl->il", el.spec("I", "J"), el.spec("J", "K"), el.spec("K", "L"))
    for shapes in [((2, 0), (0, 3), (3, 4)), ((2, 3), (3, 0), (0, 4)), ((0, 3), (3, 2), (2, 4))]:
        arrays = [np.ones(shape) for shape in shapes]
        for _ in range(3):
            expected = np.zeros((shapes[0][0], shapes[2][1]))
            np.testing.assert_array_equal(function(*arrays), expected)
