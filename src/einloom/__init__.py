"""einloom: a symbolic einsum compiler for CPUs.

In come contractions in the words of the framework they were written for; out come their meaning
in einsum notation, shapes, formulas and costs, and results from generated, parallel CPU loops.
The parts: front-end translators (:mod:`einloom.frontends`), the optimizer and the Numba code
generator (:mod:`einloom_compiler`), the runtime (:mod:`einloom.runtime`), and reports.

    >>> import numpy as np, einloom as el
    >>> el.einsum("ij,jk->ik", np.eye(2), np.ones((2, 3))).shape
    (2, 3)

Importing this package loads none of its dependencies; NumPy, sympy, opt_einsum and Numba follow
when they are first needed, and frameworks never do unless their own tensors are passed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einloom import aot as aot
    from einloom import linalg as linalg
    from einloom.compiled import CompiledFunction as CompiledFunction
    from einloom.compiled import compile as compile
    from einloom.expression import Expression as Expression
    from einloom.expression import spec as spec
    from einloom.frontends.numpy import einsum as einsum
    from einloom.frontends.numpy_gufuncs import matmul as matmul
    from einloom.frontends.numpy_gufuncs import matvec as matvec
    from einloom.frontends.numpy_gufuncs import vecdot as vecdot
    from einloom.frontends.numpy_gufuncs import vecmat as vecmat
    from einloom.frontends.numpy_products import dot as dot
    from einloom.frontends.numpy_products import inner as inner
    from einloom.frontends.numpy_products import kron as kron
    from einloom.frontends.numpy_products import outer as outer
    from einloom.frontends.numpy_products import tensordot as tensordot
    from einloom.frontends.numpy_products import transpose as transpose
    from einloom.frontends.numpy_products import vdot as vdot
    from einloom.text.calls import parse as parse
    from einloom_compiler.errors import AmbiguousMeaningError as AmbiguousMeaningError
    from einloom_compiler.errors import DTypeError as DTypeError
    from einloom_compiler.errors import EinloomError as EinloomError
    from einloom_compiler.errors import SemanticsWarning as SemanticsWarning
    from einloom_compiler.errors import ShapeError as ShapeError
    from einloom_compiler.errors import SpecError as SpecError
    from einloom_compiler.errors import SubscriptError as SubscriptError
    from einloom_compiler.errors import UnsupportedError as UnsupportedError

__version__ = "0.1.0"

_HOME = {
    "einloom.compiled": ("CompiledFunction", "compile"),
    "einloom.expression": ("Expression", "spec"),
    "einloom.frontends.numpy": ("einsum",),
    "einloom.frontends.numpy_gufuncs": ("matmul", "matvec", "vecdot", "vecmat"),
    "einloom.frontends.numpy_products": (
        *("dot", "inner", "kron", "outer", "tensordot", "transpose", "vdot"),
    ),
    "einloom.text.calls": ("parse",),
    "einloom_compiler.errors": (
        *("AmbiguousMeaningError", "DTypeError", "EinloomError", "SemanticsWarning"),
        *("ShapeError", "SpecError", "SubscriptError", "UnsupportedError"),
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

#: Submodules that ``import einloom as el`` gives as attributes.
_SUBMODULES = ("aot", "keras", "linalg", "tensorflow")

#: Names people know from a framework whose meaning depends on it, and where to find them.
_ELSEWHERE = {
    "batch_dot": (
        "batch_dot has two meanings, so einloom has two: einloom.keras.backend.batch_dot is Keras "
        "2.2.4's (a batched matrix product over all leading axes), and "
        "einloom.tensorflow.keras.backend.batch_dot is that of Keras 2.2.5, TensorFlow 2.0 and "
        "later (only the first axis is batch); einloom.keras.backend.batch_dot(..., version=...) "
        "speaks either"
    ),
    "Dot": (
        "Dot is a Keras layer: use einloom.keras.layers.Dot, in which only the first axis is "
        "batch; einloom.dot is NumPy's dot and einloom.keras.backend.dot the classic K.dot"
    ),
    "bmm": (
        "a batched matrix product is einloom.matmul (NumPy's, batch axes broadcast) or "
        "einloom.tensorflow.matmul"
    ),
}

__all__ = [*sorted(_MODULE_OF), *_SUBMODULES]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is first asked for."""
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"einloom.{name}")
    hint = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"module 'einloom' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
