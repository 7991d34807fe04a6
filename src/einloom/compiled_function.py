"""Compiled functions: what ``einloom.compile`` returns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from einloom.expression import Expression, names_of
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.dispatch import settle
from einloom.runtime.choices import Choices
from einloom.runtime.prepared import Evaluation, PreparedCalls, adopted
from einloom.runtime.program import Program
from einloom.runtime.threads import Backend, checked_backend, checked_threads, default_backend
from einloom_compiler.codegen.jit import is_jit_disabled
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import DTypeError, ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import is_known
from einloom_compiler.ir.graph import Input
from einloom_compiler.ir.traversal import inputs_of
from einloom_compiler.order.search import Optimize

if TYPE_CHECKING:
    from einloom.report.graph import GraphReport
    from einloom.report.plan import PlanReport
    from einloom_compiler.ir.graph import Shape
    from einloom_compiler.order.cost import Cost

Array = npt.NDArray[Any]


@adopted
class CompiledFunction(PreparedCalls):
    """A function of arrays, generated for the structure and dtypes of expressions, not their sizes.

    Attributes:
        expressions: what it evaluates, one a result.
    """

    def __init__(
        self,
        expression: Expression | tuple[Expression, ...],
        *,
        optimize: Optimize = None,
        threads: int | None = None,
        threads_backend: Backend | None = None,
        choices: Choices | None = None,
        inputs: tuple[Expression, ...] | None = None,
    ) -> None:
        """Take the expressions; kernels are compiled when first needed, or now to be tuned.

        Args:
            expression: one, or a tuple of them: calls then return a tuple.
            optimize: how orders are chosen.
            threads: threads of each call.
            threads_backend: whose threads.
            choices: what else was settled about kernels.
            inputs: specs in the order of a call's arrays, all that the expressions use and perhaps
                more; in order of first use where None.
        """
        self._is_single = isinstance(expression, Expression)
        self.expressions = (expression,) if isinstance(expression, Expression) else expression
        nodes = [each.node for each in self.expressions]
        self._optimize = self.expressions[0].optimize if optimize is None else optimize
        self._threads = None if threads is None else checked_threads(threads)
        self._backend = (
            default_backend() if threads_backend is None else checked_backend(threads_backend)
        )
        self._choices = choices or Choices()
        self._programs: dict[tuple[str, ...], Program] = {}
        self._default_threads = self._threads or 0
        self._takes_threads = True
        self._given_inputs = inputs
        self._inputs = (
            tuple(Expression(node) for node in inputs_of(*nodes)) if inputs is None else inputs
        )
        self._names = names_of(*(operand.node for operand in self._inputs))
        self._unsettled = any(operand.dtype is None for operand in self._inputs)
        shapes = [operand.shape for operand in self._inputs]
        is_settled = not self._unsettled and all(map(is_known, itertools.chain(*shapes)))
        if is_settled and self._choices.schedules:
            _ = self._report  # binds every step, which checks its schedule
        if is_settled and self._choices.is_tuned and not is_jit_disabled():
            self(*[np.zeros(operand.shape, operand.dtype) for operand in self._inputs])

    @property
    def expression(self) -> Expression:
        """What it evaluates, where that is one expression.

        Raises:
            UnsupportedError: it has several results.
        """
        if not self._is_single:
            raise UnsupportedError(
                "this function has several results; look at each of .expressions, or compile them "
                "apart"
            )
        return self.expressions[0]

    def __call__(self, *arrays: Any, out: Any = None, threads: int | None = None) -> Any:
        """Return the value for ``arrays``, one for each of the expression's inputs.

        Args:
            arrays: of the declared ranks and dtypes; sizes are free where extents are symbolic.
                Tensors of TensorFlow, PyTorch or JAX give a tensor of theirs.
            out: array of the result's shape and dtype to write to; may overlap operands. A tuple of
                them where there are several results.
            threads: threads of this call.

        Raises:
            ShapeError: a rank, an extent or a guard does not fit.
            DTypeError: an array's dtype is not the declared one.
        """
        if threads is None:
            keywords = {} if out is None else {"out": out}
            if (seen := self.replayed(arrays, keywords)) is not None:
                return seen
        operands, given = self._given(arrays)
        program = self._program(given)
        threads = self._threads if threads is None else checked_threads(threads)
        if not self._is_single:
            return self._several(program, operands, given, out, threads)
        if out is not None:
            self._check_out(out, program, given, 0)
        is_apart = out is None or not any(np.may_share_memory(out, array) for array in given)
        result = program.run(given, out if is_apart else None, threads, self._backend)
        if is_apart:
            keywords = {} if out is None else {"out": out}
            evaluation = program.evaluation(given, result)
            self.keep(arrays, keywords, evaluation, result, self._backend)
        if out is None:
            return wrapper_for(operands)(result)
        if not is_apart:
            out[...] = result
        return out

    def _given(self, arrays: Sequence[Any]) -> tuple[Sequence[Any], list[Array]]:
        """Return a call's arrays, one an input, and what NumPy sees of them."""
        if len(arrays) != len(self._inputs):
            names = ", ".join(self._names.values())
            raise SpecError(f"takes {len(self._inputs)} arrays ({names}), but {len(arrays)} given")
        return arrays, [as_numpy(array) for array in arrays]

    def _several(
        self,
        program: Program,
        arrays: Sequence[Any],
        given: Sequence[Array],
        outs: Any,
        threads: int | None,
    ) -> tuple[Any, ...]:
        """Return the results, written to copies of those ``outs`` that overlap something."""
        n_results = len(self.expressions)
        if outs is None:
            outs = (None,) * n_results
        if not isinstance(outs, tuple | list) or len(outs) != n_results:
            raise SpecError(f"out must be a tuple of {n_results} arrays, one a result")
        for number, out in enumerate(outs):
            if out is not None:
                self._check_out(out, program, given, number)
        written: list[Array] = []
        targets: list[Array | None] = []
        for out in outs:
            is_apart = not any(np.may_share_memory(out, a) for a in (*given, *written))
            targets.append(out if out is not None and is_apart else None)
            written += [] if out is None else [out]
        results = program.run_all(given, targets, threads, self._backend)
        if all(out is None for out in outs):
            evaluation = program.evaluation(given, *results)
            self.keep(tuple(arrays), {}, evaluation, results, self._backend)
        wrap = wrapper_for(arrays)
        for out, result in zip(outs, results, strict=True):
            if out is not None and out is not result:
                out[...] = result
        pairs = zip(outs, results, strict=True)
        return tuple(wrap(result) if out is None else out for out, result in pairs)

    def evaluation(self, arrays: Sequence[Array], *results: Array) -> Evaluation:
        """Return how the results were computed."""
        return self._program(arrays).evaluation(arrays, *results)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was compiled from."""
        settled = self._optimize, self._threads, self._backend, self._choices
        expression = self.expressions[0] if self._is_single else self.expressions
        return _compiled, (expression, *settled, self._given_inputs)

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
            settled, dtypes = self._settled(arrays)
            program = Program(
                tuple(each.node for each in settled),
                self._names,
                self._optimize,
                self._choices,
                inputs=tuple(_with_dtype(operand, dtypes) for operand in self._inputs),
            )
            self._programs[key] = program
        return program

    def _settled(
        self, arrays: Sequence[Array]
    ) -> tuple[tuple[Expression, ...], dict[str, AnyDType]]:
        """Return the expressions for the arrays' dtypes, and these by the inputs' names."""
        if not self._unsettled:
            return self.expressions, {}
        dtypes: dict[str, AnyDType] = {}
        for operand, array in zip(self._inputs, arrays, strict=True):
            if operand.dtype is not None and operand.dtype != array.dtype:
                raise DTypeError(
                    f"operand '{operand.name}' has dtype {array.dtype} but was declared as "
                    f"{operand.dtype}, which is never cast to"
                )
            dtypes[operand.node.name] = array.dtype.newbyteorder("=")  # type: ignore[union-attr]
        return settle(self.expressions, dtypes), dtypes

    def _check_out(self, out: Any, program: Program, arrays: Sequence[Array], number: int) -> None:
        if not isinstance(out, np.ndarray):
            raise DTypeError(f"out must be a NumPy array, not {type(out).__name__}")
        shape, dtype = program.output_shapes(arrays)[number], program.dtypes[number]
        if out.shape != shape:
            raise ShapeError(f"out has shape {out.shape}, but the result has shape {shape}")
        if out.dtype != dtype:
            raise DTypeError(f"out has dtype {out.dtype}, but the result has dtype {dtype}")
        if not out.flags.writeable:
            raise ShapeError("out is read-only; pass a writeable array")

    @property
    def inputs(self) -> tuple[Expression, ...]:
        """The operands, in the order of a call's arrays."""
        return self._inputs

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
        """The expression's einsum notation; one a line where there are several."""
        return "\n".join(expression.equation for expression in self.expressions)

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

        return cost_of(tuple(each.node for each in self.expressions), self._optimize)

    @cached_property
    def _report(self) -> PlanReport | GraphReport:
        from einloom.report.plan import report

        return report(self.expressions, self._optimize, choices=self._choices)

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

    def plan_for(self, *shapes: tuple[int, ...]) -> PlanReport | GraphReport:
        """Return the order chosen for operands of these shapes, with ``flops`` and ``seconds``.

        Where extents are symbolic, it is the one that a call picks at these sizes.

        Raises:
            ShapeError: the shapes do not fit the expression.
        """
        from einloom.report.plan import report

        return report(self.expressions, self._optimize, shapes, self._choices)

    def explain(self) -> str:
        """Return notation, shapes, formula, cost, order, and the plan for this machine as text."""
        from einloom.report.explain import explain
        from einloom_compiler.schedule.machine import host

        parts = [explain(each, optimize=self._optimize) for each in self.expressions]
        for title, body in (("plan", self.plan), ("machine", str(host()))):
            parts.append("\n".join([title, *(f"  {line}" for line in body.splitlines())]))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        """Print as ``<einloom ij,jk->ik of (x, y)>``."""
        shown = " and ".join(self.equation.splitlines())
        return f"<einloom {shown} of ({', '.join(self._names.values())})>"


def _with_dtype(operand: Expression, dtypes: Mapping[str, AnyDType]) -> Input:
    node = operand.node
    assert isinstance(node, Input)
    return replace(node, dtype=dtypes.get(node.name, node.dtype))


def _compiled(
    expression: Expression | tuple[Expression, ...],
    optimize: Optimize,
    threads: int | None,
    backend: Backend,
    choices: Choices,
    inputs: tuple[Expression, ...] | None,
) -> CompiledFunction:
    """Return a compiled function from what it pickles as."""
    return CompiledFunction(
        expression,
        optimize=optimize,
        threads=threads,
        threads_backend=backend,
        choices=choices,
        inputs=inputs,
    )
