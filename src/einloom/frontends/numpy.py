"""numpy.einsum's contract: strings and sublists, ``out``, ``dtype``, ``order``, ``casting``, views.

Source: numpy.einsum's documentation, and NumPy 2.4 run for every rule that it leaves open. What is
wider than NumPy: any letter beyond ASCII, any hashable label in sublists (with ``optimize``), and
every optimizer of opt_einsum. Operands of dtype object and of long double precision are evaluated
by NumPy itself: no code can be generated for the former, and Numba knows no type for the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.expression import Expression
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.build import check_order, contract, promoted
from einloom.frontends.dispatch import REGISTRY, frontend
from einloom.frontends.layout import result_axes
from einloom.frontends.values import numpy_scalar
from einloom.runtime.contractor import Contractor
from einloom.runtime.memory import kernel_ready
from einloom.runtime.prepared import Evaluation, is_same_memory, prepared
from einloom.runtime.stores import keep
from einloom.runtime.threads import default_backend
from einloom.runtime.values import layout
from einloom_compiler.dtypes import AnyDType, as_dtype, has_kernel
from einloom_compiler.errors import (
    CastingError,
    DTypeError,
    EinloomError,
    ShapeError,
    SubscriptError,
    UnsupportedError,
)
from einloom_compiler.ir.einsum import EinsumExpr, is_view
from einloom_compiler.ir.shapes import bind_extents
from einloom_compiler.language import Equation, expand, parse_string, parse_sublists
from einloom_compiler.language.equation import SubscriptTypeError
from einloom_compiler.order.search import Optimize, check_optimize

Array = npt.NDArray[Any]

#: NumPy's own, bound once: it makes views, and evaluates what no code is generated for.
_numpy_einsum: Any = np.einsum

_CASTINGS = ("no", "equiv", "safe", "same_kind", "unsafe")
_NUMPY_LABELS = 52


class ArgumentError(EinloomError, ValueError):
    """A keyword argument has a value that NumPy does not know."""


@prepared
def einsum(
    subscripts: Any = None,
    *operands: Any,
    out: Array | None = None,
    dtype: Any = None,
    order: str = "K",
    casting: str = "safe",
    optimize: Optimize = True,
) -> Any:
    """Evaluate the Einstein summation convention on the operands, as :func:`numpy.einsum` does.

    Args:
        subscripts: subscripts such as ``"ij,jk->ik"``, or the first operand of the sublist form
            ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.
        operands: arrays, or symbolic operands, of any number and rank.
        out: array to write the result to; may overlap operands. Its dtype takes part in promotion
            and casting, except where an optimizer is named (NumPy then assigns to it, unchecked).
        dtype: dtype to compute in; the operands are cast to it.
        order: memory order of the result: ``C``, ``F``, ``A`` (F where all operands are), or ``K``
            (as close to the operands' as possible).
        casting: which casts are allowed: ``no``, ``equiv``, ``safe``, ``same_kind``, ``unsafe``.
        optimize: False contracts everything at once; True chooses the cheapest order found; or an
            optimizer's name, (name, memory limit in elements), a path, an opt_einsum optimizer.

    Returns:
        The result: an array; a NumPy scalar for rank 0; a view, writeable if the operand is, where
        a single operand is only transposed or its diagonal taken; a tensor of the operands'
        framework where they are such tensors; an :class:`~einloom.Expression` for symbolic ones.

    Raises:
        SubscriptError: the subscripts are malformed or do not fit the operands' ranks.
        ShapeError: extents do not fit, or ``out`` has another shape.
        DTypeError, CastingError: a dtype is unknown or a cast is not allowed.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.einsum("bi,bi->b", np.ones((2, 3)), np.ones((2, 3)))
        array([3., 3.])
    """
    equation, given = _parse(subscripts, operands, optimize)
    if any(isinstance(operand, Expression) for operand in given):
        if out is not None or dtype is not None:
            raise DTypeError("out= and dtype= need arrays; declare the operands' dtypes instead")
        _check_symbolic_options(given, order, casting)
        text = _text(subscripts, equation, given)
        return REGISTRY["numpy.einsum"](text, *given, optimize=optimize), None
    _check_options(out, order, casting)
    dtype = None if dtype is None else as_dtype(dtype)
    arrays = [as_numpy(operand) for operand in given]
    expr = _expanded(equation, tuple(array.ndim for array in arrays))
    if len(arrays) == 1 and out is None and is_view(expr):
        check_optimize(expr, optimize)
        return wrapper_for(given)(_view(expr, arrays[0])), None
    is_assigned = optimize not in (True, False, None) and len(arrays) > 1
    compute = _compute_dtype(arrays, None if is_assigned else out, dtype, casting)
    if not has_kernel(compute) or not all(has_kernel(array.dtype) for array in arrays):
        result = _by_numpy(expr, arrays, compute, out, order, casting)
        return result if out is not None else wrapper_for(given)(result), None
    contractor = _contractor(expr, compute, optimize)
    evaluation = _evaluate(contractor, arrays, out, order)
    if out is None:
        return wrapper_for(given, numpy_scalar)(*evaluation.results), evaluation
    return out, evaluation


@frontend("numpy.einsum", operands=("*operands",))
def einsum_expression(
    subscripts: str, *operands: Expression, optimize: Optimize = True
) -> Expression:
    """Return the einsum of symbolic operands.

    Named extents of 1 broadcast, as in NumPy; extents that may be equal leave a guard. The result
    dtype is NumPy's promotion of the operands'.

    Args:
        subscripts: subscripts such as ``"ij,jk->ik"``.
        operands: one a term.
        optimize: how the order is chosen where this is the outermost contraction that is compiled.

    Raises:
        SubscriptError: the subscripts are malformed or do not fit the operands' ranks.
        ShapeError: two extents of one index cannot be equal.
        DTypeError, PathError, UnsupportedError: ``optimize`` cannot choose the order.
    """
    equation = parse_string(subscripts, is_strict=_is_strict(optimize))
    expr = expand(equation, [operand.ndim for operand in operands])
    check_order(expr, operands, optimize)
    return contract(expr, *operands, dtype=promoted(*operands), broadcast=None)


# --- arguments -----------------------------------------------------------------------------------


def _parse(
    subscripts: Any, operands: Sequence[Any], optimize: Optimize
) -> tuple[Equation, list[Any]]:
    is_strict = _is_strict(optimize)
    if isinstance(subscripts, str):
        if not operands:
            raise SubscriptError(
                "must specify the einstein sum subscripts string and at least one operand"
            )
        return parse_string(subscripts, is_strict=is_strict), list(operands)
    if subscripts is None and not operands:
        raise SubscriptError(
            "must specify the einstein sum subscripts string and at least one operand, or at least "
            "one operand and its corresponding subscripts list"
        )
    if isinstance(subscripts, bytes):
        raise SubscriptTypeError("the subscripts are bytes; pass a string")
    items = [subscripts, *operands]
    if len(items) < 2:
        raise SubscriptError(
            "the sublist form needs each operand's list of subscripts after it, such as "
            "einsum(a, [0, 1], b, [1, 2])"
        )
    output = items.pop() if len(items) % 2 else None
    sublists = items[1::2]
    return parse_sublists(sublists, output, is_strict=is_strict), items[::2]


def _is_strict(optimize: Optimize) -> bool:
    """Say whether NumPy reads the subscripts by its stricter parser, the one without optimizer."""
    return optimize is False or optimize is None


def _text(subscripts: Any, equation: Equation, operands: Sequence[Any]) -> str:
    """Return subscripts as one string, for symbolic operands given in sublist form."""
    if isinstance(subscripts, str):
        return subscripts
    from einloom_compiler.ir.printer import print_einsum

    ranks = [o.ndim if isinstance(o, Expression) else as_numpy(o).ndim for o in operands]
    return print_einsum(expand(equation, ranks))


@lru_cache(maxsize=4096)
def _expanded(equation: Equation, ranks: tuple[int, ...]) -> EinsumExpr:
    return expand(equation, ranks)


def _check_options(out: object, order: object, casting: object) -> None:
    if out is not None and not isinstance(out, np.ndarray):
        raise DTypeError(f"keyword parameter out must be an array for einsum, not {out!r}")
    if not isinstance(order, str) or order.upper() not in ("C", "F", "A", "K"):
        raise ArgumentError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    if casting not in _CASTINGS:
        names = ", ".join(map(repr, _CASTINGS))
        raise ArgumentError(f"casting must be one of {names} (got {casting!r})")


def _check_symbolic_options(operands: Sequence[Any], order: object, casting: object) -> None:
    """Refuse what a compiled function does not do: other memory orders, and casting less."""
    _check_options(None, order, casting)
    if str(order).upper() not in ("K", "C"):
        raise UnsupportedError(
            f"order={order!r} needs arrays: a compiled function's result is in C order; pass an "
            "array of that layout as out= when it is called"
        )
    if casting in ("no", "equiv"):
        dtypes = [o.dtype if isinstance(o, Expression) else as_numpy(o).dtype for o in operands]
        if None in dtypes or len(set(dtypes)) > 1:
            shown = ", ".join(str(dtype or "any") for dtype in dtypes)
            raise CastingError(
                f"casting={casting!r} needs operands declared with one dtype, not {shown}"
            )


def _compute_dtype(
    arrays: Sequence[Array], out: Array | None, dtype: AnyDType | None, casting: Any
) -> AnyDType:
    """Return the dtype to compute in: NumPy's iterator promotes ``out`` together with operands."""
    if dtype is not None:
        compute = dtype
    else:
        involved = [array.dtype for array in arrays] + ([out.dtype] if out is not None else [])
        try:
            compute = np.result_type(*involved)
        except TypeError as error:
            raise DTypeError(f"the operands have no common dtype: {error}") from None
    compute = compute.newbyteorder("=")
    if compute.kind not in "biufcO" and compute.name != "bfloat16":
        raise DTypeError(f"invalid data type for einsum: {compute}; use a numeric dtype")
    for number, array in enumerate(arrays):
        if not np.can_cast(array.dtype, compute, casting):
            raise CastingError(
                f"Iterator operand {number} dtype could not be cast from {array.dtype!r} to "
                f"{compute!r} according to the rule '{casting}'; pass casting='unsafe' to allow it"
            )
    if out is not None and not np.can_cast(compute, out.dtype, casting):
        raise CastingError(
            f"Iterator requested dtype could not be cast from {compute!r} to {out.dtype!r}, the "
            f"operand {len(arrays)} dtype (out), according to the rule '{casting}'; pass "
            "casting='unsafe' to allow it"
        )
    return compute


# --- evaluation ----------------------------------------------------------------------------------


def _view(expr: EinsumExpr, array: Array) -> Array:
    """Return the transposed or diagonal view of the single operand; NumPy makes it."""
    bind_extents(expr, [array.shape], broadcasts=False)
    term, output = _numbered(expr)
    view: Array = _numpy_einsum(array, *term, output)
    return view


def _numbered(expr: EinsumExpr) -> tuple[list[list[int]], list[int]]:
    """Return the expression as NumPy's integer sublists."""
    numbers = {index: number for number, index in enumerate(sorted(expr.indices))}
    if len(numbers) > _NUMPY_LABELS:
        raise UnsupportedError(
            f"NumPy evaluates views and operands of dtype object or long double, and takes at most "
            f"{_NUMPY_LABELS} distinct labels, not {len(numbers)}"
        )
    terms = [[numbers[index] for index in term] for term in expr.terms]
    return terms, [numbers[index] for index in expr.output]


def _by_numpy(
    expr: EinsumExpr,
    arrays: Sequence[Array],
    compute: AnyDType,
    out: Array | None,
    order: str,
    casting: Any,
) -> Any:
    """Let NumPy evaluate dtypes that no code is generated for."""
    terms, output = _numbered(expr)
    pairs = [item for pair in zip(arrays, terms, strict=True) for item in pair]
    return _numpy_einsum(*pairs, output, out=out, dtype=compute, order=order, casting=casting)


def _evaluate(
    contractor: Contractor, arrays: Sequence[Array], out: Array | None, order: str
) -> Evaluation:
    """Contract the arrays into ``out`` or a new array; return how that was done."""
    operands = [kernel_ready(array) for array in arrays]
    shape = contractor.output_shape([array.shape for array in operands])
    if out is None:
        axes = _result_axes(contractor.expr, operands, order)
        target = _allocated(shape, contractor.dtype, axes)
    else:
        _check_out(out, shape)
        target = out.view(np.ndarray)
        is_direct = kernel_ready(target) is target and has_kernel(out.dtype)
        if not is_direct or any(np.may_share_memory(target, array) for array in operands):
            target = np.empty(shape, contractor.dtype)
    recipe = contractor.recipe_for([layout(array) for array in (*operands, target)])
    recipe.run(operands, target, None, default_backend())
    if out is not None and not is_same_memory(target, out):
        np.copyto(out.view(np.ndarray), target, casting="unsafe")
    return Evaluation(recipe, operands, (target,))


def _result_axes(expr: EinsumExpr, arrays: Sequence[Array], order: str) -> tuple[int, ...]:
    order = order.upper()
    if order == "A":
        order = "F" if all(array.flags.f_contiguous for array in arrays) else "C"
    layouts = tuple((array.shape, array.strides) for array in arrays)
    return _kept_axes(expr, layouts, order)


@lru_cache(maxsize=4096)
def _kept_axes(expr: EinsumExpr, layouts: Any, order: str) -> tuple[int, ...]:
    return result_axes(expr, layouts, order)


def _allocated(shape: tuple[int, ...], dtype: AnyDType, axes: tuple[int, ...]) -> Array:
    """Return an empty array whose axes vary in this order, the last one fastest."""
    rank = len(axes)
    if axes == tuple(range(rank)):
        return np.empty(shape, dtype)
    if axes == tuple(range(rank - 1, -1, -1)):
        return np.empty(shape, dtype, order="F")
    return np.empty([shape[axis] for axis in axes], dtype).transpose(np.argsort(axes))


def _check_out(out: Array, shape: tuple[int, ...]) -> None:
    if out.ndim != len(shape):
        raise ShapeError(
            f"out parameter does not have the correct number of dimensions, has {out.ndim} but "
            f"should have {len(shape)}: the result has shape {shape}"
        )
    if out.shape != shape:
        raise ShapeError(
            f"operands could not be broadcast together: out has shape {out.shape}, but the result "
            f"has shape {shape}"
        )
    if not out.flags.writeable:
        raise ShapeError("out is read-only; pass a writeable array")


_contractors: dict[Any, Contractor] = {}
_KEPT_CONTRACTORS = 4096


def _contractor(expr: EinsumExpr, compute: AnyDType, optimize: Optimize) -> Contractor:
    """Return the contractor of a structure, kept while its ``optimize`` can be a key."""
    frozen = tuple(map(_as_tuple, optimize)) if isinstance(optimize, list) else optimize
    key: Any = (expr, compute, type(optimize).__name__, frozen)
    try:
        found = _contractors.get(key)
    except TypeError:
        key, found = None, None
    if found is None:
        n_operands = len(expr.terms)
        found = Contractor(expr, compute, (False,) * n_operands, optimize=optimize, broadcasts=True)
        if key is not None:
            keep(_contractors, key, found, _KEPT_CONTRACTORS)
    return found


def _as_tuple(item: Any) -> Any:
    return tuple(item) if isinstance(item, list | tuple) else item
