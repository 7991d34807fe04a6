"""``einloom.einsum`` keeps NumPy's contract; what NumPy's own tests do not cover."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import einloom as el
from einloom_compiler.errors import CastingError, DTypeError, ShapeError, SubscriptError

Array = npt.NDArray[Any]


@settings(max_examples=settings().max_examples)
@given(
    equation=st.sampled_from(
        ["ij,jk->ik", "ij,jk->ki", "ij,k->jik", "ijk->ki", "...ft,mf->...mt", "i,j,k->kij"]
    ),
    data=st.data(),
    order=st.sampled_from("KACFkacf"),
)
def test_memory_order_is_numpys(equation: str, data: st.DataObject, order: str) -> None:
    sizes = dict(zip("ijkftm.", (2, 3, 4, 3, 5, 4, 2), strict=True))
    operands = []
    for term in equation.split("->")[0].split(","):
        shape = [sizes[letter] for letter in term.replace("...", ".")]
        axes = data.draw(st.permutations(range(len(shape))))
        operands.append(np.ones([shape[a] for a in axes]).transpose(np.argsort(axes)))
    numpy_einsum: Any = np.einsum
    expected = numpy_einsum(equation, *operands, order=order)
    got = el.einsum(equation, *operands, order=order)
    assert got.strides == expected.strides
    np.testing.assert_array_equal(got, expected)


def test_a_single_operand_diagonal_is_a_writeable_view() -> None:
    x = np.zeros((3, 3))
    el.einsum("ii->i", x)[...] = 1
    np.testing.assert_array_equal(x, np.eye(3))


def test_a_read_only_operand_gives_a_read_only_view() -> None:
    x = np.zeros((3, 3))
    x.flags.writeable = False
    assert not el.einsum("ii->i", x).flags.writeable


@pytest.mark.parametrize("kind", [np.matrix, np.ma.array])
def test_subclasses_give_what_numpy_gives(kind: Any) -> None:
    x = kind(np.arange(6.0).reshape(2, 3))
    for equation in ("ij->i", "ij->ji", "ij,ij->j"):
        operands = [x] * (equation.count(",") + 1)
        expected = np.einsum(equation, *operands)
        got = el.einsum(equation, *operands)
        assert type(got) is type(expected)
        np.testing.assert_array_equal(got, expected)


def test_out_of_a_subclass_is_returned_itself() -> None:
    out = np.ma.zeros(2)
    assert el.einsum("ij->i", np.ones((2, 3)), out=out) is out
    np.testing.assert_array_equal(out, [3.0, 3.0])


def test_object_and_long_double_are_evaluated() -> None:
    x = np.array([[1, 2], [3, 4]], dtype=object)
    got = el.einsum("ij,jk->ik", x, x)
    assert got.dtype == object
    np.testing.assert_array_equal(got, np.einsum("ij,jk->ik", x, x))
    y = np.arange(4, dtype=np.longdouble)
    assert el.einsum("i,i->", y, y).dtype == np.longdouble


def test_scalars_are_numpy_scalars_of_the_dtype() -> None:
    got = el.einsum("i,i->", np.ones(3, np.float32), np.ones(3, np.float32))
    assert type(got) is np.float32
    assert el.einsum("", 5) == 5


@pytest.mark.parametrize(
    "keywords",
    [
        {"dtype": "float32"},
        {"dtype": "float32", "casting": "same_kind"},
        {"dtype": "float32", "casting": "unsafe"},
        {"dtype": "float64"},
        {"dtype": "complex64", "casting": "unsafe"},
        {"casting": "no"},
        {"out": np.zeros(2, "f4")},
        {"out": np.zeros(2, "f4"), "casting": "same_kind"},
        {"out": np.zeros(2, "i2"), "casting": "unsafe"},
        {"out": np.zeros(2, "c16")},
        {"out": np.zeros(2, ">f8")},
        {"out": np.zeros(2, "g")},
        {"out": np.zeros((2, 2))[:, 1]},
        {"out": np.zeros(3)},
        {"out": np.zeros((2, 2))},
    ],
)
def test_out_dtype_and_casting_are_numpys(keywords: dict[str, Any]) -> None:
    x = np.arange(6).reshape(2, 3)
    try:
        expected = np.einsum("ij->i", x, optimize=False, **keywords).copy()
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error)):
            el.einsum("ij->i", x, optimize=False, **keywords)
        return
    if "out" in keywords:
        keywords["out"][...] = 0
    got = el.einsum("ij->i", x, optimize=False, **keywords)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_a_failed_call_leaves_out_untouched() -> None:
    out = np.full(3, 7.0)
    with pytest.raises(ShapeError, match=r"out has shape \(3,\)"):
        el.einsum("ij->i", np.ones((2, 3)), out=out)
    np.testing.assert_array_equal(out, [7.0] * 3)


def test_out_may_overlap_operands() -> None:
    x = np.arange(9.0).reshape(3, 3)
    expected = x @ x
    el.einsum("ij,jk->ik", x, x, out=x)
    np.testing.assert_array_equal(x, expected)
    y = np.arange(9.0).reshape(3, 3)
    el.einsum("ij->ji", y, out=y)
    np.testing.assert_array_equal(y, np.arange(9.0).reshape(3, 3).T)


@pytest.mark.parametrize(
    "optimize",
    [
        *(True, False, None, "greedy", "optimal", "dp", "random-greedy", ("greedy", 1000)),
        ["einsum_path", (0, 1), (0, 1)],
        ["einsum_path", (1, 2), (0, 1)],
        [(0, 1, 2)],
    ],
)
def test_every_way_to_optimize_gives_the_same(optimize: Any) -> None:
    rng = np.random.default_rng(3)
    x, y, z = rng.random((3, 4)), rng.random((4, 5)), rng.random((5, 2))
    np.testing.assert_allclose(el.einsum("ij,jk,kl", x, y, z, optimize=optimize), x @ y @ z)


def test_extents_of_one_broadcast_kept_and_summed() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.random((2, 1)), rng.random((3, 4))
    np.testing.assert_allclose(el.einsum("ij,jk->ik", x, y), np.einsum("ij,jk->ik", x, y))
    a, b = rng.random((1, 5)), rng.random((3, 5))
    np.testing.assert_allclose(el.einsum("ij,ij->ij", a, b), a * b)


def test_mismatched_extents_name_index_operands_and_shapes() -> None:
    with pytest.raises(ShapeError) as caught:
        el.einsum("ik,kj->ij", np.ones((3, 4)), np.ones((5, 2)))
    assert str(caught.value).startswith(
        "index 'k' has extent 4 in operand 0 'ik' (shape (3, 4)) but 5 in operand 1 'kj' "
        "(shape (5, 2))"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), SubscriptError),
        (("ij",), SubscriptError),
        ((0, 0), TypeError),
        (("i", np.ones((2, 2))), SubscriptError),
        (("i->", np.array(["a"])), DTypeError),
        (("i->", np.ones(2, "m8[s]")), DTypeError),
    ],
)
def test_bad_arguments_are_numpys_errors(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        el.einsum(*arguments)
    with pytest.raises((ValueError, TypeError)):
        np.einsum(*arguments)


def test_casting_error_is_a_type_error_as_in_numpy() -> None:
    with pytest.raises(CastingError, match="casting='unsafe' to allow it"):
        el.einsum("i->", np.ones(2), dtype="int32")
    assert issubclass(CastingError, TypeError)


def test_more_letters_than_numpy_has() -> None:
    n = 60
    operands = [np.full((2, 2), 1.0) for _ in range(n)]
    terms: list[Any] = []
    for position, x in enumerate(operands):
        terms += [x, [f"v{position:02}", f"v{position + 1:02}"]]
    got = el.einsum(*terms, ["v00", f"v{n:02}"], optimize="greedy")
    np.testing.assert_allclose(got, np.linalg.matrix_power(np.ones((2, 2)), n))


def test_lists_and_python_scalars_are_operands() -> None:
    assert el.einsum("i,i", [1, 2], [3, 4]) == 11
    np.testing.assert_array_equal(el.einsum(",i->i", 2, [1, 2]), [2, 4])
