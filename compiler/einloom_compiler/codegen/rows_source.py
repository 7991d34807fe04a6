"""Print a nest of rows as Python source that Numba compiles and Python runs.

The kernel's parameters are in the order of :mod:`.numba_source`. Rows whose accumulators lie in
scratch are written by :mod:`.rows_scratch`, those that are read side by side by
:mod:`.rows_streams`, others by :mod:`.rows_passes`.
"""

from __future__ import annotations

from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.rows_passes import RowsWriter
from einloom_compiler.codegen.rows_range import RowsRange, parameters, scratch_elements
from einloom_compiler.codegen.rows_scratch import ScratchWriter
from einloom_compiler.codegen.rows_streams import StreamsWriter
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.rows import RowsNest, print_rows


def print_functions(nest: RowsNest, name: str = "kernel") -> list[str]:
    """Return the kernel called ``name`` and its launcher."""
    kernel = f"@njit({OPTIONS})\n" + _writer(nest).write(name)
    return [kernel, print_split(name, parameters(nest)[:-3], scratch_elements(nest))]


def _writer(nest: RowsNest) -> RowsRange:
    if nest.row:
        return ScratchWriter(nest)
    return StreamsWriter(nest) if nest.streams > 1 else RowsWriter(nest)


def print_rows_text(nest: RowsNest) -> KernelText:
    """Return the module of one kernel of rows."""
    accesses = (*nest.inputs, nest.output)
    return KernelText(
        title=print_rows(nest).splitlines()[-1].strip(),
        source=print_module("\n\n".join(print_functions(nest))),
        pointers=tuple((access.name, arithmetic(access.dtype).storage) for access in accesses),
        numbers=parameters(nest)[len(accesses) : -4],
        scratch_elements=scratch_elements(nest),
        scratch_dtype=arithmetic(nest.compute).compute,
    )
