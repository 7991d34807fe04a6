"""Against the real TensorFlow: its tensors in, its results and its error texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.einloom.frontends.comparing import assert_same

import einloom as el
import einloom.tensorflow as etf
from einloom_compiler.errors import AxisError, DTypeError, EinloomError, ShapeError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def core_text(error: Exception) -> str:
    """Return what TensorFlow says, without the names of its kernels."""
    text = re.sub(r"\{\{function_node .*?\}\} ", "", str(error))
    return re.split(r" ?\[Op:| for '\{\{node|\n", text)[0]


def assert_same_error(call: Callable[[Any], Any]) -> EinloomError:
    """Run a call that must fail on both, and find TensorFlow's text in ours."""
    with pytest.raises(Exception) as theirs:
        call(tf)
    with pytest.raises(EinloomError) as ours:
        call(etf)
    assert core_text(theirs.value) in str(ours.value)
    return ours.value


SHAPES = [
    ((3, 4), (4, 5)),
    ((10, 12, 4, 5), (10, 12, 5, 8)),
    ((9, 8, 7, 4, 2), (9, 8, 7, 2, 5)),
    ((1, 8, 4, 2), (9, 1, 2, 5)),
    ((4, 2), (9, 8, 2, 5)),
    ((8, 4, 2), (9, 8, 2, 5)),
    ((8, 4, 2), (2, 5)),
    ((2, 0), (0, 4)),
    ((0, 4, 2), (1, 2, 5)),
    ((1, 1, 1), (1, 1, 1)),
]


@pytest.mark.parametrize(("x", "y"), SHAPES)
def test_matmul_equals_tensorflow(operands: Any, x: Any, y: Any) -> None:
    a, b = tf.constant(operands(x, "float32")), tf.constant(operands(y, "float32"))
    assert_same(etf.matmul(a, b), tf.matmul(a, b))
    assert etf.matmul(el.spec(x), el.spec(y)).shape == tuple(tf.matmul(a, b).shape)


def test_matmul_of_equal_batches_is_the_posts_equation() -> None:
    x, y = el.spec(10, 12, 4, 5), el.spec(10, 12, 5, 8)
    assert etf.matmul(x, y).equation == "abij,abjk->abik"
    assert etf.matmul(el.spec(4, 2), el.spec(9, 8, 2, 5)).equation == "ij,abjk->abik"
    assert etf.matmul(el.spec(3, 4), el.spec(4, 5)).equation == "ij,jk->ik"


@pytest.mark.thinned(4)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("a_flag", [None, "transpose_a", "adjoint_a"])
@pytest.mark.parametrize("b_flag", [None, "transpose_b", "adjoint_b"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_transposes_and_adjoints_equal_tensorflow(
    operands: Any, batch: Any, a_flag: str | None, b_flag: str | None, dtype: str
) -> None:
    a = operands((*batch, *((4, 3) if a_flag else (3, 4))), dtype)
    b = operands((*batch, *((5, 4) if b_flag else (4, 5))), dtype)
    flags: dict[str, Any] = {flag: True for flag in (a_flag, b_flag) if flag}
    x, y = tf.constant(a), tf.constant(b)
    assert_same(etf.matmul(x, y, **flags), tf.matmul(x, y, **flags))


DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_takes_the_dtypes_that_tensorflow_takes(
    operands: Any, dtype: str, rank: int
) -> None:
    shapes = ((2, 3, 4), (2, 4, 5))
    a, b = (tf.cast(operands(s[3 - rank :], "int8"), dtype) for s in shapes)
    try:
        want = tf.matmul(a, b)
    except tf.errors.OpError:
        with pytest.raises(DTypeError, match=f"no CPU kernel for operands of {dtype}"):
            etf.matmul(a, b)
    else:
        assert_same(etf.matmul(a, b), want)


def test_integers_wrap_around_in_their_own_width() -> None:
    a = tf.fill((2, 2), 2**30)
    assert_same(etf.matmul(a, a), tf.matmul(a, a))


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "uint8"), ("uint8", "int8")])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_output_type_widens_bytes_to_int32(operands: Any, dtypes: Any, batch: Any) -> None:
    a, b = operands((*batch, 3, 4), dtypes[0]) * 40, operands((*batch, 4, 5), dtypes[1])
    x, y = tf.constant(a), tf.constant(b)
    want = tf.matmul(x, y, output_type=tf.int32)
    assert_same(etf.matmul(x, y, output_type=tf.int32), want)
    assert_same(etf.matmul(x, y, output_type="int32"), want)
    operand = el.spec(2, 2, dtype=dtypes[0], name="x")
    expression = etf.matmul(operand, operand, output_type=tf.int32)
    assert el.Expression.from_json(expression.to_json()) == expression


@pytest.mark.parametrize(
    ("dtype", "output"), [("float32", "float64"), ("int32", "int64"), ("int8", "float32")]
)
def test_output_types_that_tensorflow_does_not_compute_are_rejected(
    dtype: str, output: str
) -> None:
    x = tf.ones((2, 2), dtype)
    with pytest.raises(tf.errors.OpError):
        tf.matmul(x, x, output_type=output)
    with pytest.raises(DTypeError, match=f"output_type={output} is not computed"):
        etf.matmul(x, x, output_type=output)


def test_output_type_of_the_operands_changes_nothing(operands: Any) -> None:
    x = tf.constant(operands((3, 3), "float32"))
    assert_same(etf.matmul(x, x, output_type=tf.float32), tf.matmul(x, x, output_type=tf.float32))


@pytest.mark.parametrize(
    "dtypes",
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float64",) * 2],
)
def test_sparseness_is_a_hint_on_matrices(operands: Any, dtypes: tuple[str, str]) -> None:
    a = tf.cast(operands((4, 3)), dtypes[0])
    b = tf.cast(operands((4, 5)), dtypes[1])
    flags: dict[str, Any] = {"a_is_sparse": True, "adjoint_a": True}
    assert_same(etf.matmul(a, b, **flags), tf.matmul(a, b, **flags))


def test_bfloat16_with_float32_gives_float32_for_matrices_only(operands: Any) -> None:
    a, b = tf.cast(operands((3, 4)), "bfloat16"), tf.constant(operands((4, 5), "float32"))
    assert_same(etf.matmul(a, b), tf.matmul(a, b))
    with pytest.raises(tf.errors.OpError):
        tf.matmul(a[None], b[None])
    with pytest.raises(DTypeError, match="bfloat16 tensor but is a float tensor"):
        etf.matmul(a[None], b[None])


def test_sparseness_of_batches_is_rejected_as_in_tensorflow() -> None:
    assert_same_error(lambda m: m.matmul(tf.ones((2, 3, 4)), tf.ones((2, 4, 5)), a_is_sparse=True))
    assert_same_error(lambda m: m.matmul(tf.ones((3, 4)), tf.ones((2, 4, 5)), b_is_sparse=True))


@pytest.mark.parametrize("first", ["tensor", "array", "list"])
@pytest.mark.parametrize("second", ["array", "list", "integers"])
def test_second_operands_that_are_no_tensors_get_the_firsts_dtype(first: str, second: str) -> None:
    kinds: dict[str, Any] = {
        "tensor": tf.constant([[1.0, 2.0]], "float64"),
        "array": np.array([[1, 2], [3, 4]], "int64"),
        "list": [[1.0, 2.0], [3.0, 4.0]],
        "integers": [[1, 2], [3, 4]],
    }
    try:
        want = tf.matmul(kinds[first], kinds[second])
    except tf.errors.OpError:
        with pytest.raises(DTypeError, match="does not promote dtypes"):
            etf.matmul(kinds[first], kinds[second])
        return
    got = etf.matmul(kinds[first], kinds[second])
    assert isinstance(got, tf.Tensor) == (first == "tensor")
    assert got.dtype == want.dtype.as_numpy_dtype
    np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize(("a", "b"), [("float32", "float64"), ("int32", "float32")])
def test_tensors_of_two_dtypes_are_rejected(a: str, b: str) -> None:
    x, y = tf.ones((2, 2), a), tf.ones((2, 2), b)
    calls: list[Callable[[Any], Any]] = [lambda m: m.matmul(x, y), lambda m: m.tensordot(x, y, 1)]
    for call in calls:
        with pytest.raises(tf.errors.InvalidArgumentError):
            call(tf)
        with pytest.raises(DTypeError, match="does not promote dtypes"):
            call(etf)


@pytest.mark.parametrize(
    ("x", "y", "flags"),
    [
        ((2, 3), (4, 5), {}),
        ((2, 1), (3, 4), {}),
        ((3, 2), (4, 5), {"transpose_a": True}),
        ((2, 3), (5, 4), {"transpose_b": True}),
        ((5, 2, 3), (5, 4, 5), {}),
        ((5, 3, 2), (5, 4, 5), {"transpose_a": True}),
        ((5, 2, 3), (4, 5), {}),
        ((7, 4, 2), (9, 8, 2, 5), {}),
        ((7, 4, 2), (9, 8, 3, 5), {}),
        ((0, 4, 2), (2, 2, 5), {}),
        ((3,), (3, 4), {}),
        ((3, 4), (4,), {}),
        ((2, 3, 4), (4,), {}),
        ((4,), (2, 4, 3), {}),
        ((), (2, 4, 3), {}),
    ],
)
def test_shapes_that_tensorflow_rejects_are_rejected_in_its_words(
    x: Any, y: Any, flags: dict[str, Any]
) -> None:
    error = assert_same_error(lambda m: m.matmul(tf.ones(x), tf.ones(y), **flags))
    assert isinstance(error, ShapeError)
    with pytest.raises(ShapeError, match=re.escape(str(error))):
        etf.matmul(el.spec(x), el.spec(y), **flags)


def test_misfitting_matrices_are_told_which_transpose_fits() -> None:
    with pytest.raises(ShapeError, match="would fit with transpose_a") as caught:
        etf.matmul(np.ones((3, 2)), np.ones((3, 5)))
    assert "Dimensions must be equal, but are 2 and 3" in str(caught.value)
    assert etf.matmul(np.ones((3, 2)), np.ones((3, 5)), transpose_a=True).shape == (2, 5)
    with pytest.raises(ShapeError, match="would fit with not transpose_b"):
        etf.matmul(np.ones((2, 3)), np.ones((3, 4)), transpose_b=True)


def test_transposed_and_adjoint_at_once_is_rejected_in_tensorflows_words() -> None:
    x = tf.ones((2, 2))
    assert_same_error(lambda m: m.matmul(x, x, transpose_a=True, adjoint_a=True))
    assert_same_error(lambda m: m.matmul(x, x, transpose_b=True, adjoint_b=True))
    assert_same_error(lambda m: m.linalg.matvec(x, x[0], transpose_a=True, adjoint_a=True))


@pytest.mark.parametrize(
    ("x", "y", "flag"),
    [
        ((2, 3), (3,), None),
        ((2, 3), (5, 3), None),
        ((6, 1, 2, 3), (5, 3), None),
        ((6, 2, 3), (3,), None),
        ((3, 2), (3,), "transpose_a"),
        ((6, 3, 2), (6, 3), "adjoint_a"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_matvec_equals_tensorflow(
    operands: Any, x: Any, y: Any, flag: str | None, dtype: str
) -> None:
    a, b = tf.constant(operands(x, dtype)), tf.constant(operands(y, dtype))
    flags: dict[str, Any] = {flag: True} if flag else {}
    assert_same(etf.linalg.matvec(a, b, **flags), tf.linalg.matvec(a, b, **flags))


@pytest.mark.parametrize(
    ("x", "y"),
    [((2, 3), (4,)), ((6, 2, 3), (6, 4)), ((6, 2, 3), (5, 3)), ((3,), (3,)), ((3, 3), ())],
)
def test_matvec_rejects_what_tensorflow_rejects(x: Any, y: Any) -> None:
    assert_same_error(lambda m: m.linalg.matvec(tf.ones(x), tf.ones(y)))


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        ((2, 3), (3, 4), 1),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2,), (3,), 0),
        ((2, 3), (3, 4), [1, 0]),
        ((2, 3), (2, 3), [[0, 1], [0, 1]]),
        ((3, 4, 5), (4, 3, 2), [[1, 0], [0, 1]]),
        ((3, 4, 5), (2, 5), [-1, -1]),
        ((2,), (3,), [[], []]),
        ((2, 3), (3, 4), np.array([[1], [0]])),
        ((2, 3), (3, 4), np.int64(1)),
        ((2, 0), (0, 3), 1),
    ],
)
def test_tensordot_equals_tensorflow(operands: Any, x: Any, y: Any, axes: Any) -> None:
    a, b = tf.constant(operands(x, "float32")), tf.constant(operands(y, "float32"))
    assert_same(etf.tensordot(a, b, axes), tf.tensordot(a, b, axes))


def test_tensordot_takes_axes_as_a_tensor(operands: Any) -> None:
    a, b = tf.constant(operands((2, 3), "float32")), tf.constant(operands((3, 4), "float32"))
    axes = tf.constant([[1], [0]])
    assert_same(etf.tensordot(a, b, axes), tf.tensordot(a, b, axes))
    expression = etf.tensordot(el.spec(2, 3, name="x"), el.spec(3, 4, name="y"), axes)
    assert el.Expression.from_json(expression.to_json()) == expression


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        ((2,), (3,), -1),
        ((2, 3), (2, 3), [[0], [0, 1]]),
        ((2, 3), (3, 4), [1]),
        ((2, 3), (4, 5), 1),
        ((2, 1), (3, 4), 1),
        ((2, 4, 4), (5, 3, 2), [[2, 1], [0, 1]]),
    ],
)
def test_tensordot_axes_are_rejected_in_tensorflows_words(x: Any, y: Any, axes: Any) -> None:
    with pytest.raises(Exception) as theirs:
        tf.tensordot(tf.ones(x), tf.ones(y), axes)
    with pytest.raises(ShapeError) as ours:
        etf.tensordot(tf.ones(x), tf.ones(y), axes)
    assert core_text(theirs.value).rstrip(".") in str(ours.value)


@pytest.mark.parametrize(
    ("axes", "error"),
    [
        (3, AxisError),
        ([[2], [0]], AxisError),
        ([[0], [2]], AxisError),
        ([[-3], [0]], AxisError),
        ([[0, 0], [0, 1]], AxisError),
        ([1, [0]], DTypeError),
        ("ab", DTypeError),
        (1.0, DTypeError),
        (np.array([1, 0]), ShapeError),
    ],
)
def test_tensordot_axes_that_tensorflow_rejects_are_rejected(axes: Any, error: Any) -> None:
    x = tf.ones((2, 2))
    with pytest.raises((ValueError, IndexError, TypeError, tf.errors.OpError)):
        tf.tensordot(x, x, axes)
    with pytest.raises(error, match=r"axes|axis"):
        etf.tensordot(x, x, axes)


def test_tensordot_compares_extents_axis_by_axis_as_documented() -> None:
    x, y = tf.ones((2, 3)), tf.ones((3, 2))
    assert tf.tensordot(x, y, 2).shape == ()  # only 6 == 6 is compared there
    with pytest.raises(ShapeError, match=r"axis 0 of a .* has extent 2 but axis 0 of b"):
        etf.tensordot(x, y, 2)


@pytest.mark.parametrize("perm", [None, [2, 0, 1], [-1, 0, 1]])
@pytest.mark.parametrize("conjugate", [False, True])
def test_transpose_equals_tensorflow(operands: Any, perm: Any, conjugate: bool) -> None:
    a = tf.constant(operands((2, 3, 4), "complex64"))
    want = tf.transpose(a, None if perm is None else [p % 3 for p in perm], conjugate=conjugate)
    assert_same(etf.transpose(a, perm, conjugate=conjugate), want)
    with pytest.raises(AxisError, match="vector of size 3"):
        etf.transpose(a, [0, 1])


@pytest.mark.parametrize("layout", ["F", "reversed", "strided", "broadcast"])
def test_arrays_of_any_layout_give_what_tensorflow_gives(operands: Any, layout: str) -> None:
    a, b = operands((2, 3, 4), "float32", layout), operands((2, 4, 5), "float32", layout)
    np.testing.assert_array_equal(etf.matmul(a, b), tf.matmul(a, b).numpy())


def test_random_products_are_close_to_tensorflows() -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal(s).astype("float32") for s in ((2, 33, 65), (2, 65, 17)))
    bound = 65 * np.finfo("float32").eps * np.matmul(abs(a), abs(b)).max()
    np.testing.assert_allclose(etf.matmul(a, b), tf.matmul(a, b).numpy(), rtol=0, atol=bound)
