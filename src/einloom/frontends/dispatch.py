"""Make one symbolic builder serve both kinds of callers: specs in, arrays in.

A front-end function is written once, over expressions. Given specs it returns an expression; given
arrays it builds the expression for their shapes and dtypes (kept for the next call), compiles it
and runs it.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from einloom.expression import Ambiguity, Call, Expression, constant, spec
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom_compiler.errors import SemanticsWarning

Function = TypeVar("Function", bound=Callable[..., Any])

#: Every front-end function by its registered name.
REGISTRY: dict[str, Callable[..., Any]] = {}

_KEPT_PROGRAMS = 1024
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def frontend(name: str, operands: tuple[str, ...]) -> Callable[[Function], Function]:
    """Decorate a builder of expressions, so that it also takes arrays, and register it.

    The builder gets every operand as an expression and all else as given; it may set ``ambiguity``
    on its result. It raises an :class:`~einloom.EinloomError` for anything it does not accept.

    Args:
        name: registered name, such as ``keras.backend.dot``.
        operands: parameters that are tensors; ``*name`` for a var-positional one.
    """
    variadic = {operand[1:] for operand in operands if operand.startswith("*")}
    single = [operand for operand in operands if not operand.startswith("*")]

    def decorate(build: Function) -> Function:
        signature = inspect.signature(build)
        programs: dict[Hashable, Any] = {}

        @functools.wraps(build)
        def function(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments
            values = [arguments[operand] for operand in single]
            for operand in variadic:
                values.extend(arguments[operand])
            if any(isinstance(value, Expression) for value in values):
                for operand in single:
                    arguments[operand] = _as_expression(arguments[operand], operand)
                for operand in variadic:
                    arguments[operand] = tuple(map(_as_expression, arguments[operand]))
                result = build(*bound.args, **bound.kwargs)
                return _recorded(result, name, arguments)
            arrays = [as_numpy(value) for value in values]
            others = {k: v for k, v in arguments.items() if k not in single and k not in variadic}
            key = (
                tuple((array.shape, array.dtype) for array in arrays),
                tuple(_frozen(value) for value in others.values()),
            )
            program = programs.get(key)
            if program is None:
                specs = iter(_specs(arrays, single, variadic))
                for operand in single:
                    arguments[operand] = next(specs)
                for operand in variadic:
                    arguments[operand] = tuple(specs)
                expression = build(*bound.args, **bound.kwargs)
                from einloom.compiled import CompiledFunction

                program = CompiledFunction(_recorded(expression, name, arguments))
                if len(programs) >= _KEPT_PROGRAMS:
                    programs.pop(next(iter(programs)), None)
                programs[key] = program
            if program.expression.ambiguity is not None:
                warn(program.expression.ambiguity)
            return wrapper_for(values)(program(*arrays))

        REGISTRY[name] = function
        function.einloom_name = name  # type: ignore[attr-defined]
        return cast("Function", function)

    return decorate


def warn(ambiguity: Ambiguity) -> None:
    """Issue a :class:`SemanticsWarning` at the line of the caller outside einloom."""
    depth = 1
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth += 1
        if frame.f_back is None:
            break
        frame = frame.f_back
    warnings.warn(ambiguity.message, SemanticsWarning, stacklevel=depth)


def _as_expression(value: Any, name: str = "constant") -> Expression:
    return value if isinstance(value, Expression) else constant(as_numpy(value), name)


def _specs(
    arrays: list[np.ndarray[Any, Any]], single: list[str], variadic: set[str]
) -> list[Expression]:
    names = [*single, *(f"x{number}" for number in range(len(arrays) - len(single)))]
    return [
        spec(array.shape, dtype=array.dtype, name=name)
        for array, name in zip(arrays, names, strict=True)
    ]


def _recorded(result: Expression, name: str, arguments: Mapping[str, Any]) -> Expression:
    return Expression(result.node, Call(name, dict(arguments)), result.ambiguity)


def _frozen(value: Any) -> Hashable:
    """Return a hashable stand-in of a plain argument: lists become tuples."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_frozen, value))
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return ("array", value.shape, value.dtype.str, value.tobytes())
    try:
        hash(value)
    except TypeError:
        return ("value", repr(value))
    return (type(value).__name__, value)


def settle(expression: Expression, dtypes: Mapping[str, Any]) -> Expression:
    """Return the expression built again with the inputs called so having these dtypes."""
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

    rebuilt = rebuild(expression)
    assert isinstance(rebuilt, Expression)
    return rebuilt


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
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(arguments[key])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[key] = arguments[key]
        else:
            args.append(arguments[key])
    result = function(*args, **kwargs)
    assert isinstance(result, Expression)
    return result
