"""Whole functions as expressions: ``einloom.trace`` and ``einloom.jit``.

A Python function of einloom calls, operators and NumPy's functions is run once on symbolic
operands; what it returns is a graph, which is compiled as one. Arguments and results may be nested
in tuples, lists and dicts. Arguments that are no arrays are part of what is traced.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

import numpy as np

from einloom.compiled import CompiledFunction, check_meaning, compile_expression
from einloom.expression import Expression, constant, spec
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.runtime.prepared import Evaluation, PreparedFunction
from einloom.runtime.stores import keep
from einloom_compiler.errors import EinloomError, SpecError
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.traversal import at_sizes, inputs_of
from einloom_compiler.order.search import Optimize

_KEPT_PROGRAMS = 1024
Shapes: TypeAlias = tuple[tuple[int, ...], ...]
#: Shapes with names in place of the extents that are symbolic.
MixedShapes: TypeAlias = tuple[tuple[int | str, ...], ...]
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.dtype)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what a function computes from symbolic operands, as expressions.

    Args:
        function: any function of einloom calls and operators.
        args: specs, or what else it takes.
        kwargs: by name.

    Returns:
        An expression, or what the function nests them in; arrays that do not depend on the operands
        become constants.

    Raises:
        SpecError: it returns something that is neither.

    Example:
        >>> import einloom as el
        >>> str(el.trace(lambda x, w: el.relu(x @ w), el.spec("B", 4), el.spec(4, 8)))
        'ij,jk->ik: any dtype[B, 8]'
    """
    return _mapped(function(*args, **kwargs), _as_result)


@overload
def jit(function: Callable[..., Any], /) -> Jit: ...


@overload
def jit(
    *, optimize: Optimize = None, threads: int | None = None
) -> Callable[[Callable[..., Any]], Jit]: ...


def jit(
    function: Callable[..., Any] | None = None,
    /,
    *,
    optimize: Optimize = None,
    threads: int | None = None,
) -> Any:
    """Decorate a function of einloom calls: it is traced, merged and compiled as one.

    Called with arrays it runs, with symbolic operands it returns expressions. It is traced for each
    structure of its arguments, shape, dtype, and value of arguments that are no arrays; all sizes
    share one compiled program with symbolic extents, but those at which the function is another.
    NumPy's scalars keep their dtype beside arrays, as in NumPy 2: ``x / np.sqrt(d)`` is float64,
    ``x / d**0.5`` has the dtype of x.

    Args:
        function: what is traced; it must not depend on the values of arrays.
        optimize: how orders are chosen, as in :func:`einloom.compile`.
        threads: threads of each call.

    Raises:
        AmbiguousMeaningError: at a call, releases of a framework differ on a call within the
            function, and none was named.

    Example:
        >>> import numpy as np, einloom as el
        >>> @el.jit
        ... def layer(x, w, b):
        ...     return el.relu(x @ w + b)
        >>> layer(np.ones((2, 3)), np.ones((3, 4)), -np.ones(4)).shape
        (2, 4)
    """
    if function is None:
        return functools.partial(Jit, optimize=optimize, threads=threads)
    return Jit(function, optimize=optimize, threads=threads)


@dataclass(frozen=True, slots=True)
class _Traced:
    """A traced and compiled call.

    Attributes:
        run: of the call's arrays, in order; returns a tuple.
        result: nested as the function's, numbers standing for results.
        outputs: their graphs.
        shapes: of the arrays; extents by name where they are symbolic.
    """

    run: CompiledFunction
    result: Any
    outputs: tuple[Node, ...]
    shapes: MixedShapes

    def is_at(self, shapes: Shapes, exact: _Traced) -> bool:
        """Say whether this is ``exact``, which was traced for these shapes, at their sizes."""
        sizes: dict[str, int] = {}
        for own, shape in zip(self.shapes, shapes, strict=True):
            for extent, size in zip(own, shape, strict=True):
                if isinstance(extent, str):
                    sizes[extent] = size
                elif extent != size:
                    return False
        try:
            outputs = tuple(at_sizes(node, sizes) for node in self.outputs)
        except (EinloomError, ValueError, ArithmeticError):
            return False
        return outputs == exact.outputs and self.result == exact.result


@dataclass(slots=True)
class _Known:
    """What is known of a structure of arguments.

    Attributes:
        first: the shapes that no shared program served, and that others are compared with.
        shared: programs of symbolic extents, each right for some shapes.
        tried: shapes with symbols that the function was traced for.
    """

    first: Shapes
    shared: list[_Traced] = field(default_factory=list)
    tried: set[MixedShapes] = field(default_factory=set)


class Jit(PreparedFunction):
    """What :func:`jit` returns."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        optimize: Optimize = None,
        threads: int | None = None,
    ) -> None:
        """Take the function; it is traced when it is first called."""
        super().__init__(function, self._evaluated)
        self._function = function
        self._signature = inspect.signature(function)
        self._optimize, self._threads = optimize, threads
        self._default_threads = threads or 0
        self._programs: dict[Hashable, _Traced] = {}
        self._known: dict[Hashable, _Known] = {}

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """Return the expressions that the function computes; see :func:`einloom.trace`."""
        return trace(self._function, *args, **kwargs)

    def compile(
        self, *args: Any, ranges: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> CompiledFunction:
        """Return the compiled function of what these symbolic operands give.

        It takes an array for each operand, in the order of the function's parameters; results are
        in a row.

        Args:
            args: symbolic operands, and what else the function takes.
            ranges: what symbols can be, as in :func:`einloom.compile`.
            kwargs: by name.
        """
        return self.compile_traced(self.trace(*args, **kwargs), args, kwargs, ranges)

    def compile_traced(
        self,
        traced: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ranges: Mapping[str, Any] | None = None,
    ) -> CompiledFunction:
        """Return the compiled function of what :meth:`trace` returned for these arguments."""
        found = [leaf for _, leaf in leaves_of(traced)]
        given = self._signature.bind(*args, **kwargs).arguments
        operands = [leaf.node for _, leaf in leaves_of(given) if isinstance(leaf, Expression)]
        used = inputs_of(*(leaf.node for leaf in found))
        inputs = dict.fromkeys((*inputs_of(*operands), *used))
        return compile_expression(
            tuple(found) if len(found) > 1 else found[0],
            optimize=self._optimize,
            threads=self._threads,
            ranges=ranges,
            inputs=tuple(map(Expression, inputs)),
        )

    def _evaluated(self, *args: Any, **kwargs: Any) -> tuple[Any, Evaluation | None]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._function.__name__}() {error}") from None
        if any(isinstance(leaf, Expression) for _, leaf in leaves_of((args, kwargs))):
            return self.trace(*args, **kwargs), None
        given: list[Any] = []
        names: list[str] = []
        key = _key(dict(bound.arguments), given, names, "")
        if not given:
            return self._function(*args, **kwargs), None
        arrays = [as_numpy(value) for value in given]
        traced = self._traced(key, bound, names, arrays)
        results = traced.run(*arrays)
        wrap = wrapper_for(given)
        if traced.result == 0 and type(traced.result) is int:
            return wrap(results), traced.run.evaluation(arrays, results)
        listed = results if isinstance(results, tuple) else (results,)
        evaluation = traced.run.evaluation(arrays, *listed)
        if traced.result != tuple(range(len(listed))):
            finish = functools.partial(_arranged, traced.result)
            evaluation = replace(evaluation, finish=finish)
        return _arranged(traced.result, [wrap(result) for result in listed]), evaluation

    def _traced(
        self,
        key: Hashable,
        bound: inspect.BoundArguments,
        names: Sequence[str],
        arrays: Sequence[np.ndarray[Any, Any]],
    ) -> _Traced:
        """Return the program for these arrays: a symbolic one, or one of their shapes.

        A function may branch on a shape without anybody noticing (``x.shape[0] == 3`` of a symbol
        is false), so that a symbolic program serves only shapes at which it was found to be what
        the function is traced to.
        """
        shapes = tuple(array.shape for array in arrays)
        dtypes = tuple(array.dtype.newbyteorder("=") for array in arrays)
        # An extent of 1 broadcasts, so that it is no other extent.
        ones = tuple(tuple(extent == 1 for extent in shape) for shape in shapes)
        structure = (key, dtypes, ones)
        found = self._programs.get((structure, shapes))
        if found is None:
            exact = self._trace(bound, names, shapes, dtypes)
            known = self._known.get(structure)
            if known is None:
                known = keep(self._known, structure, _Known(shapes), _KEPT_PROGRAMS)
            found = self._shared(known, bound, names, shapes, dtypes, exact) or exact
            keep(self._programs, (structure, shapes), found, _KEPT_PROGRAMS)
        return found

    def _shared(
        self,
        known: _Known,
        bound: inspect.BoundArguments,
        names: Sequence[str],
        shapes: Shapes,
        dtypes: Sequence[Any],
        exact: _Traced,
    ) -> _Traced | None:
        """Return a program of symbolic extents that is ``exact`` at these sizes, if there is one.

        Where a function computes with sizes what symbols cannot (``1 / np.sqrt(x.shape[-1])``), the
        axes that have had one extent so far keep it.
        """
        for program in known.shared:
            if program.is_at(shapes, exact):
                return program
        if shapes == known.first:
            return None
        axes = {(n, axis) for n, shape in enumerate(shapes) for axis in range(len(shape))}
        varied = {(n, axis) for n, axis in axes if shapes[n][axis] != known.first[n][axis]}
        for symbolic in (axes, varied):
            with_symbols = tuple(
                tuple(
                    f"{name}_{axis}" if (n, axis) in symbolic and extent != 1 else extent
                    for axis, extent in enumerate(shape)
                )
                for n, (name, shape) in enumerate(zip(names, shapes, strict=True))
            )
            if with_symbols in known.tried:
                continue
            known.tried.add(with_symbols)
            try:
                program = self._trace(bound, names, with_symbols, dtypes)
            except (EinloomError, TypeError, ValueError, ArithmeticError):
                continue  # what the function does with sizes, symbols cannot
            if program.is_at(shapes, exact):
                known.shared.append(program)
                return program
        known.first = shapes
        return None

    def _trace(
        self,
        bound: inspect.BoundArguments,
        names: Sequence[str],
        shapes: Sequence[tuple[Any, ...]],
        dtypes: Sequence[Any],
    ) -> _Traced:
        inputs = tuple(
            spec(shape, dtype=dtype, name=name)
            for name, shape, dtype in zip(names, shapes, dtypes, strict=True)
        )
        rest = iter(inputs)
        arguments = _mapped(dict(bound.arguments), lambda v: next(rest) if _is_array(v) else v)
        call = inspect.BoundArguments(self._signature, arguments)
        value = trace(self._function, *call.args, **call.kwargs)
        outputs: list[Expression] = []

        def number(leaf: Any) -> int:
            outputs.append(leaf)
            return len(outputs) - 1

        result = _mapped(value, number)
        if not outputs:
            raise SpecError(f"{self._function.__name__}() returns no array")
        check_meaning(tuple(outputs))
        is_single = result == 0 and type(result) is int
        run = CompiledFunction(
            outputs[0] if is_single else tuple(outputs),
            optimize=self._optimize,
            threads=self._threads,
            inputs=inputs,
        )
        return _Traced(run, result, tuple(output.node for output in outputs), tuple(shapes))


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | Expression):
        return True
    is_plain = isinstance(value, (*_PLAIN, type)) or callable(value)
    return not is_plain and (hasattr(value, "__array__") or hasattr(value, "__dlpack__"))


def _as_result(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    array = as_numpy(value)
    if array.dtype.kind not in "biufcV" or array.dtype.names is not None:
        raise SpecError(
            f"a traced function returns arrays, or tuples, lists and dicts of them, not {value!r}"
        )
    return constant(array)


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return nested tuples, lists and dicts with ``function`` of each leaf."""
    match value:
        case tuple():
            items = [_mapped(item, function) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        case list():
            return [_mapped(item, function) for item in value]
        case dict():
            return {key: _mapped(item, function) for key, item in value.items()}
        case _:
            return function(value)


def _arranged(structure: Any, results: Sequence[Any]) -> Any:
    """Return the results in a function's structure of numbers."""
    return _mapped(structure, lambda number: results[number])


def leaves_of(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield what tuples, lists and dicts nest, each behind its positions and keys.

    >>> list(leaves_of({"a": (1, 2), "b": 3}))
    [(('a', 0), 1), (('a', 1), 2), (('b',), 3)]
    """
    match value:
        case tuple() if hasattr(value, "_fields"):
            for key, item in zip(value._fields, value, strict=True):
                yield from leaves_of(item, (*path, key))
        case tuple() | list():
            for number, item in enumerate(value):
                yield from leaves_of(item, (*path, number))
        case dict():
            for key, item in value.items():
                yield from leaves_of(item, (*path, str(key)))
        case _:
            yield path, value


def _key(value: Any, arrays: list[Any], names: list[str], name: str) -> Hashable:
    """Return what is traced besides arrays; these and names for them are appended."""
    match value:
        case dict():
            pairs = ((key, _named(name, key)) for key in value)
            return ("dict", *((k, _key(value[k], arrays, names, n)) for k, n in pairs))
        case tuple() | list():
            kind = type(value)
            return (kind, *(_key(v, arrays, names, _named(name, n)) for n, v in enumerate(value)))
        case _ if _is_array(value):  # NumPy's float64 is a float, too
            arrays.append(value)
            names.append(name)
            return "array"
        case float():
            return "float", value.hex()
    try:
        hash(value)
    except TypeError:
        raise SpecError(
            f"the argument {name} is neither an array nor hashable: {value!r}; einloom.jit traces "
            "once for each value of arguments that are no arrays"
        ) from None
    return type(value), value


def _named(name: str, part: Any) -> str:
    text = "".join(c if c.isalnum() else "_" for c in str(part))
    return f"{name}_{text}" if name else text


__all__ = ["Jit", "jit", "trace"]
