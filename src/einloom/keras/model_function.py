"""Compiled inference that takes its inputs as Keras's models take theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einloom.compiled_function import Array, CompiledFunction
from einloom.expression import Expression
from einloom.frontends.arrays import as_numpy
from einloom.runtime.prepared import adopted
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import DTypeError, SpecError


@adopted
class ModelFunction(CompiledFunction):
    """A compiled function of the inputs of a Keras layer or model.

    They are given one by one, as one list, or as a mapping by name. An array of another dtype than
    its input's is cast to it, as Keras does (``Functional`` converts to the dtypes of its inputs,
    ``Layer`` to its compute dtype), but for inputs whose dtype a spec declared.

    Attributes:
        declared: names of these.
    """

    def __init__(
        self,
        expression: Expression | tuple[Expression, ...],
        *,
        declared: frozenset[str] = frozenset(),
        **options: Any,
    ) -> None:
        """Take the expressions, as :class:`~einloom.compiled_function.CompiledFunction`."""
        self.declared = declared
        super().__init__(expression, **options)

    def _given(self, arrays: Sequence[Any]) -> tuple[Sequence[Any], list[Array]]:
        arrays, given = super()._given(self._in_order(arrays))
        dtypes = [operand.dtype for operand in self._inputs]
        for number, (name, dtype) in enumerate(zip(self._input_names, dtypes, strict=True)):
            if name not in self.declared and dtype is not None:
                given[number] = _cast(given[number], dtype, name)
        return arrays, given

    @property
    def _input_names(self) -> tuple[str, ...]:
        return tuple(self._names.values())

    def _in_order(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """Return the arrays in order, where they are given in one list or mapping."""
        if len(arrays) != 1:
            return arrays
        (only,), names = arrays, self._input_names
        if isinstance(only, Mapping):
            if set(only) != set(names):
                raise SpecError(f"takes inputs {', '.join(names)}, but {', '.join(only)} are given")
            return [only[name] for name in names]
        is_list = isinstance(only, list | tuple) and all(hasattr(item, "shape") for item in only)
        return only if is_list else arrays

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was compiled from."""
        _, settled = super().__reduce__()
        return _unpickled, (self.declared, *settled)


def _unpickled(declared: frozenset[str], expression: Any, *settled: Any) -> ModelFunction:
    keys = "optimize", "threads", "threads_backend", "choices", "inputs"
    options = dict(zip(keys, settled, strict=True))
    return ModelFunction(expression, declared=declared, **options)


def _cast(array: Array, dtype: AnyDType, name: str) -> Array:
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biufcV" or (array.dtype.kind == "c" and dtype.kind != "c"):
        raise DTypeError(
            f"input '{name}' has dtype {array.dtype}, which has no meaning as {dtype}; pass "
            f"numbers that have, such as {name}.real"
        )
    return as_numpy(array.astype(dtype))
