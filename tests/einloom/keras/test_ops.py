"""``keras.ops`` against the real ``keras.ops``."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.frontends.keras_dtypes import keras_result_dtype
from einloom.keras import ops
from einloom_compiler.errors import AxisError

pytestmark = [pytest.mark.keras, pytest.mark.tensorflow]

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)


@pytest.fixture(name="keras_ops", scope="module")
def _keras_ops() -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip("keras").ops


def make(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Any:
    """Return small whole numbers, so that sums are exact in every dtype."""
    values = np.random.default_rng(seed).integers(0, 4, shape)
    if dtype == "bfloat16":
        return values.astype(pytest.importorskip("ml_dtypes").bfloat16)
    return (values * (1 + 2j)).astype(dtype) if "complex" in dtype else values.astype(dtype)


CALLS: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[Any, ...]]] = [
    ("matmul", (2, 3), (3, 4), ()),
    ("matmul", (3,), (3,), ()),
    ("matmul", (3,), (2, 3, 4), ()),
    ("matmul", (5, 2, 3), (3,), ()),
    ("matmul", (5, 2, 3), (3, 4), ()),
    ("matmul", (2, 3), (5, 3, 4), ()),
    ("matmul", (1, 5, 2, 3), (6, 1, 3, 4), ()),
    ("matmul", (2, 0), (0, 4), ()),
    ("dot", (), (2, 3), ()),
    ("dot", (2, 3), (), ()),
    ("dot", (3,), (3,), ()),
    ("dot", (2, 3), (3,), ()),
    ("dot", (3,), (3, 4), ()),
    ("dot", (2, 3), (5, 3, 4), ()),
    ("dot", (1, 2, 3, 4), (3, 2, 4, 2), ()),
    ("tensordot", (2, 3, 4), (3, 4, 5), ()),
    ("tensordot", (2, 3), (3, 4), (1,)),
    ("tensordot", (2, 3), (4, 5), (0,)),
    ("tensordot", (2, 3, 4), (4, 3, 5), ([[1, 2], [1, 0]],)),
    ("tensordot", (2, 3, 4), (4, 3, 5), (([-2], [1]),)),
    ("tensordot", (2, 3, 4), (5, 3), ([1, 1],)),
    ("inner", (2, 5, 3), (4, 3), ()),
    ("inner", (3,), (3,), ()),
    ("inner", (), (2, 3), ()),
    ("outer", (2, 3), (4, 5), ()),
    ("outer", (), (4,), ()),
    ("vdot", (2, 3), (3, 2), ()),
    ("vdot", (), (1,), ()),
]


@pytest.mark.parametrize(("name", "x", "y", "arguments"), CALLS)
def test_values_and_shapes_are_those_of_keras(
    name: str, x: Any, y: Any, arguments: tuple[Any, ...], keras_ops: Any
) -> None:
    a, b = make(x), make(y, seed=1)
    want = getattr(keras_ops, name)(a, b, *arguments).numpy()
    out = getattr(ops, name)(a, b, *arguments)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)
    result = getattr(ops, name)(
        el.spec(x, dtype="float32", name="x"), el.spec(y, dtype="float32", name="y"), *arguments
    )
    assert (result.shape, result.call.function) == (want.shape, f"keras.ops.{name}")


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", ((2, 3), (3, 4))),
        (" i j , j k - > k i ", ((2, 3), (3, 4))),
        ("ii->i", ((3, 3),)),
        ("ii", ((3, 3),)),
        ("...ij,...jk->...ik", ((5, 2, 3), (3, 4))),
        ("i...,i...->...", ((2, 1, 3), (2, 4, 3))),
        ("i...j->j...i", ((2, 5, 6, 3),)),
        ("ab,bc,cd->ad", ((2, 3), (3, 4), (4, 2))),
        (",ij->ij", ((), (2, 3))),
        ("ij->", ((2, 3),)),
        ("ij,kl->ik", ((2, 3), (4, 5))),
        ("aB,Bc->ac", ((2, 3), (3, 4))),
    ],
)
def test_einsum_gives_what_keras_gives(equation: str, shapes: Any, keras_ops: Any) -> None:
    operands = [make(shape, seed=seed) for seed, shape in enumerate(shapes)]
    want = keras_ops.einsum(equation, *operands).numpy()
    out = ops.einsum(equation, *operands)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)


@given(st.data())
def test_random_products_agree_with_keras_or_both_reject(data: st.DataObject) -> None:
    keras_ops = pytest.importorskip("keras").ops
    name = data.draw(st.sampled_from(["matmul", "dot", "inner", "tensordot", "vdot", "outer"]))
    extents = st.lists(st.integers(1, 3), max_size=4)
    x, y = tuple(data.draw(extents)), tuple(data.draw(extents))
    a, b = make(x), make(y, seed=1)
    try:
        want = getattr(keras_ops, name)(a, b).numpy()
    except Exception as error:
        assert type(error).__module__.partition(".")[0] in ("builtins", "tensorflow")
        with pytest.raises(el.ShapeError):
            getattr(ops, name)(el.spec(x), el.spec(y))
        return
    result = getattr(ops, name)(el.spec(x, dtype="float32"), el.spec(y, dtype="float32"))
    assert result.shape == want.shape
    flat = name in ("outer", "vdot")
    values = [operand.ravel() if flat else operand for operand in (a, b)]
    np.testing.assert_array_equal(np.einsum(result.equation, *values), want)


def test_promotion_is_that_of_keras_for_every_pair() -> None:
    keras = pytest.importorskip("keras")
    for pair in itertools.combinations_with_replacement(DTYPES, 2):
        x, y = (el.spec(2, dtype=dtype) for dtype in pair)
        found = keras_result_dtype(x, y)
        assert found is not None
        assert found.name == keras.backend.result_type(*pair), pair


@pytest.mark.parametrize("name", ["matmul", "dot", "tensordot", "inner", "outer", "vdot"])
@pytest.mark.parametrize("pair", [("int8", "float32"), ("int32", "float16"), ("bool", "int16")])
def test_mixed_dtypes_are_computed_in_the_promoted_one(
    name: str, pair: tuple[str, str], keras_ops: Any
) -> None:
    shapes = ((2, 2), (2, 2))
    a, b = (
        make(shape, dtype, seed)
        for seed, (shape, dtype) in enumerate(zip(shapes, pair, strict=True))
    )
    want = getattr(keras_ops, name)(a, b).numpy()
    out = getattr(ops, name)(a, b)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["matmul", "dot"])
def test_every_dtype_gives_the_dtype_and_values_of_keras(
    name: str, dtype: str, keras_ops: Any
) -> None:
    a, b = make((2, 3), dtype), make((3, 2), dtype, seed=1)
    want = getattr(keras_ops, name)(a, b).numpy()
    out = getattr(ops, name)(a, b)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)


def test_int8_is_widened_by_matmul_and_einsum_only(keras_ops: Any) -> None:
    a = np.full((2, 3), 100, "int8")
    for name, arguments in (("matmul", (a, a.T)), ("einsum", ("ij,kj->ik", a, a))):
        out = getattr(ops, name)(*arguments)
        assert out.dtype == np.int32
        assert (out == 30000).all()
        np.testing.assert_array_equal(out, getattr(keras_ops, name)(*arguments).numpy())
    assert ops.dot(a, a.T).dtype == np.int8


def test_int8_vectors_are_widened_as_keras_infers(keras_ops: Any) -> None:
    keras = pytest.importorskip("keras")
    inferred = keras_ops.matmul(
        keras.KerasTensor((2, 3), "int8"), keras.KerasTensor((3,), "int8")
    ).dtype
    assert ops.matmul(np.ones((2, 3), "int8"), np.ones(3, "int8")).dtype == inferred


@pytest.mark.parametrize("name", ["matmul", "dot", "inner", "vdot"])
def test_integers_are_exact_where_keras_rounds(name: str, keras_ops: Any) -> None:
    a, b = np.array([2**24 + 1, 0], "int32"), np.array([1, 0], "int32")
    assert getattr(ops, name)(a, b) == 2**24 + 1
    assert getattr(keras_ops, name)(a, b).numpy() == 2**24


def test_vdot_does_not_conjugate_as_in_keras(keras_ops: Any) -> None:
    a = np.array([1 + 2j, 3], "complex64")
    assert ops.vdot(a, a) == keras_ops.vdot(a, a).numpy() == 6 + 4j


def test_implicit_einsum_output_is_sorted_as_documented() -> None:
    a, b = make((2, 3)), make((4, 2), seed=1)
    np.testing.assert_array_equal(ops.einsum("ba", a), a.T)
    np.testing.assert_array_equal(ops.einsum("kj,ik", a, b), np.einsum("kj,ik", a, b))


def test_python_numbers_count_as_keras_reads_them(keras_ops: Any) -> None:
    for arguments in (
        (np.array([1, 2], "float32"), 2.0),
        (np.array([1, 2], "int32"), 2),
        ([1.0, 2.0], [1, 2]),
        (np.array([1], "int64"), 3),
    ):
        want = keras_ops.dot(*arguments).numpy()
        assert ops.dot(*arguments).dtype == want.dtype
        np.testing.assert_array_equal(ops.dot(*arguments), want)


def test_tensors_give_tensors() -> None:
    tf = pytest.importorskip("tensorflow")
    assert tf.is_tensor(ops.matmul(tf.ones((2, 3)), np.ones((3, 4), "float32")))


@pytest.mark.parametrize(
    ("name", "x", "y", "arguments", "words"),
    [
        ("matmul", (), (2, 3), (), "x1 has rank 0"),
        (
            "matmul",
            (2, 3),
            (4, 5),
            (),
            r"axis 1 of x1 \(shape \(2, 3\)\) with axis 0 of x2.*3 == 4",
        ),
        ("matmul", (3, 2, 3), (2, 3, 4), (), "axis 0 of x1 .* extent 3 and axis 0 of x2 .* 2"),
        ("dot", (2, 3), (4,), (), "3 == 4 cannot hold"),
        ("inner", (2, 3), (3, 4), (), "3 == 4 cannot hold"),
        ("inner", (2, 1), (2, 4), (), "1 == 4 cannot hold"),
        ("vdot", (2, 3), (7,), (), "has 6 elements .* has 7"),
        ("tensordot", (2, 3), (4, 5), (1,), "3 == 4 cannot hold"),
        ("tensordot", (2, 3), (3, 5), (-1,), "axes=-1 must be 0 to 2"),
        ("tensordot", (2, 3), (3, 5), (3,), "axes=3 must be 0 to 2"),
        ("tensordot", (2, 3), (3, 5), ([[1], [0, 1]],), "x1 has 1 .* x2 has 2"),
        ("tensordot", (2, 3), (3, 5), ([[1, 1], [0, 0]],), "name one axis twice"),
        ("tensordot", (2, 3), (3, 5), ([[2], [0]],), "axis 2 is out of range for x1"),
        ("tensordot", (2, 3), (3, 5), ([[0.5], [0]],), "must be ints"),
        ("tensordot", (2, 3), (3, 5), ("ab",), "axes"),
    ],
)
def test_operands_that_do_not_fit(
    name: str, x: Any, y: Any, arguments: Any, words: str, keras_ops: Any
) -> None:
    with pytest.raises(el.ShapeError, match=words):
        getattr(ops, name)(make(x), make(y), *arguments)
    tf = pytest.importorskip("tensorflow")
    rejections = (ValueError, IndexError, TypeError, tf.errors.InvalidArgumentError)
    with pytest.raises(rejections):
        getattr(keras_ops, name)(make(x), make(y), *arguments)


@pytest.mark.parametrize(
    ("equation", "shapes", "error", "words"),
    [
        ("ij,jk->ik", ((2, 3), (4, 5)), el.ShapeError, "'j' has extent 3 .* 4"),
        ("ij,jk->ik", ((2, 1), (3, 4)), el.ShapeError, "'j' has extent 1 .* 3"),
        ("i...->i", ((2, 3),), el.SubscriptError, r"drops the axes of '\.\.\.'"),
        ("αβ->βα", ((2, 3),), el.SubscriptError, "'α'"),
        ("i1->i", ((2, 3),), el.SubscriptError, "'1'"),
        ("ij->iij", ((2, 3),), el.SubscriptError, "multiple times"),
        ("ij,jk->ik", ((2, 3),), el.SubscriptError, "2 terms for 1 operands"),
    ],
)
def test_einsum_strings_that_keras_does_not_take(
    equation: str, shapes: Any, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.einsum(equation, *(make(shape) for shape in shapes))


def test_einsum_takes_no_bool_and_no_sublists() -> None:
    with pytest.raises(el.DTypeError, match="does not take bool, but operand 1 is"):
        ops.einsum("i,i->", make((2,), "float32"), make((2,), "bool"))
    sublist: Any = make((2, 3))
    with pytest.raises(el.SubscriptError, match="no sublist form"):
        ops.einsum(sublist, [0, 1], [1, 0])


def test_a_dtype_without_promotion_is_named() -> None:
    with pytest.raises(el.DTypeError, match="no dtype object"):
        ops.dot(np.array([None]), np.array([None]))


def test_symbolic_extents_leave_guards_and_broadcast_only_where_known_to_be_one() -> None:
    result = ops.matmul(el.spec("B", 2, "K", name="x"), el.spec(1, "L", 4, name="y"))
    assert [str(extent) for extent in result.shape] == ["B", "2", "4"]
    assert [(str(g.left), str(g.right)) for g in result.guards] == [("K", "L")]
    assert el.compile(result)(np.ones((3, 2, 5)), np.ones((1, 5, 4))).shape == (3, 2, 4)


def test_axis_errors_are_index_errors_too() -> None:
    with pytest.raises(IndexError):
        ops.tensordot(make((2, 3)), make((3, 4)), [[5], [0]])
    assert issubclass(AxisError, ValueError)
