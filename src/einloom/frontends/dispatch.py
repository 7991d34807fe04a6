"""Make one symbolic builder serve both kinds of callers: specs in, arrays in.

A front-end function is written once, over expressions. Given specs it returns an expression; given
arrays it builds the expression for their shapes and dtypes (kept for the next call), compiles it
and runs it.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from einloom.expression import Ambiguity, Call, Expression, constant, spec
from einloom.frontends.arrays import Wrap, as_numpy, wrapper_for
from einloom.runtime.prepared import Evaluation, PreparedFunction
from einloom.runtime.stores import keep
from einloom_compiler.errors import (
    CastingError,
    DTypeError,
    SemanticsWarning,
    ShapeError,
    SpecError,
)

Function = TypeVar("Function", bound=Callable[..., Any])
Convert = Callable[[Sequence[Any]], Sequence[Any]]

#: Every front-end function by its registered name.
REGISTRY: dict[str, Callable[..., Any]] = {}

_KEPT_PROGRAMS = 1024
#: Frames of files below it are einloom's own.
_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def frontend(
    name: str,
    operands: tuple[str, ...],
    *,
    convert: Convert | None = None,
    finish: Wrap | None = None,
    keeps_numbers: bool = False,
) -> Callable[[Function], Function]:
    """Decorate a builder of expressions, so that it also takes arrays, and register it.

    The builder gets every operand as an expression and all else as given; it may set ``ambiguity``
    on its result. It raises an :class:`~einloom.EinloomError` for anything it does not accept. Two
    parameters of it are taken care of here where it has them: ``out``, an array that the result is
    written to, which it never sees; and ``optimize``, by which the result is compiled.

    Args:
        name: registered name, such as ``keras.backend.dot``.
        operands: parameters that are tensors; ``*name`` for one that holds several, var-positional
            or a sequence.
        convert: what the framework makes of operands that are no tensors of it, for example lists.
        finish: what a NumPy result becomes; frameworks' own tensors are not touched.
        keeps_numbers: whether the builder gets Python numbers, and None for an operand that is not
            given, as they are, where another operand is a tensor: NumPy's "weak" numbers, which
            have no dtype of their own.
    """

    def decorate(build: Function) -> Function:
        evaluated = _Evaluated(name, build, operands, convert, finish, keeps_numbers)
        function = PreparedFunction(build, evaluated)
        REGISTRY[name] = function
        return cast("Function", function)

    return decorate


class _Evaluated:
    """Calls of a builder, with expressions or arrays; see :func:`frontend`."""

    def __init__(
        self,
        name: str,
        build: Callable[..., Any],
        operands: tuple[str, ...],
        convert: Convert | None,
        finish: Wrap | None,
        keeps_numbers: bool,
    ) -> None:
        self._name, self._build = name, build
        self._convert, self._finish, self._keeps_numbers = convert, finish, keeps_numbers
        self._single = [operand for operand in operands if not operand.startswith("*")]
        self._variadic = [operand[1:] for operand in operands if operand.startswith("*")]
        self._signature = inspect.signature(build)
        # A kept call tells operands by their positions.
        named = (*self._single, *self._variadic)
        in_order = tuple(each for each in self._signature.parameters if each in named)
        assert in_order == named, f"{name}: operands in the order of parameters"
        self._programs: dict[Hashable, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Evaluation | None]:
        """Return the result, and how it was computed where such calls may be repeated so."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._build.__name__.lstrip('_')}() {error}") from None
        bound.apply_defaults()
        arguments = bound.arguments
        out = arguments.pop("out", None)
        values = [arguments[operand] for operand in self._single]
        for operand in self._variadic:
            arguments[operand] = tuple(arguments[operand])
            values.extend(arguments[operand])
        given = values if self._convert is None else self._convert(values)
        numbers = _numbers(given) if self._keeps_numbers else ()
        if any(isinstance(value, Expression) for value in given):
            if out is not None:
                raise SpecError("out= needs arrays; pass it to the compiled function instead")
            return self._expression(bound, given, numbers), None
        arrays = [as_numpy(v) for number, v in enumerate(given) if number not in numbers]
        program = self._program(bound, given, arrays, numbers)
        ambiguity: Ambiguity | None = program.expression.ambiguity
        is_repeatable = ambiguity is None  # the warning is issued each time
        if ambiguity is not None:
            warn(ambiguity)
        if out is None:
            raw = program(*arrays)
            result = wrapper_for(values, self._finish)(raw)
        else:
            result = raw = _run_into(out, program, arrays)
            is_repeatable &= out.dtype == program.dtype
        return result, program.evaluation(arrays, raw) if is_repeatable else None

    def _expression(
        self, bound: inspect.BoundArguments, given: Sequence[Any], numbers: Sequence[int]
    ) -> Expression:
        """Return what is built of expressions, and arrays beside them as constants."""
        names = [*self._single, *["constant"] * (len(given) - len(self._single))]
        operands = (
            value if number in numbers else _as_expression(value, name)
            for number, (value, name) in enumerate(zip(given, names, strict=True))
        )
        return self._built(bound, operands)

    def _program(
        self,
        bound: inspect.BoundArguments,
        given: Sequence[Any],
        arrays: list[np.ndarray[Any, Any]],
        numbers: Sequence[int],
    ) -> Any:
        """Return the compiled function for arrays of these shapes and dtypes, kept for later."""
        operands = (*self._single, *self._variadic)
        key = (
            tuple((array.shape, array.dtype) for array in arrays),
            tuple((number, _frozen(given[number])) for number in numbers),
            tuple(_frozen(v) for k, v in bound.arguments.items() if k not in operands),
        )
        program = self._programs.get(key)
        if program is None:
            from einloom.compiled import CompiledFunction

            specs = _specs(given, arrays, numbers, self._single)
            program = CompiledFunction(
                self._built(bound, specs),
                inputs=tuple(each for n, each in enumerate(specs) if n not in numbers),
            )
            keep(self._programs, key, program, _KEPT_PROGRAMS)
        return program

    def _built(self, bound: inspect.BoundArguments, operands: Iterable[Any]) -> Expression:
        """Return what is built of ``operands`` in place of those that were given."""
        _assign(bound.arguments, operands, self._single, self._variadic)
        return _recorded(self._build(*bound.args, **bound.kwargs), self._name, bound.arguments)


def _assign(
    arguments: dict[str, Any], items: Iterable[Any], single: list[str], variadic: list[str]
) -> None:
    """Replace the operands among ``arguments`` by ``items``, in order."""
    rest = iter(items)
    for operand in single:
        arguments[operand] = next(rest)
    for operand in variadic:
        arguments[operand] = tuple(itertools.islice(rest, len(arguments[operand])))


def _run_into(out: Any, program: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Write the program's result to ``out``, cast within its kind as NumPy's ufuncs do."""
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"out must be a NumPy array, not {type(out).__name__}")
    if out.dtype == program.dtype:
        return program(*arrays, out=out)
    if not np.can_cast(program.dtype, out.dtype, "same_kind"):
        raise CastingError(
            f"the result of dtype {program.dtype} cannot be cast to out's dtype {out.dtype} "
            f"according to the rule 'same_kind'; pass out of dtype {program.dtype}"
        )
    if out.shape != program.output_shape:
        raise ShapeError(
            f"out has shape {out.shape}, but the result has shape {program.output_shape}"
        )
    if not out.flags.writeable:
        raise ShapeError("out is read-only; pass a writeable array")
    out[...] = program(*arrays)
    return out


def warn(ambiguity: Ambiguity) -> None:
    """Issue a :class:`SemanticsWarning` at the line of the caller outside einloom."""
    depth = 2  # the frame that called this function, as ``stacklevel`` counts
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth += 1
        if frame.f_back is None:
            break
        frame = frame.f_back
    warnings.warn(ambiguity.message, SemanticsWarning, stacklevel=depth)


def _as_expression(value: Any, name: str = "constant") -> Expression:
    if isinstance(value, Expression):
        return value
    array = as_numpy(value)
    if array.dtype.kind in "OUSmM":
        raise DTypeError(
            f"operand {name} beside symbolic ones must be numbers, not {value!r} of dtype "
            f"{array.dtype}"
        )
    return constant(array, name)


def _numbers(values: Sequence[Any]) -> tuple[int, ...]:
    """Return the positions of Python numbers and None; none where there is nothing else."""
    plain = (bool, int, float, complex, type(None))
    found = tuple(n for n, value in enumerate(values) if type(value) in plain)
    return found if len(found) < len(values) else ()


def _specs(
    given: Sequence[Any],
    arrays: list[np.ndarray[Any, Any]],
    numbers: Sequence[int],
    single: list[str],
) -> list[Any]:
    """Return an operand for each array, and numbers as they are."""
    names = [*single, *(f"x{number}" for number in range(len(given) - len(single)))]
    rest = iter(arrays)
    found: list[Any] = []
    for number, (value, name) in enumerate(zip(given, names, strict=True)):
        if number in numbers:
            found.append(value)
        else:
            array = next(rest)
            found.append(spec(array.shape, dtype=array.dtype, name=name))
    return found


def _recorded(result: Expression, name: str, arguments: Mapping[str, Any]) -> Expression:
    """Return ``result`` with its call; an operand's ambiguity is the result's too."""
    ambiguity = result.ambiguity
    for value in arguments.values():
        for operand in value if isinstance(value, tuple) else (value,):
            if ambiguity is None and isinstance(operand, Expression):
                ambiguity = operand.ambiguity
    return Expression(
        result.node, Call(name, {key: _plain(value) for key, value in arguments.items()}), ambiguity
    )


def _plain(value: Any) -> Any:
    """Return an argument that is no operand as plain data: axes given as a tensor become lists."""
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if hasattr(value, "as_numpy_dtype"):
        return np.dtype(value.as_numpy_dtype)
    if hasattr(value, "numpy"):
        value = value.numpy()
    return value.tolist() if isinstance(value, np.ndarray) else value


def _frozen(value: Any) -> Hashable:
    """Return a hashable stand-in of a plain argument: lists become tuples."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_frozen, value))
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return ("array", value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return ("float", value.hex())  # tells -0.0 from 0.0, and NaN is itself
    try:
        hash(value)
    except TypeError:
        return ("value", repr(value))
    return (type(value).__name__, value)


def settle(
    expressions: tuple[Expression, ...], dtypes: Mapping[str, Any]
) -> tuple[Expression, ...]:
    """Return the expressions built again with the inputs called so having these dtypes."""
    done: dict[int, Expression] = {}

    def rebuild(part: Any) -> Any:
        if isinstance(part, tuple | list):
            return type(part)(rebuild(item) for item in part)
        if not isinstance(part, Expression):
            return part
        if id(part) not in done:
            if part.call is None:
                done[id(part)] = _with_dtype(part, dtypes)
            else:
                done[id(part)] = call(
                    part.call.function, {k: rebuild(v) for k, v in part.call.arguments.items()}
                )
        return done[id(part)]

    return tuple(rebuild(expression) for expression in expressions)


def _with_dtype(part: Expression, dtypes: Mapping[str, Any]) -> Expression:
    from einloom_compiler.ir.graph import Input

    if isinstance(part.node, Input) and part.node.dtype is None:
        return Expression(Input(part.node.name, part.node.shape, dtypes[part.node.name]))
    return part


def call(name: str, arguments: Mapping[str, Any]) -> Expression:
    """Call a registered front-end function with arguments by parameter name."""
    function = REGISTRY[name]
    parameters = inspect.signature(function).parameters
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for key, parameter in parameters.items():
        if key not in arguments:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(arguments[key])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[key] = arguments[key]
        else:
            args.append(arguments[key])
    result = function(*args, **kwargs)
    assert isinstance(result, Expression)
    return result
