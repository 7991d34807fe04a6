"""The lines of a generated program that allocate a result and call its kernel.

Extents and strides are written as formulas of the operands' shapes, for operands in C order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from einloom_compiler.codegen.numba_source import wrapped
from einloom_compiler.dtypes import AnyDType, arithmetic, as_dtype, dtype_name
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.lowering.groups import Axis, Group
from einloom_compiler.pipeline import Bound

#: Builds the table of contracted points that packed kernels read.
K_TABLE = '''\
def k_table(axes):
    """Return the offsets of all contracted points in both operands, one pair after the other."""
    table = np.zeros((1, 2), np.int64)
    for extent, x0, x1 in axes:
        steps = np.arange(extent)[:, None] * np.array([x0, x1])
        table = (table[:, None] + steps).reshape(-1, 2)
    return table.reshape(-1)
'''


def call_lines(
    expr: EinsumExpr,
    bound: Bound,
    kernel: str,
    operands: Sequence[str],
    result: str,
    letters: Mapping[Index, str],
) -> list[str]:
    """Return the lines that allocate ``result`` and let ``kernel`` fill it."""
    shape = tuple_text([f"n_{letters[index]}" for index in expr.output])
    terms = [expr.terms[position] for position in bound.operands] + [expr.output]
    strides = [_strides(term, letters) for term in terms]
    named = [*(operands[position] for position in bound.operands), result]
    if isinstance(bound.nest, PackedNest):
        dtypes = [bound.nest.rows, bound.nest.columns, bound.nest.output]
        lines, arguments = _packed_arguments(bound, bound.nest, strides)
    else:
        accesses = (*bound.nest.inputs, bound.nest.output)
        dtypes = [access.dtype for access in accesses]
        lines, arguments = _direct_arguments(bound, bound.nest, strides)
    text = bound.kernel.text
    pointers = ", ".join(
        _pointer_text(array, dtype) for array, dtype in zip(named, dtypes, strict=True)
    )
    return [
        f"    {result} = np.empty({shape}, {dtype_text(as_dtype(dtypes[-1]))})",
        f"    acc = np.empty({max(1, text.scratch_elements)}, np.{text.scratch_dtype})",
        *lines,
        wrapped(f"    {kernel}(", ", ".join([pointers, *arguments, "acc, 0, 0, total"]), ")"),
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


def _pointer_text(array: str, dtype: str) -> str:
    storage = arithmetic(dtype).storage
    view = "" if storage == dtype else f".view(np.{storage})"
    return f"{array}.reshape(-1){view}"


def _extent(label: str) -> str:
    return " * ".join(f"n_{letter}" for letter in label) or "1"


def _strides(term: Term, letters: Mapping[Index, str]) -> dict[str, str]:
    """Return each index's stride in C order, by letter; a diagonal's add up."""
    own = [letters[index] for index in term]
    strides: dict[str, list[str]] = {}
    for axis, letter in enumerate(own):
        step = " * ".join(f"n_{later}" for later in own[axis + 1 :]) or "1"
        strides.setdefault(letter, []).append(step)
    return {letter: " + ".join(steps) for letter, steps in strides.items()}


def _direct_arguments(
    bound: Bound, nest: LoopNest, strides: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """Return the line that computes ``total``, and extents and strides in ABI order."""
    label_of = {
        name: bound.space.labels[number]
        for name, number in zip(nest.indices, bound.order, strict=True)
    }
    arguments = [_extent(label_of[index]) for index in nest.indices]
    for access, steps in zip((*nest.inputs, nest.output), strides, strict=True):
        arguments += [steps[label_of[index][-1]] for index in access.strided]
    counts = []
    for level in nest.levels[: nest.n_parallel]:
        extent = _extent(label_of[level.index])
        step = level.size if level.kind == "tile" else level.unroll
        counts.append(_ceil(extent, step) if step > 1 else extent)
    return [f"    total = {' * '.join(counts) or '1'}"], arguments


def _ceil(extent: str, step: int) -> str:
    extent = f"({extent})" if " " in extent else extent
    return f"-(-{extent} // {step})"


def _packed_arguments(
    bound: Bound, nest: PackedNest, strides: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """Return the lines that build a packed kernel's tables, and its arguments in ABI order."""
    groups = bound.groups
    if groups is None:
        raise InternalCompilerError("report", "a packed kernel has no groups", str(nest))

    def step(axis: Axis, operand: int) -> str:
        return strides[operand].get(axis.label[-1], "0")

    def digits(axes: Sequence[Axis]) -> str:
        rows = [
            f"[{_extent(axis.label)}, {step(axis, 0)}, {step(axis, 1)}, {step(axis, 2)}]"
            for axis in axes
        ]
        return f"np.array([{', '.join(rows) or '[1, 0, 0, 0]'}]).reshape(-1)"

    def panels(group: Group, size: int) -> str:
        counts = [_extent(axis.label) for axis in group.digits]
        return " * ".join([*counts, _ceil(_extent(group.run.label), size)])

    k_axes = ", ".join(f"({_extent(a.label)}, {step(a, 0)}, {step(a, 1)})" for a in groups.k)
    batches = " * ".join(_extent(axis.label) for axis in groups.batch) or "1"
    n_k = " * ".join(_extent(axis.label) for axis in groups.k)
    rows, columns = groups.rows, groups.columns
    lines = [
        f"    k_offsets = k_table([{k_axes}])",
        f"    m_digits = {digits(rows.digits)}",
        f"    n_digits = {digits(columns.digits)}",
        f"    batch_digits = {digits(groups.batch)}",
        f"    m_panels = {panels(rows, nest.block.mr)}",
        f"    n_panels = {panels(columns, nest.block.nr)}",
        f"    fit = {nest.column_elements} // ({nest.block.nr} * min({nest.depth}, {n_k}))",
        "    n_tasks = -(-n_panels // fit)",
        f"    total = n_tasks * {batches}",
    ]
    is_run = [
        "1" if len(groups.k) == 1 and step(groups.k[0], side) == "1" else "0" for side in (0, 1)
    ]
    arguments = [
        *("k_offsets", "m_digits", "n_digits", "batch_digits"),
        *(n_k, _extent(rows.run.label)),
        *(_extent(columns.run.label), str(len(rows.digits)), str(len(columns.digits))),
        *(str(len(groups.batch)), "m_panels", "n_panels", "m_panels", "fit"),
        *("1", "n_tasks", step(rows.run, 0), is_run[0], step(columns.run, 1), is_run[1]),
        _extent(columns.digits[-1].label) if groups.column_digit_run > 1 else "1",
        *(step(rows.run, 2), step(columns.run, 2)),
    ]
    return lines, arguments
