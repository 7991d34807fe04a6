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
    from einloom import functions as functions
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
    from einloom.functions import absolute as absolute
    from einloom.functions import add as add
    from einloom.functions import all as all
    from einloom.functions import any as any
    from einloom.functions import argmax as argmax
    from einloom.functions import argmin as argmin
    from einloom.functions import broadcast_to as broadcast_to
    from einloom.functions import cast as cast
    from einloom.functions import ceil as ceil
    from einloom.functions import celu as celu
    from einloom.functions import clip as clip
    from einloom.functions import concatenate as concatenate
    from einloom.functions import conj as conj
    from einloom.functions import cos as cos
    from einloom.functions import cumprod as cumprod
    from einloom.functions import cumsum as cumsum
    from einloom.functions import divide as divide
    from einloom.functions import dot_product_attention as dot_product_attention
    from einloom.functions import elu as elu
    from einloom.functions import equal as equal
    from einloom.functions import erf as erf
    from einloom.functions import exp as exp
    from einloom.functions import expand_dims as expand_dims
    from einloom.functions import expm1 as expm1
    from einloom.functions import flatten as flatten
    from einloom.functions import flip as flip
    from einloom.functions import floor as floor
    from einloom.functions import full_like as full_like
    from einloom.functions import gelu as gelu
    from einloom.functions import greater as greater
    from einloom.functions import greater_equal as greater_equal
    from einloom.functions import hard_shrink as hard_shrink
    from einloom.functions import hard_sigmoid as hard_sigmoid
    from einloom.functions import hard_silu as hard_silu
    from einloom.functions import hard_tanh as hard_tanh
    from einloom.functions import isnan as isnan
    from einloom.functions import layer_norm as layer_norm
    from einloom.functions import leaky_relu as leaky_relu
    from einloom.functions import less as less
    from einloom.functions import less_equal as less_equal
    from einloom.functions import log as log
    from einloom.functions import log1p as log1p
    from einloom.functions import log_sigmoid as log_sigmoid
    from einloom.functions import log_softmax as log_softmax
    from einloom.functions import logical_and as logical_and
    from einloom.functions import logical_not as logical_not
    from einloom.functions import logical_or as logical_or
    from einloom.functions import logical_xor as logical_xor
    from einloom.functions import logsumexp as logsumexp
    from einloom.functions import max as max
    from einloom.functions import maximum as maximum
    from einloom.functions import mean as mean
    from einloom.functions import min as min
    from einloom.functions import minimum as minimum
    from einloom.functions import mish as mish
    from einloom.functions import moveaxis as moveaxis
    from einloom.functions import multiply as multiply
    from einloom.functions import negative as negative
    from einloom.functions import not_equal as not_equal
    from einloom.functions import one_hot as one_hot
    from einloom.functions import ones_like as ones_like
    from einloom.functions import pad as pad
    from einloom.functions import permute as permute
    from einloom.functions import power as power
    from einloom.functions import prod as prod
    from einloom.functions import reciprocal as reciprocal
    from einloom.functions import relu as relu
    from einloom.functions import relu6 as relu6
    from einloom.functions import repeat as repeat
    from einloom.functions import reshape as reshape
    from einloom.functions import rms_norm as rms_norm
    from einloom.functions import roll as roll
    from einloom.functions import round as round
    from einloom.functions import rsqrt as rsqrt
    from einloom.functions import selu as selu
    from einloom.functions import sigmoid as sigmoid
    from einloom.functions import sign as sign
    from einloom.functions import silu as silu
    from einloom.functions import sin as sin
    from einloom.functions import soft_shrink as soft_shrink
    from einloom.functions import softmax as softmax
    from einloom.functions import softplus as softplus
    from einloom.functions import softsign as softsign
    from einloom.functions import split as split
    from einloom.functions import sqrt as sqrt
    from einloom.functions import square as square
    from einloom.functions import squeeze as squeeze
    from einloom.functions import stack as stack
    from einloom.functions import std as std
    from einloom.functions import subtract as subtract
    from einloom.functions import sum as sum
    from einloom.functions import swapaxes as swapaxes
    from einloom.functions import take as take
    from einloom.functions import tanh as tanh
    from einloom.functions import threshold as threshold
    from einloom.functions import tile as tile
    from einloom.functions import tril as tril
    from einloom.functions import triu as triu
    from einloom.functions import var as var
    from einloom.functions import where as where
    from einloom.functions import zeros_like as zeros_like
    from einloom.text.calls import parse as parse
    from einloom.tracing import jit as jit
    from einloom.tracing import trace as trace
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
    "einloom.functions": (
        *("absolute", "add", "all", "any", "argmax", "argmin", "broadcast_to", "cast", "ceil"),
        *("celu", "clip", "concatenate", "conj", "cos", "cumprod", "cumsum", "divide"),
        *("dot_product_attention", "elu", "equal", "erf", "exp", "expand_dims", "expm1", "flatten"),
        *("flip", "floor", "full_like"),
        *("gelu", "greater", "greater_equal", "hard_shrink", "hard_sigmoid", "hard_silu"),
        *("hard_tanh", "isnan", "layer_norm", "leaky_relu", "less", "less_equal", "log", "log1p"),
        *("log_sigmoid", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor"),
        *("logsumexp", "max", "maximum", "mean", "min", "minimum", "mish", "moveaxis", "multiply"),
        *("negative", "not_equal", "one_hot", "ones_like", "pad", "permute", "power", "prod"),
        *("reciprocal", "relu", "relu6", "repeat", "reshape", "rms_norm", "roll", "round", "rsqrt"),
        *("selu", "sigmoid", "sign", "silu", "sin", "soft_shrink", "softmax", "softplus"),
        *("softsign", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum"),
        *("swapaxes", "take", "tanh", "threshold", "tile", "tril", "triu", "var", "where"),
        *("zeros_like",),
    ),
    "einloom.text.calls": ("parse",),
    "einloom.tracing": ("jit", "trace"),
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
