"""The printed program of expressions with reshapes and symbolic extents, run un-jitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el


def run(text: str, *arrays: Any) -> Any:
    """Run the program of a call as plain Python."""
    namespace: dict[str, Any] = {}
    exec(el.compile(text).source, namespace)
    for name, value in list(namespace.items()):
        namespace[name] = getattr(value, "py_func", value)
    return namespace["run"](*arrays)


@pytest.mark.parametrize(
    ("text", "shapes", "lines"),
    [
        (
            "np.kron(x[M,N], y[P,Q])",
            [(2, 3), (4, 5)],
            ["n_P = y.shape[0]", ".reshape((n_M*n_P, n_N*n_Q))"],
        ),
        ("np.kron(x[M,None], n_M[2,3])", [(2, 3), (2, 3)], ["n_M_ = x.shape[0]", "(2*n_M_, "]),
    ],
)
def test_symbols_of_a_new_shape_are_read_from_the_operands(
    text: str, shapes: list[tuple[int, ...]], lines: list[str]
) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes]
    source = el.compile(text).source
    for line in lines:
        assert line in source
    np.testing.assert_array_equal(run(text, *arrays), np.kron(*arrays))


@pytest.mark.parametrize(
    ("text", "new_shape", "shown"),
    [
        ("K.reshape(x[B,3,2], (2, -1))", (2, 12), "(2, 3*n_B)"),
        ("K.reshape(x[B,3,2], (4, -1))", (4, 6), "(4, 3*n_B//2)"),
        ("K.reshape(x[B + 3,3,2], (-1,))", (24,), "(-1,)"),
        ("K.reshape(x[B,T,2], ('T', 'B', 2))", (3, 4, 2), "(n_T, n_B, 2)"),
    ],
)
def test_new_shapes_are_whole_numbers_in_python(
    text: str, new_shape: tuple[int, ...], shown: str
) -> None:
    x = np.arange(24.0).reshape(4, 3, 2)
    assert f".reshape({shown})" in el.compile(text).source
    np.testing.assert_array_equal(run(text, x), x.reshape(new_shape))


def test_extents_that_no_axis_declares_are_refused() -> None:
    f = el.compile("np.kron(x[B + 1, T + 1], y[2, 2])")
    with pytest.raises(el.UnsupportedError, match=r"2\*B \+ 2, 2\*T \+ 2 are; declare each"):
        f.source  # noqa: B018 - the property builds the text
