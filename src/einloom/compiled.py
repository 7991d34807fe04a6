"""``einloom.compile``: expressions, equations and calls as text to functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from einloom.compiled_function import CompiledFunction
from einloom.expression import Expression, constant
from einloom.frontends.arrays import as_numpy
from einloom.frontends.build import check_names
from einloom.runtime.choices import Choices, read_ranges, read_schedules
from einloom.runtime.threads import Backend
from einloom_compiler.errors import (
    AmbiguousMeaningError,
    ScheduleError,
    SpecError,
)
from einloom_compiler.extents import free_names
from einloom_compiler.ir.traversal import contractions_of, inputs_of
from einloom_compiler.order.search import Optimize, check_optimize

Array = npt.NDArray[Any]


def compile(
    target: str | Expression | Sequence[Expression],
    *operands: Any,
    optimize: Optimize = None,
    threads: int | None = None,
    threads_backend: Backend | None = None,
    schedule: Any = None,
    tune: bool = False,
    ranges: Mapping[str, Any] | None = None,
) -> CompiledFunction:
    """Return a function of arrays that evaluates ``target`` with generated code.

    Args:
        target: an equation (with one operand a term), an expression, a call as text, a JSON
            document of an expression, or a tuple of expressions: the function then returns a tuple
            and computes what they have in common once.
        operands: for an equation: specs, shapes as tuples, or arrays, which become constants.
        optimize: how the order of three and more operands is chosen, as in :func:`einloom.einsum`;
            where None, as the call that made the expression says, and True if it says nothing.
        threads: threads of each call; all available ones for large work where None.
        threads_backend: whose threads: ``pool``, einloom's own, or ``numba``, which spreads the
            parallel loop by ``prange`` as the generated source shows; where None, as the variable
            EINLOOM_THREADS_BACKEND says, and the pool if it says nothing.
        schedule: how kernels are built: an object of :mod:`einloom.schedules`, its text, or a
            sequence with one entry a step (None where the policy chooses); ``f.schedule`` of
            another compiled function can be given as it is.
        tune: whether to choose schedules by measuring them, at the first call of each layout (at
            once where all extents and dtypes are declared); takes seconds, shows a progress bar on
            a terminal, and is remembered in the cache folder for this machine and sizes like these.
            Results change by rounding at most.
        ranges: least and largest value of symbolic extents, ``{"B": (1, 64)}``, None for no bound;
            checked at each call. Fewer orders of contraction are kept for narrower ranges.

    Raises:
        ScheduleError: a schedule is malformed, or not legal for its step (known at the first call
            where extents or dtypes are).
        SubscriptError, ShapeError, DTypeError, SpecError: the target is malformed or does not fit.
        AmbiguousMeaningError: framework releases differ on the call and none was named; a compiled
            function cannot warn at each use.
        ThreadsError: ``threads`` is not a positive integer, or the backend is unknown.

    Example:
        >>> import numpy as np, einloom as el
        >>> f = el.compile("ij,jk->ik", el.spec("M", 3), el.spec(3, "N"))
        >>> f(np.ones((2, 3)), np.ones((3, 4))).shape
        (2, 4)
    """
    return compile_expression(
        _several(target, operands) or expression_of(target, operands),
        optimize=optimize,
        threads=threads,
        threads_backend=threads_backend,
        schedule=schedule,
        tune=tune,
        ranges=ranges,
    )


def _several(target: Any, operands: Sequence[Any]) -> tuple[Expression, ...]:
    """Return the expressions that ``target`` holds; none where it is something else."""
    if not isinstance(target, tuple | list) or not all(isinstance(t, Expression) for t in target):
        return ()
    if operands:
        raise SpecError("expressions bring their own operands; pass none beside them")
    return tuple(target)


def expression_of(target: Any, operands: Sequence[Any]) -> Expression:
    """Return what ``target`` of :func:`compile` means."""
    if isinstance(target, Expression):
        if operands:
            raise SpecError("an expression brings its own operands; pass none beside it")
        return target
    if not isinstance(target, str):
        raise SpecError(
            f"cannot compile {target!r}; give an equation, an expression, or a call as text"
        )
    if not operands:
        from einloom.text.calls import parse

        return parse(target)
    from einloom.expression import spec
    from einloom.frontends.numpy import einsum_expression

    given = []
    for number, operand in enumerate(operands):
        if isinstance(operand, Expression):
            given.append(operand)
        elif isinstance(operand, tuple):
            given.append(spec(operand))
        else:
            given.append(constant(as_numpy(operand), f"constant{number}"))
    return einsum_expression(target, *given)


def check_meaning(expressions: tuple[Expression, ...]) -> None:
    """Refuse what is computed from a call that releases of its framework read differently.

    Raises:
        AmbiguousMeaningError: such a call names no release.
    """
    for each in expressions:
        if each.ambiguity is not None:
            raise AmbiguousMeaningError(
                f"{each.ambiguity.message} A compiled function cannot warn, so name the version."
            )


def compile_expression(
    expression: Expression | tuple[Expression, ...],
    *,
    optimize: Optimize = None,
    threads: int | None = None,
    threads_backend: Backend | None = None,
    schedule: Any = None,
    tune: bool = False,
    ranges: Mapping[str, Any] | None = None,
    inputs: tuple[Expression, ...] | None = None,
) -> CompiledFunction:
    """Return the compiled function of ``expression``; see :func:`compile`.

    ``inputs`` are all that it uses, and perhaps more, in the order of a call's arrays; those that
    it uses, in the order in which it does, where None.
    """
    expressions = (expression,) if isinstance(expression, Expression) else expression
    check_meaning(expressions)
    nodes = [each.node for each in expressions]
    check_names(expressions)
    if optimize is not None:
        for node in contractions_of(*nodes):
            check_optimize(node.einsum, optimize)
    if tune and schedule is not None:
        raise ScheduleError("give either schedule or tune=True: a given schedule is not tuned")
    symbols = (free_names(n) for operand in inputs_of(*nodes) for n in operand.shape)
    choices = Choices(
        ranges=read_ranges(ranges, frozenset().union(*symbols)) if ranges else {},
        schedules=read_schedules(schedule),
        is_tuned=tune,
    )
    return CompiledFunction(
        expression,
        optimize=optimize,
        threads=threads,
        threads_backend=threads_backend,
        choices=choices,
        inputs=inputs,
    )


__all__ = ["CompiledFunction", "compile", "compile_expression", "expression_of"]
