"""Reductions of complex numbers, and errors that name the function that was called."""

import numpy as np
import pytest

import einloom as el
from einloom import functions as F


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_mean_of_complex_numbers_is_numpys(axis: int | None, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(5, 37)) + 1j * rng.normal(size=(5, 37))).astype(dtype)
    found = F.mean(x, axis)
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, x.mean(axis), rtol=1e-5, atol=1e-6)


def test_the_mean_of_no_complex_number_is_nan() -> None:
    assert np.isnan(F.mean(np.empty((0, 3), "complex64"), 0)).all()


@pytest.mark.parametrize("function", [F.var, F.std])
def test_the_variance_of_complex_numbers_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(el.DTypeError, match="variance of complex64 is not computed"):
        function(np.ones((2, 3), "complex64"))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_an_axis_out_of_bounds_is_told_by_the_functions_name(name: str) -> None:
    with pytest.raises(el.EinloomError, match=f"{name}: axis 2 is out of bounds"):
        getattr(F, name)(np.ones((2, 3)), 2)
