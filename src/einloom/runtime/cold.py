"""What a call does whose kernel is not compiled yet: wait, or let NumPy answer meanwhile.

By default it waits, so that the first call and the thousandth give the same bits.
``EINLOOM_COLD=numpy`` has NumPy answer while a thread compiles; results may then differ in their
last bits, as the order of summation does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen.jit import Kernel, is_jit_disabled
from einloom_compiler.dtypes import arithmetic, dtype_name
from einloom_compiler.errors import EinloomError
from einloom_compiler.ir.einsum import EinsumExpr, Term
from einloom_compiler.ir.reference import in_frame
from einloom_compiler.ir.scalar import Scalar, evaluate_scalar

Array = npt.NDArray[Any]

VARIABLE = "EINLOOM_COLD"
#: Most indices that ``numpy.einsum`` can tell apart.
_NUMPY_INDICES = 52

_threads: dict[Kernel, threading.Thread] = {}
_lock = threading.Lock()


class ColdError(EinloomError, ValueError):
    """``EINLOOM_COLD`` has a value that means nothing."""


def numpy_answers(expr: EinsumExpr, kernels: Iterable[Kernel]) -> bool:
    """Say whether NumPy shall evaluate ``expr`` now, and start compiling what it lacks.

    It shall not where all kernels are ready, nor where a compile has failed: the call then waits
    for a second one, which raises the error.

    Raises:
        ColdError: ``EINLOOM_COLD`` is neither ``wait`` nor ``numpy``.
    """
    missing = [kernel for kernel in kernels if not kernel.is_ready]
    if not missing or waits() or is_jit_disabled():
        return False
    if len(expr.indices) > _NUMPY_INDICES:
        return False
    states = [_is_compiling(kernel) for kernel in missing]
    return all(states) and not all(kernel.is_ready for kernel in missing)


def waits() -> bool:
    """Say whether calls wait for their kernels.

    Raises:
        ColdError: ``EINLOOM_COLD`` is neither ``wait`` nor ``numpy``.
    """
    value = os.environ.get(VARIABLE) or "wait"
    if value not in ("wait", "numpy"):
        raise ColdError(
            f"{VARIABLE}={value!r} means nothing; set it to 'numpy' to have NumPy answer while a "
            "kernel is compiled, or to 'wait' (the default)"
        )
    return value == "wait"


def _is_compiling(kernel: Kernel) -> bool:
    """Load the kernel from disk or start its compile, if not done; say whether that is well."""
    with _lock:
        thread = _threads.get(kernel)
        if thread is None:
            if kernel.load():
                return True
            # Not a daemon: a short process shall leave its kernels on disk, and LLVM must not be
            # stopped in the middle.
            thread = threading.Thread(target=_compile, args=(kernel,), name="einloom-compile")
            _threads[kernel] = thread
            thread.start()
            return True
    return thread.is_alive() or kernel.is_ready


def _compile(kernel: Kernel) -> None:
    try:
        kernel.entry  # noqa: B018
    except Exception:
        # The next call compiles in the foreground, and raises this there.
        return
    with _lock:
        _threads.pop(kernel, None)


def evaluate(
    expr: EinsumExpr,
    dtype: np.dtype[Any],
    conjugated: Sequence[bool],
    epilogue: Scalar,
    arrays: Sequence[Array],
    out: Array,
    extras: Sequence[Term] = (),
) -> None:
    """Write the contraction to ``out`` by ``numpy.einsum``, with the kernels' dtype rules.

    Operands are cast to ``dtype``; 16-bit floats are computed in float32 and rounded once.
    """
    compute = np.dtype(arithmetic(dtype_name(dtype)).compute) if dtype.kind != "b" else dtype
    numbers = {index: number for number, index in enumerate(expr.indices)}
    arguments: list[Any] = []
    n = len(expr.terms)
    for array, term, is_conjugated in zip(arrays[:n], expr.terms, conjugated, strict=True):
        value = array.astype(dtype, copy=False).astype(compute, copy=False)
        arguments += [value.conj() if is_conjugated else value, [numbers[index] for index in term]]
    with np.errstate(all="ignore"):
        result = np.einsum(*arguments, [numbers[i] for i in expr.output], optimize=n > 2)
        further = [
            in_frame(array.astype(compute, copy=False), term, expr.output)
            for array, term in zip(arrays[n:], extras, strict=True)
        ]
        out[...] = evaluate_scalar(epilogue, [np.asarray(result), *further])
