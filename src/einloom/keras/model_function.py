"""Compiled inference that takes its inputs as Keras's models take theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einloom.compiled_function import Array, CompiledFunction
from einloom.expression import Expression
from einloom.keras.pieces.joining import in_order
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import DTypeError, SpecError


class ModelFunction(CompiledFunction):
    """A compiled function of the inputs of a Keras layer or model.

    They are given one by one, as one list, or as a mapping by name. An array of another dtype than
    its input's is cast to it, as Keras does (``Functional`` converts to the dtypes of its inputs,
    ``Layer`` to its compute dtype), but for inputs whose dtype a spec declared.

    Attributes:
        name: the layer's or model's.
        declared: names of these inputs.
    """

    def __init__(
        self,
        expression: Expression | tuple[Expression, ...],
        *,
        name: str,
        declared: frozenset[str] = frozenset(),
        **options: Any,
    ) -> None:
        """Take the expressions, as :class:`~einloom.compiled_function.CompiledFunction`."""
        self.name, self.declared = name, declared
        super().__init__(expression, **options)

    def _given(self, arrays: Sequence[Any]) -> tuple[Sequence[Any], list[Array]]:
        names = tuple(self._names.values())
        try:
            arrays = in_order(arrays, names, self.name)
        except TypeError as error:
            raise SpecError(str(error)) from None
        arrays, given = super()._given(arrays)
        for number, (name, operand) in enumerate(zip(names, self._inputs, strict=True)):
            if name not in self.declared and operand.dtype is not None:
                given[number] = _cast(given[number], operand.dtype, name)
        return arrays, given

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was compiled from."""
        _, settled = super().__reduce__()
        return _unpickled, (self.name, self.declared, *settled)


def _unpickled(
    name: str, declared: frozenset[str], expression: Any, *settled: Any
) -> ModelFunction:
    keys = "optimize", "threads", "threads_backend", "choices", "inputs"
    options = dict(zip(keys, settled, strict=True))
    return ModelFunction(expression, name=name, declared=declared, **options)


def _cast(array: Array, dtype: AnyDType, name: str) -> Array:
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biufcV" or (array.dtype.kind == "c" and dtype.kind != "c"):
        raise DTypeError(
            f"input '{name}' has dtype {array.dtype}, which has no meaning as {dtype}; pass "
            f"numbers that have, such as {name}.real"
        )
    return array.astype(dtype)
