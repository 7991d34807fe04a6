"""Compiled functions: ``einloom.compile`` and what it returns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from einloom.expression import Expression, constant
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.dispatch import settle
from einloom.runtime.choices import Choices, read_ranges, read_schedules
from einloom.runtime.prepared import Evaluation, PreparedCalls, adopted
from einloom.runtime.program import Program
from einloom.runtime.threads import Backend, checked_backend, checked_threads, default_backend
from einloom_compiler.codegen.jit import is_jit_disabled
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import (
    AmbiguousMeaningError,
    DTypeError,
    ScheduleError,
    ShapeError,
    SpecError,
)
from einloom_compiler.extents import free_names, is_known
from einloom_compiler.ir.graph import contractions_of
from einloom_compiler.order.search import Optimize, check_optimize

if TYPE_CHECKING:
    from einloom.report.plan import PlanReport
    from einloom_compiler.ir.graph import Shape
    from einloom_compiler.order.cost import Cost

Array = npt.NDArray[Any]


def compile(
    target: str | Expression,
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
        target: an equation (with one operand a term), an expression, a call as text, or a JSON
            document of an expression.
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
        expression_of(target, operands),
        optimize=optimize,
        threads=threads,
        threads_backend=threads_backend,
        schedule=schedule,
        tune=tune,
        ranges=ranges,
    )


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


def compile_expression(
    expression: Expression,
    *,
    optimize: Optimize = None,
    threads: int | None = None,
    threads_backend: Backend | None = None,
    schedule: Any = None,
    tune: bool = False,
    ranges: Mapping[str, Any] | None = None,
) -> CompiledFunction:
    """Return the compiled function of ``expression``; see :func:`compile`."""
    if expression.ambiguity is not None:
        raise AmbiguousMeaningError(
            f"{expression.ambiguity.message} A compiled function cannot warn, so name the version."
        )
    if optimize is not None:
        for node in contractions_of(expression.node):
            check_optimize(node.einsum, optimize)
    if tune and schedule is not None:
        raise ScheduleError("give either schedule or tune=True: a given schedule is not tuned")
    symbols = (free_names(n) for operand in expression.inputs for n in operand.shape)
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
    )


@adopted
class CompiledFunction(PreparedCalls):
    """A function of arrays, generated for an expression's structure and dtypes, not its sizes.

    Attributes:
        expression: what it evaluates.
    """

    def __init__(
        self,
        expression: Expression,
        *,
        optimize: Optimize = None,
        threads: int | None = None,
        threads_backend: Backend | None = None,
        choices: Choices | None = None,
    ) -> None:
        """Take the expression; kernels are compiled when first needed, or now to be tuned."""
        self.expression = expression
        self._optimize = expression.optimize if optimize is None else optimize
        self._threads = None if threads is None else checked_threads(threads)
        self._backend = (
            default_backend() if threads_backend is None else checked_backend(threads_backend)
        )
        self._choices = choices or Choices()
        self._programs: dict[tuple[str, ...], Program] = {}
        self._default_threads = self._threads or 0
        self._takes_threads = True
        self._inputs = expression.inputs
        self._names = expression.operand_names
        self._unsettled = any(operand.dtype is None for operand in self._inputs)
        shapes = [operand.shape for operand in self._inputs]
        is_settled = not self._unsettled and all(map(is_known, itertools.chain(*shapes)))
        if is_settled and self._choices.schedules:
            _ = self._report  # binds every step, which checks its schedule
        if is_settled and self._choices.is_tuned and not is_jit_disabled():
            self(*[np.zeros(operand.shape, operand.dtype) for operand in self._inputs])

    def __call__(self, *arrays: Any, out: Array | None = None, threads: int | None = None) -> Any:
        """Return the value for ``arrays``, one for each of the expression's inputs.

        Args:
            arrays: of the declared ranks and dtypes; sizes are free where extents are symbolic.
                Tensors of TensorFlow, PyTorch or JAX give a tensor of theirs.
            out: array of the result's shape and dtype to write to; may overlap operands.
            threads: threads of this call.

        Raises:
            ShapeError: a rank, an extent or a guard does not fit.
            DTypeError: an array's dtype is not the declared one.
        """
        if threads is None:
            keywords = {} if out is None else {"out": out}
            if (seen := self.replayed(arrays, keywords)) is not None:
                return seen
        if len(arrays) != len(self._inputs):
            names = ", ".join(self._names.values())
            raise SpecError(f"takes {len(self._inputs)} arrays ({names}), but {len(arrays)} given")
        given = [as_numpy(array) for array in arrays]
        program = self._program(given)
        threads = self._threads if threads is None else checked_threads(threads)
        if out is not None:
            self._check_out(out, program, given)
        is_apart = out is None or not any(np.may_share_memory(out, array) for array in given)
        result = program.run(given, out if is_apart else None, threads, self._backend)
        if is_apart:
            keywords = {} if out is None else {"out": out}
            evaluation = program.evaluation(given, result)
            self.keep(arrays, keywords, evaluation, result, self._backend)
        if out is None:
            return wrapper_for(arrays)(result)
        if not is_apart:
            out[...] = result
        return out

    def evaluation(self, arrays: Sequence[Array], result: Array) -> Evaluation:
        """Return how ``result`` was computed."""
        return self._program(arrays).evaluation(arrays, result)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was compiled from."""
        settled = self._optimize, self._threads, self._backend, self._choices
        return _compiled, (self.expression, *settled)

    def _program(self, arrays: Sequence[Array]) -> Program:
        key = tuple(array.dtype.str for array in arrays) if self._unsettled else ()
        if not self._unsettled:
            for operand, array in zip(self._inputs, arrays, strict=True):
                if operand.dtype != array.dtype and operand.dtype != array.dtype.newbyteorder("="):
                    name = self._names[operand.node.name]  # type: ignore[union-attr]
                    raise DTypeError(
                        f"operand '{name}' has dtype {array.dtype} but was declared as "
                        f"{operand.dtype}, which is never cast to; pass "
                        f"{name}.astype('{operand.dtype}'), or declare no dtype"
                    )
        program = self._programs.get(key)
        if program is None:
            program = Program(
                self._settled(arrays).node, self._names, self._optimize, self._choices
            )
            self._programs[key] = program
        return program

    def _settled(self, arrays: Sequence[Array]) -> Expression:
        if not self._unsettled:
            return self.expression
        dtypes: dict[str, AnyDType] = {}
        for operand, array in zip(self._inputs, arrays, strict=True):
            if operand.dtype is not None and operand.dtype != array.dtype:
                raise DTypeError(
                    f"operand '{operand.name}' has dtype {array.dtype} but was declared as "
                    f"{operand.dtype}, which is never cast to"
                )
            dtypes[operand.node.name] = array.dtype.newbyteorder("=")  # type: ignore[union-attr]
        return settle(self.expression, dtypes)

    def _check_out(self, out: Any, program: Program, arrays: Sequence[Array]) -> None:
        if not isinstance(out, np.ndarray):
            raise DTypeError(f"out must be a NumPy array, not {type(out).__name__}")
        shape = program.output_shape(arrays)
        if out.shape != shape:
            raise ShapeError(f"out has shape {out.shape}, but the result has shape {shape}")
        if out.dtype != program.dtype:
            raise DTypeError(f"out has dtype {out.dtype}, but the result has dtype {program.dtype}")
        if not out.flags.writeable:
            raise ShapeError("out is read-only; pass a writeable array")

    @property
    def optimize(self) -> Optimize:
        """How orders of contraction are chosen."""
        return self._optimize

    @property
    def choices(self) -> Choices:
        """What else was settled: ranges and schedules."""
        return self._choices

    @property
    def equation(self) -> str:
        """The expression's einsum notation."""
        return self.expression.equation

    @property
    def output_shape(self) -> Shape:
        """The result's shape, symbolic where operands are."""
        return self.expression.shape

    @property
    def dtype(self) -> AnyDType | None:
        """The result's dtype, None where it follows each call's arrays."""
        return self.expression.dtype

    @property
    def cost(self) -> Cost:
        """FLOPs, bytes and intensity of the order that is chosen."""
        from einloom.report.cost import cost_of

        return cost_of(self.expression, self._optimize)

    @cached_property
    def _report(self) -> PlanReport:
        from einloom.report.plan import report

        return report(self.expression, self._optimize, choices=self._choices)

    @property
    def plan(self) -> str:
        """Each step: einsum, extents, FLOPs, predicted time on one thread and family of kernels.

        Times are predicted at representative sizes for symbolic extents.
        """
        return self._report.table

    @property
    def schedule(self) -> str:
        """The schedule of each step, one a line, as ``schedule=`` of :func:`compile` takes it."""
        return self._report.schedule

    @property
    def source(self) -> str:
        """The generated program: kernels, their parallel launchers, and ``run``, its reference.

        It imports only numpy and numba, and gives the same results un-jitted
        (``NUMBA_DISABLE_JIT=1``). Shown for operands in C order and, where no dtype was declared,
        for float32.
        """
        return self._report.source

    @property
    def llvm(self) -> str:
        """LLVM IR of the kernels in :attr:`source`, optimised."""
        return self._report.llvm

    @property
    def asm(self) -> str:
        """Assembly of the kernels in :attr:`source`."""
        return self._report.asm

    def plan_for(self, *shapes: tuple[int, ...]) -> PlanReport:
        """Return the order chosen for operands of these shapes, with ``flops`` and ``seconds``.

        Where extents are symbolic, it is the one that a call picks at these sizes.

        Raises:
            ShapeError: the shapes do not fit the expression.
        """
        from einloom.report.plan import report

        return report(self.expression, self._optimize, shapes, self._choices)

    def explain(self) -> str:
        """Return notation, shapes, formula, cost, order, and the plan for this machine as text."""
        from einloom.report.explain import explain
        from einloom_compiler.schedule.machine import host

        parts = [explain(self.expression, optimize=self._optimize)]
        for title, body in (("plan", self.plan), ("machine", str(host()))):
            parts.append("\n".join([title, *(f"  {line}" for line in body.splitlines())]))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        """Print as ``<einloom ij,jk->ik of (x, y)>``."""
        return f"<einloom {self.equation} of ({', '.join(self._names.values())})>"


def _compiled(
    expression: Expression,
    optimize: Optimize,
    threads: int | None,
    backend: Backend,
    choices: Choices,
) -> CompiledFunction:
    """Return a compiled function from what it pickles as."""
    return CompiledFunction(
        expression,
        optimize=optimize,
        threads=threads,
        threads_backend=backend,
        choices=choices,
    )
