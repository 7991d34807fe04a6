"""PyTorch, JAX and TensorFlow, each with operands that are already its own tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.base import AbsentError, Array, Peer, Prepared, UnsupportedCaseError
from benchmarks.problems import Case
from benchmarks.timing import spelled


class PyTorch(Peer):
    """torch.einsum."""

    name = "torch"
    module = distribution = "torch"
    setting = "einsum, no gradients"

    def set_up(self) -> None:
        """Set the threads, and record no gradients."""
        import torch

        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``torch.einsum``; a result that is a view, or in another order, is copied."""
        import torch

        tensors = [torch.from_numpy(operand) for operand in operands]
        call = spelled(torch.einsum, case.einsum, *tensors)

        def evaluate() -> Any:
            return call().contiguous()

        return Prepared(evaluate, lambda tensor: np.asarray(tensor.numpy()))


class Jax(Peer):
    """jax.numpy.einsum under jit."""

    name = "jax"
    module = distribution = "jax"
    setting = "jit(einsum)"

    def set_up(self) -> None:
        """Allow 64-bit dtypes."""
        import jax

        jax.config.update("jax_enable_x64", True)

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return the jitted function; it is compiled by the first call."""
        import jax

        arrays = [jax.numpy.asarray(operand) for operand in operands]
        function = jax.jit(partial(jax.numpy.einsum, case.einsum))

        def evaluate() -> Any:
            return function(*arrays).block_until_ready()

        return Prepared(evaluate)


class TensorFlow(Peer):
    """tf.einsum, eager."""

    name = "tensorflow"
    module = "tensorflow"
    # The CPU build has the module's name with a suffix; see `start`.
    distribution = "tensorflow"
    setting = "einsum, eager"

    def start(self) -> str:
        """Import and set up; the version is the module's, since its distribution has two names."""
        try:
            import tensorflow
        except ImportError as error:
            raise AbsentError(f"not installed ({error})") from None
        self.set_up()
        return f"{tensorflow.__version__}, {self.setting}"

    def set_up(self) -> None:
        """Set the threads, before the first operation."""
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != self.threads:
            tf.config.threading.set_intra_op_parallelism_threads(self.threads)
            tf.config.threading.set_inter_op_parallelism_threads(self.threads)

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return eager ``tf.einsum``."""
        import tensorflow as tf

        tensors = [tf.constant(operand) for operand in operands]
        return Prepared(spelled(tf.einsum, case.einsum, *tensors), _from_tensor)


class Xla(TensorFlow):
    """tf.einsum compiled by XLA."""

    name = "xla"
    setting = "tf.function(jit_compile=True)"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return the concrete function, which spares the lookup; compiled by the first call."""
        import tensorflow as tf

        tensors = [tf.constant(operand) for operand in operands]

        @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
        def contraction(*given: Any) -> Any:
            return tf.einsum(case.einsum, *given)

        try:
            concrete = contraction.get_concrete_function(*tensors)
        except (TypeError, ValueError) as error:
            raise UnsupportedCaseError(str(error).splitlines()[0]) from None
        return Prepared(spelled(concrete, *tensors), _from_tensor)


def _from_tensor(tensor: Any) -> Array:
    return np.asarray(tensor.numpy())
