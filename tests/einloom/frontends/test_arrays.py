"""Arrays of every framework in, the same kind out; no values are copied on the way in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.frontends.arrays import as_numpy


def test_rank_0_results_of_arrays_are_numpy_scalars_where_numpys_are(operands: Any) -> None:
    x = operands((3,))
    assert isinstance(el.dot(x, x), np.float64)
    assert isinstance(el.tensordot(x, x, 1), np.ndarray)


@pytest.mark.tensorflow
def test_tensorflow_tensors_give_tensors_and_share_their_memory(operands: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    a, b = operands((2, 3), "float32"), operands((3,), "float32")
    got = el.dot(tf.constant(a), b)
    assert isinstance(got, tf.Tensor)
    np.testing.assert_array_equal(got.numpy(), np.dot(a, b))
    tensor = tf.constant(a)
    assert np.shares_memory(as_numpy(tensor), as_numpy(tensor))
    scalar = el.dot(tf.constant(b), tf.constant(b))
    assert isinstance(scalar, tf.Tensor)
    assert scalar.shape == ()


@pytest.mark.torch
def test_pytorch_tensors_give_tensors(operands: Any) -> None:
    torch = pytest.importorskip("torch")
    a, b = operands((2, 3), "float32"), operands((3, 4), "float32")
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    got = el.matmul(x, y)
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), np.matmul(a, b))
    assert np.shares_memory(as_numpy(x), a)
    x.requires_grad_()
    with pytest.raises(el.UnsupportedError, match=r"tensor\.detach\(\)"):
        el.matmul(x, y)
    with torch.no_grad():
        np.testing.assert_array_equal(el.matmul(x, y).numpy(), np.matmul(a, b))


def test_jax_arrays_give_jax_arrays(operands: Any) -> None:
    jax = pytest.importorskip("jax")
    a, b = operands((2, 3), "float32"), operands((3, 4), "float32")
    got = el.matmul(jax.numpy.asarray(a), jax.numpy.asarray(b))
    assert isinstance(got, jax.Array)
    np.testing.assert_array_equal(np.asarray(got), np.matmul(a, b))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int32"])
def test_einsum_of_pytorch_tensors_gives_tensors(dtype: str, operands: Any) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(operands((2, 3), "float32")).to(getattr(torch, dtype))
    for equation, want in (
        ("ij,kj->ik", x @ x.T),
        ("ij->ji", x.T),
        ("ij->", x.sum().to(x.dtype)),
    ):
        got = el.einsum(equation, *[x] * (equation.count(",") + 1))
        assert got.dtype == x.dtype
        assert got.shape == want.shape
        assert torch.equal(got, want)


@pytest.mark.torch
def test_pytorch_tensors_without_plain_values_are_resolved_or_refused() -> None:
    torch = pytest.importorskip("torch")
    z = torch.tensor([[1 + 2j, 3 - 1j]])
    assert torch.equal(el.einsum("ij->ji", z.conj()), z.conj().resolve_conj().T)
    with pytest.raises(el.UnsupportedError, match=r"sparse_coo .* tensor\.to_dense\(\)"):
        el.einsum("ij->ji", torch.ones(2, 3).to_sparse())
    with pytest.raises(el.UnsupportedError, match=r"device meta .* tensor\.cpu\(\)"):
        el.einsum("ij->ji", torch.ones(2, 3, device="meta"))


def test_a_traced_jax_array_is_refused() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones(3)
    with pytest.raises(el.UnsupportedError, match=r"being traced .* jax\.pure_callback"):
        jax.grad(lambda v: el.einsum("i,i->", v, v))(x)
    scalar = el.einsum("i,i->", x, x)
    assert isinstance(scalar, jax.Array)
    assert scalar.shape == ()
