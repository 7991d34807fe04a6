"""The lines of a generated program that allocate a result and call its kernel.

Where extents are symbolic, they and the strides are written as formulas of the operands' shapes,
for operands in C order: the kernel was bound to
:class:`~einloom_compiler.lowering.formula.Formula` extents.
"""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.codegen.text import wrapped
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.families import Bound
from einloom_compiler.lowering.formula import definitions, formula_text


def call_lines(
    bound: Bound,
    kernel: str,
    operands: Sequence[tuple[str, AnyDType]],
    result: tuple[str, AnyDType],
    shape: Sequence[int] | None,
) -> list[str]:
    """Return the lines that allocate the result and let ``kernel`` fill it.

    Args:
        bound: the kernel bound to operands in C order; symbolic extents are formulas.
        kernel: its name.
        operands: name and dtype of each of the contraction's operands.
        result: name and dtype of the result.
        shape: the result's extents, None where it was allocated before.
    """
    name, dtype = result
    text = bound.kernel.text
    named = [*(operands[position] for position in bound.operands), result]
    packed_lines = []
    for position, packing in bound.packings:
        constant, _ = named[position]
        called = f"packed_{constant}"
        packed_lines.append(f"    {called} = {packing.text(constant)}")
        named[position] = called, as_dtype(packing.element)
    tables = [name for name, _ in text.pointers[len(named) :]]
    pointers = [
        _pointer_text(array, dtype_name(of), storage)
        for (array, of), (_, storage) in zip(named, text.pointers, strict=False)
    ]
    numbers = map(formula_text, bound.numbers)
    arguments = ", ".join([*pointers, *tables, *numbers, "acc, 0, 0, total"])
    names = dict.fromkeys(
        pair for number in (*bound.numbers, bound.total) for pair in definitions(number)
    )
    lines = []
    if shape is not None:
        extents = tuple_text(list(map(formula_text, shape)))
        lines = [f"    {name} = np.empty({extents}, {dtype_text(dtype)})"]
    return [
        *lines,
        f"    acc = np.empty({max(1, text.scratch_elements)}, np.{text.scratch_dtype})",
        *(
            f"    {table} = {built.text()}"
            for table, built in zip(tables, bound.built_tables, strict=True)
        ),
        *(f"    {called} = {meaning}" for called, meaning in names),
        *packed_lines,
        f"    total = {formula_text(bound.total)}",
        wrapped(f"    {kernel}(", arguments, ")"),
    ]


def tuple_text(items: Sequence[str]) -> str:
    """Return a tuple of these items as Python."""
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def dtype_text(dtype: AnyDType) -> str:
    """Return a dtype as Python."""
    name = dtype_name(dtype)
    if name == "bool":
        return "np.bool_"
    return '"bfloat16"' if name == "bfloat16" else f"np.{name}"


def _pointer_text(array: str, dtype: str, storage: str) -> str:
    view = "" if storage == dtype else f".view(np.{storage})"
    return f"{array}.reshape(-1){view}"
