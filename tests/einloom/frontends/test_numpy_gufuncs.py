from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.einloom.frontends.comparing import assert_same

import einloom as el
from einloom_compiler.errors import AxisError, CastingError, DTypeError, ShapeError

LAYOUTS = ("C", "F", "reversed", "strided", "broadcast")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


@pytest.mark.parametrize(
    ("x", "y", "equation"),
    [
        ((3, 4), (4, 5), "ij,jk->ik"),
        ((4,), (4,), "j,j->"),
        ((4,), (4, 5), "j,jk->k"),
        ((3, 4), (4,), "ij,j->i"),
        ((7, 3, 4), (4,), "aij,j->ai"),
        ((4,), (7, 4, 5), "j,ajk->ak"),
        ((7, 3, 4), (4, 5), "aij,jk->aik"),
        ((3, 4), (2, 7, 4, 5), "ij,abjk->abik"),
        ((2, 1, 3, 4), (7, 4, 5), "abij,bjk->abik"),
        ((1, 7, 3, 4), (2, 1, 4, 5), "abij,abjk->abik"),
        ((7, 3, 0), (7, 0, 5), "aij,ajk->aik"),
        ((0, 3, 4), (1, 4, 5), "aij,ajk->aik"),
        ((7, 1, 1), (7, 1, 1), "aij,ajk->aik"),
    ],
)
def test_matmul_equals_numpy_and_has_the_documented_equation(
    operands: Any, x: tuple[int, ...], y: tuple[int, ...], equation: str
) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.matmul(a, b), np.matmul(a, b))
    expression = el.matmul(el.spec(x), el.spec(y))
    assert expression.equation == equation
    assert expression.shape == np.matmul(a, b).shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_computes_in_the_operands_own_dtype(operands: Any, dtype: str) -> None:
    a, b = operands((3, 4), dtype), operands((4, 5), dtype)
    assert_same(el.matmul(a, b), np.matmul(a, b))


def test_matmul_of_small_integers_wraps_around() -> None:
    a = np.full((2, 2), 100, np.int8)
    assert_same(el.matmul(a, a), np.matmul(a, a))


@pytest.mark.parametrize(
    "dtypes",
    [("int8", "uint8"), ("int64", "uint64"), ("bool", "float32"), ("float32", "complex64")],
)
def test_matmul_promotes_dtypes_as_numpy(operands: Any, dtypes: tuple[str, str]) -> None:
    a, b = operands((3, 4), dtypes[0]), operands((4, 5), dtypes[1])
    assert_same(el.matmul(a, b), np.matmul(a, b))


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_matmul_takes_any_memory_layout(operands: Any, left: str, right: str) -> None:
    a, b = operands((2, 3, 4), layout=left), operands((2, 4, 5), layout=right)
    assert_same(el.matmul(a, b), np.matmul(a, b))


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        ((3, 2, 4), (4, 5, 2), [(0, 1), (2, 1), (0, 1)]),
        ((3, 2, 4), (4, 5, 2), [(0, 1), (2, 1), (-1, -2)]),
        ((3, 2, 4), (2,), [(0, 1), (0,), 0]),
        ((2, 3), (3, 4), [(0, 1), (0, 1), (1, 0)]),
    ],
)
def test_matmul_axes_name_the_matrices(
    operands: Any, x: tuple[int, ...], y: tuple[int, ...], axes: list[Any]
) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.matmul(a, b, axes=axes), np.matmul(a, b, axes=axes))


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("vecdot", (3, 4), (3, 4)),
        ("vecdot", (2, 1, 4), (3, 4)),
        ("vecdot", (4,), (4,)),
        ("matvec", (3, 4), (4,)),
        ("matvec", (2, 3, 4), (5, 1, 4)),
        ("vecmat", (3,), (3, 4)),
        ("vecmat", (5, 1, 3), (2, 3, 4)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_vector_products_equal_numpy(
    operands: Any, name: str, x: tuple[int, ...], y: tuple[int, ...], dtype: str
) -> None:
    a, b = operands(x, dtype), operands(y, dtype)
    assert_same(getattr(el, name)(a, b), getattr(np, name)(a, b))


@pytest.mark.parametrize(
    ("name", "x", "y", "equation"),
    [
        ("vecdot", ("B", 4), (4,), "ai,i->a"),
        ("matvec", ("B", 3, 4), (4,), "aij,j->ai"),
        ("vecmat", (3,), ("B", 3, 4), "i,aij->aj"),
    ],
)
def test_vector_products_of_symbolic_operands_have_the_documented_equation(
    name: str, x: tuple[Any, ...], y: tuple[Any, ...], equation: str
) -> None:
    assert getattr(el, name)(el.spec(x), el.spec(y)).equation == equation


def test_vecdot_axis_is_the_vectors_axis_in_both_operands(operands: Any) -> None:
    a, b = operands((4, 2, 3)), operands((4, 3))
    numpy_vecdot: Any = np.vecdot  # NumPy's stubs do not know axis=
    assert_same(el.vecdot(a, b, axis=0), numpy_vecdot(a, b, axis=0))
    assert_same(el.vecdot(a, b, axes=[0, 0]), numpy_vecdot(a, b, axes=[0, 0]))
    with pytest.raises(AxisError, match="axis 2 is out of bounds for array of dimension 2"):
        el.vecdot(a, b, axis=2)


@settings(max_examples=20)
@given(data=st.data())
def test_matmul_equals_numpy_on_any_shapes(data: st.DataObject) -> None:
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    m, n, k = data.draw(st.tuples(*[st.integers(0, 4)] * 3))
    shapes = []
    for core in ((m, k), (k, n)):
        own = [data.draw(st.sampled_from((1, extent))) for extent in batch]
        shapes.append((*own[data.draw(st.integers(0, len(own))) :], *core))
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-3, 4, shape).astype(float) for shape in shapes)
    assert_same(el.matmul(a, b), np.matmul(a, b))


@pytest.mark.parametrize(
    ("name", "x", "y", "values"),
    [
        ("matmul", (2, 3), (4, 5), "size 4 is different from 3"),
        ("matmul", (2, 3), (4,), "size 4 is different from 3"),
        ("matmul", (2, 1), (3, 4), "size 3 is different from 1"),
        ("matmul", (), (3, 4), "Input operand 0 does not have enough dimensions (has 0"),
        ("matmul", (3, 4), (), "Input operand 1 does not have enough dimensions (has 0"),
        ("matmul", (2, 3, 4), (3, 4, 5), "(shape (2, 3, 4)) has extent 2"),
        ("vecdot", (2, 3), (2, 1), "size 1 is different from 3"),
        ("matvec", (2, 3), (4,), "size 4 is different from 3"),
        ("matvec", (3,), (3,), "Input operand 0 does not have enough dimensions (has 1"),
        ("vecmat", (4,), (2, 3), "size 2 is different from 4"),
    ],
)
def test_shapes_that_numpy_rejects_are_rejected_with_their_values(
    name: str, x: tuple[int, ...], y: tuple[int, ...], values: str
) -> None:
    with pytest.raises(ValueError):
        getattr(np, name)(np.ones(x), np.ones(y))
    with pytest.raises(ShapeError) as caught:
        getattr(el, name)(np.ones(x), np.ones(y))
    assert values in str(caught.value)
    with pytest.raises(ShapeError):
        getattr(el, name)(el.spec(x), el.spec(y))


def test_contracted_extents_that_may_be_equal_leave_a_guard(operands: Any) -> None:
    expression = el.matmul(el.spec("M", "K", name="x"), el.spec("L", 5, name="y"))
    assert [(str(g.left), str(g.right)) for g in expression.guards] == [("K", "L")]
    function = expression.compile()
    a, b = operands((2, 3)), operands((3, 5))
    assert_same(function(a, b), np.matmul(a, b))
    with pytest.raises(ShapeError, match="3 != 4"):
        function(a, operands((4, 5)))


def test_a_batch_extent_of_1_broadcasts_to_a_symbolic_one(operands: Any) -> None:
    function = el.matmul(el.spec("B", 3, 4, name="x"), el.spec(1, 4, 5, name="y")).compile()
    a, b = operands((6, 3, 4)), operands((1, 4, 5))
    assert_same(function(a, b), np.matmul(a, b))


@pytest.mark.parametrize(
    ("axes", "error", "text"),
    [
        ([(0, 1), (0, 1)], ShapeError, "an entry for all 3 inputs and outputs"),
        ([(0, 2), (0, 1), (0, 1)], AxisError, "axis 2 is out of bounds"),
        ([(0, 0), (0, 1), (0, 1)], AxisError, "repeated axes"),
        ([(0,), (0, 1), (0, 1)], AxisError, "should have 2 elements"),
        ([(0, 1.5), (0, 1), (0, 1)], DTypeError, "must be an integer, not 1.5"),
        (3, DTypeError, "axes should be a list"),
    ],
)
def test_bad_axes_are_rejected(axes: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(")):
        el.matmul(np.ones((3, 3)), np.ones((3, 3)), axes=axes)


def test_out_is_written_and_returned(operands: Any) -> None:
    a, b = operands((3, 4)), operands((4, 5))
    out = np.zeros((3, 5))
    assert el.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, np.matmul(a, b))


def test_out_may_be_an_operand(operands: Any) -> None:
    a = operands((3, 3))
    want = np.matmul(a, a)
    el.matmul(a, a, out=a)
    np.testing.assert_array_equal(a, want)


def test_out_is_cast_to_within_its_kind_only(operands: Any) -> None:
    a, b = operands((3, 4)), operands((4, 5))
    narrow = np.zeros((3, 5), np.float32)
    assert el.matmul(a, b, out=narrow) is narrow
    np.testing.assert_array_equal(narrow, np.matmul(a, b))
    with pytest.raises(CastingError, match="float64 cannot be cast to out's dtype int64"):
        el.matmul(a, b, out=np.zeros((3, 5), np.int64))
    with pytest.raises(ShapeError, match=r"out has shape \(5, 3\), but the result has shape"):
        el.matmul(a, b, out=np.zeros((5, 3)))
    rows: Any = [[0.0] * 5] * 3
    with pytest.raises(DTypeError, match="out must be a NumPy array, not list"):
        el.matmul(a, b, out=rows)


def test_dtypes_without_a_common_one_are_rejected() -> None:
    with pytest.raises(DTypeError, match=r"int64, datetime64\[s\] have no common dtype"):
        el.matmul(np.ones((2, 2), np.int64), np.ones((2, 2), "M8[s]"))


@pytest.mark.parametrize("dtype", ["O", "g"])
def test_dtypes_without_kernels_are_named_as_unsupported(dtype: str) -> None:
    with pytest.raises(el.UnsupportedError, match="no kernel is generated for dtype"):
        el.matmul(np.ones((2, 2), dtype), np.ones((2, 2), dtype))
