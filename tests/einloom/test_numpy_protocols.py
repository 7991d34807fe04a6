"""NumPy's functions and methods of expressions: the same expressions, dtypes and shapes, values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom import functions as F
from einloom.array_methods import ArrayMethods

_X = np.random.default_rng(5).standard_normal((3, 4, 5)).astype("float32")
_ROW = _X[0, 0]
_ROWS = _X[0, :2, :4]
_MASK = _ROW > 0
_AT = np.array([2, 0])

#: Calls that mean the same of arrays and of expressions, beside einloom's function.
CALLS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda x: np.exp(x), F.exp),
    (lambda x: np.true_divide(x, 2), lambda x: F.divide(x, 2)),
    (lambda x: np.abs(x), F.absolute),
    (lambda x: np.rint(x), F.round),
    (lambda x: np.conj(x), F.conj),
    (lambda x: np.isnan(x), F.isnan),
    (lambda x: np.logical_not(x), F.logical_not),
    (lambda x: np.maximum(x, _ROW), lambda x: F.maximum(x, _ROW)),
    (lambda x: _ROW - x, lambda x: F.subtract(_ROW, x)),
    (lambda x: _ROWS @ x, lambda x: el.matmul(_ROWS, x)),
    (lambda x: (x > 0) & _MASK, lambda x: F.logical_and(x > 0, _MASK)),
    (lambda x: _MASK | (x > 0), lambda x: F.logical_or(x > 0, _MASK)),
    (lambda x: ~(x > 0), lambda x: F.logical_not(x > 0)),
    (lambda x: np.sum(x, axis=(0, 2)), lambda x: F.sum(x, (0, 2))),
    (lambda x: np.mean(x, -1, keepdims=True), lambda x: F.mean(x, -1, True)),
    (lambda x: np.var(x, axis=0, ddof=0), lambda x: F.var(x, 0)),
    (lambda x: np.std(x, axis=0), lambda x: F.std(x, 0)),
    (lambda x: np.amax(x, axis=1), lambda x: F.max(x, 1)),
    (lambda x: np.min(x, axis=1), lambda x: F.min(x, 1)),
    (lambda x: np.argmax(x, axis=1), lambda x: F.argmax(x, 1)),
    (lambda x: np.any(x, axis=1), lambda x: F.any(x, 1)),
    (lambda x: np.clip(x, -1, 1), lambda x: F.clip(x, -1, 1)),
    (lambda x: np.clip(x, min=None, max=1), lambda x: F.clip(x, None, 1)),
    (lambda x: np.where(x > 0, x, 0), lambda x: F.where(x > 0, x, 0)),
    (lambda x: np.reshape(x, (4, -1)), lambda x: F.reshape(x, (4, -1))),
    (lambda x: np.ravel(x), F.flatten),
    (lambda x: np.transpose(x, (2, 0, 1)), lambda x: F.permute(x, (2, 0, 1))),
    (lambda x: np.swapaxes(x, 0, 2), lambda x: F.swapaxes(x, 0, 2)),
    (lambda x: np.moveaxis(x, 0, 1), lambda x: F.moveaxis(x, 0, 1)),
    (lambda x: np.expand_dims(x, 1), lambda x: F.expand_dims(x, 1)),
    (lambda x: np.squeeze(x[:1]), lambda x: F.squeeze(x[:1])),
    (lambda x: np.broadcast_to(x, (2, 3, 4, 5)), lambda x: F.broadcast_to(x, (2, 3, 4, 5))),
    (lambda x: np.flip(x, 1), lambda x: F.flip(x, 1)),
    (lambda x: np.concatenate([x, x], axis=1), lambda x: F.concatenate([x, x], 1)),
    (lambda x: np.stack([x, x], axis=1), lambda x: F.stack([x, x], 1)),
    (lambda x: np.split(x, [1, 3], axis=2)[1], lambda x: F.split(x, [1, 3], 2)[1]),
    (lambda x: np.pad(x, ((1, 2), (0, 0), (3, 0))), lambda x: F.pad(x, ((1, 2), (0, 0), (3, 0)))),
    (lambda x: np.pad(x, 1, constant_values=7), lambda x: F.pad(x, 1, 7)),
    (lambda x: np.take(x, _AT, axis=1), lambda x: F.take(x, _AT, 1)),
    (lambda x: np.take(x, _AT), lambda x: F.take(F.flatten(x), _AT)),
    (lambda x: np.tile(x, 2), lambda x: F.tile(x, 2)),
    (lambda x: np.repeat(x, 2, axis=1), lambda x: F.repeat(x, 2, 1)),
    (lambda x: np.roll(x, 1, axis=1), lambda x: F.roll(x, 1, 1)),
    (lambda x: np.tril(x, k=1), lambda x: F.tril(x, 1)),
    (lambda x: np.ones_like(x, dtype="int32"), lambda x: F.ones_like(x, "int32")),
    (lambda x: np.full_like(x, 2), lambda x: F.full_like(x, 2)),
    (lambda x: np.einsum("abc,abd->cd", x, x), lambda x: el.einsum("abc,abd->cd", x, x)),
    (lambda x: np.tensordot(x, x, 3), lambda x: el.tensordot(x, x, 3)),
    (lambda x: np.dot(x, _ROW), lambda x: el.dot(x, _ROW)),
    (lambda x: np.outer(x, _ROW), lambda x: el.outer(x, _ROW)),
    (lambda x: x.reshape(2, -1), lambda x: F.reshape(x, (2, -1))),
    (lambda x: x.reshape((2, -1)), lambda x: F.reshape(x, (2, -1))),
    (lambda x: x.ravel(), F.flatten),
    (lambda x: x.flatten(), F.flatten),
    (lambda x: x.transpose(1, 0, 2), lambda x: F.permute(x, (1, 0, 2))),
    (lambda x: x.transpose(), F.permute),
    (lambda x: x.swapaxes(0, 1), lambda x: F.swapaxes(x, 0, 1)),
    (lambda x: x[:1].squeeze(0), lambda x: F.squeeze(x[:1], 0)),
    (lambda x: x.repeat(2, axis=0), lambda x: F.repeat(x, 2, 0)),
    (lambda x: x.take(_AT, axis=2), lambda x: F.take(x, _AT, 2)),
    (lambda x: x.take(_AT), lambda x: F.take(F.flatten(x), _AT)),
    (lambda x: x.astype("float64"), lambda x: F.cast(x, "float64")),
    (lambda x: x.clip(-1), lambda x: F.clip(x, -1, None)),
    (lambda x: x.dot(_ROW), lambda x: el.dot(x, _ROW)),
    (lambda x: x.cumsum(axis=1), lambda x: F.cumsum(x, 1)),
    (lambda x: x.cumprod(), F.cumprod),
    (lambda x: np.cumsum(x, dtype="float64"), lambda x: F.cumsum(x, dtype="float64")),
    *(
        (
            lambda x, name=name: getattr(x, name)(axis=1, keepdims=True),
            lambda x, name=name: getattr(F, name)(x, 1, True),
        )
        for name in (
            *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all"),
            *("argmax", "argmin"),
        )
    ),
    (lambda x: x[_AT], lambda x: F.take(x, _AT)),
    (lambda x: x[np.int64(1)], lambda x: x[1]),
]


@pytest.mark.parametrize(("numpys", "einlooms"), CALLS)
def test_a_call_of_numpys_is_einlooms(
    numpys: Callable[[Any], Any], einlooms: Callable[[Any], Any]
) -> None:
    x = el.spec(_X.shape, dtype=_X.dtype, name="x")
    found = numpys(x)
    assert found == einlooms(x)
    expected = numpys(_X)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


def test_every_method_has_numpys_name_and_is_called_here() -> None:
    names = [name for name in vars(ArrayMethods) if not name.startswith("_")]
    assert all(hasattr(np.ndarray, name) for name in names)
    called = {name for numpys, _ in CALLS for name in numpys.__code__.co_names}
    called |= {name for numpys, _ in CALLS for name in numpys.__defaults__ or ()}
    assert set(names) <= called


def test_a_function_written_for_arrays_is_compiled_as_it_stands() -> None:
    def attention(q: Any, k: Any, v: Any, mask: Any) -> Any:
        scores = np.einsum("btd,bsd->bts", q, k) / np.sqrt(np.float32(q.shape[-1]))
        scores = np.where(mask, scores, np.float32(-1e9))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return (weights @ v / weights.sum(axis=-1)[..., None])[[2, 0]]

    operands = (_X, _X[:, ::-1], 2 * _X, np.tri(4, dtype=bool))
    found = el.jit(attention)(*operands)
    np.testing.assert_allclose(found, attention(*operands), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


def test_complex_conjugates_join_their_product() -> None:
    z = (_X + 1j * _X[::-1]).astype("complex64")
    f = el.jit(lambda z: np.conj(z) @ z.swapaxes(1, 2))
    np.testing.assert_allclose(f(z), z.conj() @ z.swapaxes(1, 2), rtol=1e-5, atol=1e-5)


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: np.linalg.norm(x), r"numpy\.linalg\.norm of symbolic operands"),
    (lambda x: np.sort(x), r"numpy\.sort of symbolic operands"),
    (lambda x: np.arctan2(x, x), r"numpy\.arctan2 of symbolic operands"),
    (lambda x: np.add.reduce(x), r"numpy\.add\.reduce"),
    (lambda x: np.sum(x, where=_ROW > 0), r"numpy\.sum of symbolic operands takes no where="),
    (lambda x: np.mean(x, dtype="f8"), r"numpy\.mean of symbolic operands takes no dtype="),
    (lambda x: np.var(x, ddof=1), "takes no ddof="),
    (lambda x: np.reshape(x, (4, -1), order="F"), "takes no order="),
    (lambda x: np.add(x, x, out=np.empty((3, 4, 5))), "takes no out="),
    (lambda x: np.clip(x, 0, 1, casting="no"), "takes no casting="),
    (lambda x: np.take(x, _AT, mode="wrap"), "takes no mode="),
    (lambda x: np.pad(x, 1, mode="edge"), "mode='constant'"),
    # Expressions are equal as graphs, so NumPy's arrays are not compared element by element.
    (lambda x: np.equal(_ROW, x), r"numpy\.equal"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_is_lacking_is_refused_by_name(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(el.UnsupportedError, match=message):
        call(el.spec(_X.shape, dtype=_X.dtype, name="x"))
