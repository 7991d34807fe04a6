"""Programs of all kinds of nodes, against NumPy's evaluation of the same graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einloom.runtime.program import Program
from einloom.runtime.recipe import Launch
from einloom.runtime.values import Value, layout
from einloom_compiler.errors import IndicesError
from einloom_compiler.extents import symbol
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.graph import (
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Join,
    Node,
    Pad,
    Reshape,
    Strided,
    Take,
    ViewAxis,
)
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.scalar import SUM, Number, chain, combined
from einloom_compiler.ir.scalar import Value as ScalarValue
from einloom_compiler.ir.traversal import inputs_of

Array = npt.NDArray[Any]
F32 = np.dtype("float32")
ROW, SUMMED, COLUMN = map(Index, "ijk")


def _program(*roots: Node, optimizes: bool = False) -> Program:
    names = {node.name: node.name for node in inputs_of(*roots)}
    return Program(roots, names, True, optimizes=optimizes)


def _check(*roots: Node, sizes: dict[str, int] | None = None, **arrays: Array) -> Program:
    program = _program(*roots)
    optimized = _program(*roots, optimizes=True)
    given = [arrays[node.name] for node in inputs_of(*roots)]
    for each in (program, program, optimized):
        results = each.run_all(given, (None,) * len(roots), 1, "pool")
        for root, result in zip(roots, results, strict=True):
            expected = evaluate_graph(root, arrays, sizes)
            assert result.dtype == expected.dtype
            np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    return program


def _input(name: str, *shape: Any, dtype: Any = F32) -> Input:
    return Input(name, shape, np.dtype(dtype))


def _array(*shape: int, dtype: Any = F32) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def _matmul(x: Node, y: Node) -> Contraction:
    einsum = EinsumExpr(((ROW, SUMMED), (SUMMED, COLUMN)), (ROW, COLUMN))
    return Contraction(einsum, (x, y), F32, (False, False), (frozenset(), frozenset()))


def _flipped(x: Node, rows: int, columns: int) -> Strided:
    return Strided(x, (0, columns - 1), (ViewAxis(columns, 1, -1), ViewAxis(rows, 0)))


def _steps(program: Program, *arrays: Array) -> list[type]:
    results = program.run_all(arrays, (None,) * len(program.roots), 1, "pool")
    return [type(step) for step in program.recipe_for(arrays, *results).steps]


def test_views_are_no_steps() -> None:
    x, y = _array(6, 5), _array(6, 4)
    view = Strided(_input("x", 6, 5), (5, 1), (ViewAxis(3, 1), ViewAxis(6, 0, -1)))
    program = _check(_matmul(view, _input("y", 6, 4)), x=x, y=y)
    assert _steps(program, x, y) == [Launch]


def test_a_view_of_an_intermediate_has_an_offset() -> None:
    x, y, z = _array(6, 5), _array(5, 4), _array(3, 2)
    product = _matmul(_input("x", 6, 5), _input("y", 5, 4))
    part = Strided(product, (2, 1), (ViewAxis(4, 0), ViewAxis(3, 1)))
    root = _matmul(part, _input("z", 3, 2))
    _check(root, x=x, y=y, z=z)
    # As it is written: the two contractions would be merged.
    program = Program(root, {name: name for name in "xyz"}, True, optimizes=False)
    out = program.run([x, y, z], None, 1, "pool")
    np.testing.assert_allclose(out, (x @ y)[2:, 1:] @ z, rtol=1e-5, atol=1e-5)
    recipe = program.recipe_for([x, y, z], out)
    first, second = recipe.launches
    assert first.offsets == ()
    assert second.offsets == ((2 * 4 + 1) * 4, 0, 0)
    assert recipe.native_plan is not None


def test_a_view_around_the_result_is_written_through() -> None:
    x, y = _array(6, 5), _array(5, 4)
    product = _matmul(_input("x", 6, 5), _input("y", 5, 4))
    program = _check(Reshape(_flipped(product, 6, 4), (2, 2, 6)), x=x, y=y)
    assert _steps(program, x, y) == [Launch]


def test_a_view_alone_is_one_copy() -> None:
    x = _array(6, 5)
    program = _check(_flipped(_input("x", 6, 5), 6, 5), x=x)
    assert _steps(program, x) == [Launch]


def test_joined_and_padded_results_are_computed_in_place() -> None:
    x, y = _array(6, 5), _array(5, 4)
    product = _matmul(_input("x", 6, 5), _input("y", 5, 4))
    other = _matmul(_input("x", 6, 5), Constant(_array(5, 3)))
    joined = Join((product, other), 1)
    assert _steps(_check(joined, x=x, y=y), x, y) == [Launch] * 2
    padded = Pad(joined, (1, 0), (0, 2), -1.5)
    assert _steps(_check(padded, x=x, y=y), x, y) == [Launch] * 4
    twice = Join((product, product, _input("y", 5, 4)), 0)
    assert _steps(_check(twice, x=x, y=y), x, y) == [Launch] * 3


def test_several_results_share_what_they_have_in_common() -> None:
    x, y = _array(6, 5), _array(5, 4)
    product = _matmul(_input("x", 6, 5), _input("y", 5, 4))
    term = (ROW, COLUMN)
    squared = Elementwise(chain((Map("square"),)), (product,), (term,), term, F32)
    program = _check(squared, product, _flipped(product, 6, 4), product, x=x, y=y)
    assert _steps(program, x, y) == [Launch] * 4  # product, square, and two copies of product


def test_what_depends_on_no_input_is_computed_once() -> None:
    constant = _matmul(Constant(_array(5, 3)), Constant(_array(3, 4)))
    padded = Pad(Strided(constant, (0, 1), (ViewAxis(5, 0), ViewAxis(3, 1))), (0, 0), (0, 1))
    x = _array(6, 5)
    program = _check(_matmul(_input("x", 6, 5), padded), x=x)
    assert _steps(program, x) == [Launch]
    whole = _program(padded)
    np.testing.assert_allclose(whole.run([], None, 1, "pool"), evaluate_graph(padded, {}))


def test_counting_and_looking_up() -> None:
    table, indices = _array(7, 3), np.array([[1, 6], [0, 3]], np.int32)
    node = Take(_input("table", 7, 3), _input("indices", 2, 2, dtype=np.int32))
    _check(node, table=table, indices=indices)
    _check(Iota(5, np.dtype("int64")))
    counted = Take(_input("table", 7, 3), Iota(symbol("n"), np.dtype("int32")))
    rows = Join(
        (
            counted,
            Strided(
                _input("x", symbol("n"), 3), (0, 0), (ViewAxis(symbol("n"), 0), ViewAxis(3, 1))
            ),
        ),
        1,
    )
    _check(rows, table=table, x=_array(4, 3), sizes={"n": 4})


@pytest.mark.parametrize("wrong", [-1, 7])
def test_an_index_outside_its_table_is_refused(wrong: int) -> None:
    program = _program(Take(_input("table", 7, 3), _input("ids", 2, dtype=np.int64)))
    with pytest.raises(IndicesError, match=rf"ids .*index {wrong}, .*extent 7"):
        program.run([_array(7, 3), np.array([0, wrong])], None, 1, "pool")


def test_symbolic_sizes_and_empty_arrays() -> None:
    n = symbol("n")
    x = _input("x", n, 5)
    joined = Join((Reshape(x, (5 * n,)), Pad(Reshape(x, (n * 5,)), (n,), (2,))), 0)
    view = Strided(joined, (n,), (ViewAxis(n, 0, 3), ViewAxis(2, None)))
    for size in (0, 1, 4):
        _check(joined, view, x=_array(size, 5), sizes={"n": size})
        _check(joined, x=_array(5, size).T, sizes={"n": size})


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "complex128", "uint64"])
def test_all_dtypes_are_moved(dtype: str) -> None:
    x = (3 * _array(4, 6)).astype(dtype)
    given = _input("x", 4, 6, dtype=dtype)
    _check(Pad(_flipped(given, 4, 6), (1, 0), (0, 1), 1.0), x=x)
    _check(Reshape(_flipped(given, 4, 6), (24,)), x=x)


@st.composite
def _layouts(draw: st.DrawFn) -> Array:
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    whole = np.arange(2 ** len(shape) * np.prod(shape)).reshape([2 * extent for extent in shape])
    steps = [draw(st.sampled_from([1, 2, -1, -2])) for _ in shape]
    slices = tuple(
        slice(None, None, step)
        if abs(step) == 2
        else slice(0, extent)
        if step == 1
        else slice(extent - 1, None, -1)
        if extent
        else slice(0, 0)
        for step, extent in zip(steps, shape, strict=True)
    )
    view = whole[slices].transpose(draw(st.permutations(range(len(shape)))))
    if draw(st.booleans()):
        view = np.broadcast_to(view[:1], view.shape) if view.shape[0] else view
    return view


@given(_layouts(), st.data())
@settings(max_examples=200, deadline=None)
def test_reshapes_are_views_exactly_where_numpy_has_one(array: Array, data: st.DataObject) -> None:
    pending = int(array.size)
    shape: list[int] = []
    while pending > 1 and len(shape) < 4:
        divisors = [d for d in range(1, pending + 1) if pending % d == 0]
        shape.append(data.draw(st.sampled_from(divisors)))
        pending //= shape[-1]
    new = (*shape, pending) if array.size else (0, 3)
    found = Value(0, layout(array)).reshaped(new)
    try:
        expected = array.reshape(new, copy=False)
    except ValueError:
        assert found is None
        return
    assert found is not None
    if array.size:
        kept = [axis for axis, extent in enumerate(new) if extent > 1]
        assert [found.layout[1][axis] for axis in kept] == [expected.strides[axis] for axis in kept]


def test_attention_is_one_launch_between_views() -> None:
    """Heads cut from a layer's output by a reshape and a transpose; the mask is a node's result."""
    b, h, t, s, d, e = map(Index, "bhtsde")
    q, k, v = (_input(name, 2, 20, 12) for name in "qkv")
    heads = [Reshape(x, (2, 20, 3, 4)) for x in (q, k, v)]
    mask = _input("mask", 20, 20)
    doubled = Elementwise(chain((Map("multiply", (2.0,)),)), (mask,), ((t, s),), (t, s), F32)
    score = combined("add", combined("multiply", SUM, Number(0.5)), ScalarValue(1))
    node = Attention(
        heads[0],
        heads[1],
        heads[2],
        terms=((b, t, h, d), (b, s, h, d), (b, s, h, e)),
        output=(b, t, h, e),
        score=score,
        masks=(doubled,),
        mask_terms=((t, s),),
        is_causal=True,
        dtype=F32,
    )
    rng = np.random.default_rng(3)
    arrays = {n: rng.standard_normal((2, 20, 12)).astype("float32") for n in "qkv"}
    arrays["mask"] = rng.standard_normal((20, 20)).astype("float32")
    program = _check(Reshape(node, (2, 20, 12)), sizes=None, **arrays)
    given = [arrays[name] for name in ("q", "k", "v", "mask")]
    recipe = program.recipe_for(given, np.empty((2, 20, 12), "float32"))
    assert len(recipe.launches) == len(recipe.steps) == 2
    assert recipe.native_plan is not None
