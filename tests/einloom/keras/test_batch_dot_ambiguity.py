"""What ``K.batch_dot`` says where no release was named and two of them differ."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.keras import backend as K

X, Y = (2, 3, 4, 5), (2, 3, 5, 6)


def specs(
    x: tuple[Any, ...] = X, y: tuple[Any, ...] = Y, dtype: str | None = "float32"
) -> tuple[el.Expression, el.Expression]:
    return el.spec(x, dtype=dtype, name="x"), el.spec(y, dtype=dtype, name="y")


def test_arrays_warn_with_both_meanings_at_the_callers_line() -> None:
    with pytest.warns(el.SemanticsWarning) as caught:
        out = K.batch_dot(K.ones(X), K.ones(Y))
    assert out.shape == (2, 3, 4, 6)
    assert [warning.filename for warning in caught] == [__file__]
    message = str(caught[0].message)
    for part in (
        *("abij,abjk->abik", "(2, 3, 4, 6)", "abij,acjk->abick", "(2, 3, 4, 3, 6)"),
        *("version='2.2.4'", "version='2.2.5'", "(2, 3, 5, 6)", "einloom.keras.v2_3"),
    ):
        assert part in message


def test_every_call_warns_not_only_the_first() -> None:
    for _ in range(2):
        with pytest.warns(el.SemanticsWarning):
            K.batch_dot(K.ones(X), K.ones(Y))


@pytest.mark.parametrize("version", ["2.2.4", "2.2.5", "2.2.4-theano"])
def test_a_named_version_does_not_warn(version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        K.batch_dot(K.ones(X), K.ones(Y), version=version)
    assert K.batch_dot(*specs(), version=version).ambiguity is None


def test_an_expression_carries_the_ambiguity_and_is_not_compiled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = K.batch_dot(*specs())
    assert result.ambiguity is not None
    with pytest.raises(el.AmbiguousMeaningError, match=r"abij,acjk->abick.*version='2\.2\.5'"):
        el.compile(result)


def test_what_is_computed_from_an_ambiguous_expression_is_ambiguous() -> None:
    result = K.dot(K.batch_dot(*specs()), el.spec(6, 7, dtype="float32", name="z"))
    with pytest.raises(el.AmbiguousMeaningError):
        el.compile(result)


def test_a_traced_function_refuses_an_ambiguous_call_of_arrays() -> None:
    x, y = np.ones(X, "float32"), np.ones(Y, "float32")
    with pytest.raises(el.AmbiguousMeaningError, match="name the version"):
        el.jit(lambda x, y: K.batch_dot(x, y) * 2)(x, y)
    found = el.jit(lambda x, y: K.batch_dot(x, y, version="2.2.5") * 2)(x, y)
    assert found.shape == (2, 3, 4, 3, 6)


def test_a_recorded_call_carries_the_resolved_version() -> None:
    call = K.batch_dot(*specs()).call
    assert call is not None
    assert call.function == "keras.backend.batch_dot"
    assert call.arguments["version"] == "2.2.4"


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        ((32, 20), (32, 20), 1),  # the row-wise dot product is the same in both
        ((32, 20), (32, 20, 5), None),
        ((32, 20, 1), (32, 30, 20), (1, 2)),
        ((3, 4, 5), (3, 5, 6), None),
        ((3, 4, 5), (3, 4, 5), 0),  # later releases reject axis 0
        (("B", "T", 5), ("B", 5, "S"), None),
    ],
)
def test_no_ambiguity_where_the_meanings_agree_or_one_rejects(x: Any, y: Any, axes: Any) -> None:
    assert K.batch_dot(*specs(x, y), axes).ambiguity is None


@pytest.mark.parametrize(
    ("x", "y", "axes", "old", "new"),
    [
        # The last axis by its negative number: "not the last" to Keras 2.2.4.
        ((3, 4, 4), (3, 4, 4), -1, "bij,bik->bjk", "bij,bkj->bik"),
        ((2, 3, 4), (2, 3, 4, 6), (2, 2), "bij,bijk->bik", "bij,bkjl->bikl"),
        (("B", "H", "T", 5), ("B", "H", 5, "S"), None, "abij,abjk->abik", "abij,acjk->abick"),
    ],
)
def test_differing_equations_are_ambiguous(x: Any, y: Any, axes: Any, old: str, new: str) -> None:
    result = K.batch_dot(*specs(x, y), axes)
    assert result.equation == old
    assert K.batch_dot(*specs(x, y), axes, version="2.3.1").equation == new
    assert result.ambiguity is not None
    assert new in result.ambiguity.message


def test_a_conjugation_alone_is_ambiguous() -> None:
    x, y = np.array([[[1 + 2j], [3]]]), np.array([[[1 + 2j], [3]]])
    with pytest.warns(el.SemanticsWarning, match="conjugates x here"):
        old = K.batch_dot(x, y, (1, 1))
    assert old.ravel() == [14]
    assert K.batch_dot(x, y, (1, 1), version="2.3.1").ravel() == [6 + 4j]
    real = specs((1, 2, 1), (1, 2, 1), "float64")
    assert K.batch_dot(*real, (1, 1)).ambiguity is None


def test_an_error_names_the_version_that_would_accept_the_call() -> None:
    with pytest.raises(el.ShapeError) as caught:
        K.batch_dot(K.ones((32, 20)), K.ones((32, 20)))
    message = str(caught.value)
    assert "Dimensions must be equal, but are 20 and 32" in message
    assert "version='2.2.5' accepts this call: bi,bi->b, giving (32, 1)" in message


def test_an_error_of_the_later_meaning_names_the_earlier_versions() -> None:
    with pytest.raises(el.ShapeError) as caught:
        K.batch_dot(*specs((3, 4, 5), (3, 4, 5)), 0, version="2.3.1")
    message = str(caught.value)
    assert "over axis 0" in message
    assert "version='2.2.4' accepts this call: bij,bik->bjk, giving (3, 5, 5)" in message
    assert "version='2.2.4-theano' accepts this call: " in message
    assert "giving (5, 4, 4)" in message


def test_an_error_that_every_version_gives_names_none() -> None:
    with pytest.raises(el.ShapeError) as caught:
        K.batch_dot(*specs((3, 4, 5), (4, 6, 7)))
    assert "accepts" not in str(caught.value)


def test_a_text_without_version_is_as_ambiguous_as_the_call() -> None:
    expression = el.parse("K.batch_dot(x[2,3,4,5], y[2,3,5,6])")
    assert expression.ambiguity is not None
    assert el.parse("K.batch_dot(x[2,3,4,5], y[2,3,5,6], version='2.3.1')").ambiguity is None
