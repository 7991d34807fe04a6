"""Which Keras release means what, and the ways of naming one."""

from __future__ import annotations

import importlib
from typing import Any, cast

import pytest

import einloom as el
from einloom.frontends.keras_versions import Meaning, release
from einloom.keras import backend as K
from einloom.keras import backend_for
from einloom_compiler.errors import UnsupportedError

X, Y = (10, 12, 4, 5), (10, 12, 5, 8)
OLD, NEW = (10, 12, 4, 8), (10, 12, 4, 12, 8)


def specs() -> tuple[el.Expression, el.Expression]:
    return el.spec(X, dtype="float32", name="x"), el.spec(Y, dtype="float32", name="y")


@pytest.mark.parametrize(
    ("version", "meaning"),
    [
        ("1.2.2", Meaning.MATMUL),
        ("2.0.9", Meaning.MATMUL),
        ("2.2.4", Meaning.MATMUL),
        ("2.2.4-tensorflow", Meaning.MATMUL),
        ("2.1.6-tf", Meaning.MATMUL),
        ("2.2", Meaning.MATMUL),
        ("2.2.4-theano", Meaning.THEANO),
        ("1.2.2-theano", Meaning.THEANO),
        ("2.2.5", Meaning.FIRST_AXIS),
        ("2.2.5-theano", Meaning.FIRST_AXIS),
        ("2.3", Meaning.FIRST_AXIS),
        ("2.3.0-tf", Meaning.FIRST_AXIS),
        ("2.3.1", Meaning.FIRST_AXIS),
        ("2.10.0", Meaning.FIRST_AXIS),
        ("3.15.1", Meaning.FIRST_AXIS),
        ("3.0.0rc1", Meaning.FIRST_AXIS),
    ],
)
def test_a_release_string_has_its_meaning(version: str, meaning: Meaning) -> None:
    assert release(version).meaning is meaning


@pytest.mark.parametrize("version", ["", "2", "latest", "two.2.4", "2.2.4-cntk", "2.2.4.5.6", "v2"])
def test_a_string_that_is_no_release_is_rejected_with_the_forms(version: str) -> None:
    with pytest.raises(el.SpecError, match=r"2\.2\.4.*2\.2\.5.*2\.2\.4-theano"):
        K.batch_dot(*specs(), version=version)


def test_a_version_that_is_no_string_is_rejected() -> None:
    with pytest.raises(el.SpecError, match=r"must be a string, not 2\.3"):
        K.batch_dot(*specs(), version=cast("Any", 2.3))


def test_the_version_that_tf_keras_recorded_on_both_sides_of_the_change_is_rejected() -> None:
    with pytest.raises(el.SpecError, match=r"1\.13 to 2\.1"):
        release("2.2.4-tf")


def test_a_release_older_than_the_known_ones_is_rejected() -> None:
    with pytest.raises(UnsupportedError, match=r"1\.2\.2 is the oldest"):
        release("1.0.0")


@pytest.mark.parametrize(
    ("version", "shape"), [("2.2.4", OLD), ("2.3.1", NEW), ("2.2.4-theano", NEW)]
)
def test_backend_for_binds_batch_dot_to_a_release(
    version: str, shape: tuple[int, ...], recwarn: pytest.WarningsRecorder
) -> None:
    backend = backend_for(version)
    result = backend.batch_dot(*specs())
    assert result.shape == shape
    assert result.call.arguments["version"] == version
    assert result.ambiguity is None
    assert backend.batch_dot(K.ones(X), K.ones(Y)).shape == shape
    assert backend.ones is K.ones
    assert not recwarn.list


def test_a_bound_backend_still_takes_a_version_by_keyword() -> None:
    assert backend_for("2.3.1").batch_dot(*specs(), version="2.2.4").shape == OLD


def test_backend_for_rejects_a_string_that_is_no_release() -> None:
    with pytest.raises(el.SpecError):
        backend_for("newest")


def test_a_bound_backend_has_no_other_attributes_than_the_classic_one() -> None:
    with pytest.raises(AttributeError, match="no attribute 'matmul'"):
        _ = backend_for("2.3.1").matmul


@pytest.mark.parametrize(
    ("module", "shape"), [("v2_2", OLD), ("v2_3", NEW), ("v3", NEW)], ids=lambda value: str(value)
)
def test_the_versioned_modules_speak_their_release(module: str, shape: tuple[int, ...]) -> None:
    backend = importlib.import_module(f"einloom.keras.{module}.backend")
    assert importlib.import_module(f"einloom.keras.{module}").backend is backend
    assert getattr(el.keras, module).backend is backend
    assert backend.batch_dot(*specs()).shape == shape
    assert backend.dot is K.dot
    assert "batch_dot" in dir(backend)


def test_version_three_has_ops_and_layers() -> None:
    from einloom.keras import layers, ops, v3

    assert v3.ops is ops
    assert v3.layers is layers


def test_the_environment_names_the_release_where_no_keyword_does(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("EINLOOM_KERAS_VERSION", "2.3.1")
    result = K.batch_dot(*specs())
    assert result.shape == NEW
    assert result.ambiguity is None
    assert result.call is not None
    assert result.call.arguments["version"] == "2.3.1"
    assert K.batch_dot(*specs(), version="2.2.4").shape == OLD
    assert K.batch_dot(K.ones(X), K.ones(Y)).shape == NEW
    assert not recwarn.list


def test_an_environment_variable_that_names_no_release_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EINLOOM_KERAS_VERSION", "new")
    with pytest.raises(el.SpecError, match="EINLOOM_KERAS_VERSION: 'new' is not a Keras release"):
        K.batch_dot(*specs())
