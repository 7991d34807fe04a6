"""``tf.linalg``: matvec, and matmul, tensordot and einsum under their second name."""

from einloom.frontends.tensorflow_einsum import einsum
from einloom.frontends.tensorflow_products import matmul, matvec, tensordot

__all__ = ["einsum", "matmul", "matvec", "tensordot"]
