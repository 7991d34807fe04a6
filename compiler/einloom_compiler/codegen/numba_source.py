"""Print a scheduled loop nest as Python source that Numba compiles and Python runs.

The kernel's parameters follow one order, the kernel ABI::

    x0, x1, ..., out      pointers: anything indexable by element offset; e0, ... before ``out``
                          for further operands of the epilogue
    n_<index> ...         extents, in the nest's index order
    <access>_<index> ...  strides in elements, of pointers in that order, stride 1 left out
    <access>_start ...    elements before the first one meant, for accesses that have some
    acc, acc_0            scratch accumulators and the offset of this range's own
    lo, hi                the part of the parallel range to compute

It allocates nothing, raises nothing and reads no global state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from einloom_compiler.codegen import maps, simd
from einloom_compiler.codegen.nest_source import NestWriter, parameters
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.printer import print_nest

NUMBA_IMPORT = "from numba import njit, prange\n"
_FASTMATH = '{"reassoc", "contract"}'
OPTIONS = f'nogil=True, error_model="numpy", fastmath={_FASTMATH}'


def print_kernel(nest: LoopNest, name: str = "kernel") -> str:
    """Return the kernel function of ``nest``, decorated for Numba."""
    return f"@njit({OPTIONS})\n" + NestWriter(nest).write(name)


def print_parallel(nest: LoopNest, name: str = "kernel") -> str:
    """Return the function that spreads the kernel's range over Numba's threads."""
    return print_split(name, parameters(nest)[:-3], nest.scratch_elements)


def print_split(name: str, shared: Sequence[str], scratch_elements: int) -> str:
    """Return ``parallel_<name>``, which gives each of ``parts`` its share of the kernel's range.

    Args:
        name: the kernel's name.
        shared: the kernel's parameters up to its scratch pointer.
        scratch_elements: what each part needs of the scratch.
    """
    names = ", ".join(shared)
    own = f"acc_0 + r * {scratch_elements}" if scratch_elements else "acc_0"
    head = wrapped(f"def parallel_{name}(", f"{names}, acc_0, total, parts", "):")
    call = wrapped(f"        {name}(", f"{names}, {own}, lo, hi", ")")
    return f"""\
@njit(parallel=True, {OPTIONS})
{head}
    for r in prange(parts):
        lo = total * r // parts
        hi = total * (r + 1) // parts
{call}
"""


def print_direct(nest: LoopNest) -> KernelText:
    """Return the module of one kernel of the direct family."""
    accesses = nest.accesses
    return KernelText(
        title=print_nest(nest).splitlines()[-1].strip(),
        source=print_module(f"{print_kernel(nest)}\n\n{print_parallel(nest)}"),
        pointers=tuple((access.name, arithmetic(access.dtype).storage) for access in accesses),
        numbers=parameters(nest)[len(accesses) : -4],
        scratch_elements=nest.scratch_elements,
        scratch_dtype=arithmetic(nest.compute).compute,
    )


def print_module(functions: str) -> str:
    """Return ``functions`` with the imports and helpers that they need."""
    helpers = "".join(f"\n\n{text}" for text in maps.helpers_in(functions))
    called = set(re.findall(r"\b(\w+)\(", helpers + functions))
    used = sorted(called.intersection(simd.PRIMITIVES))
    imports = ""
    if used:
        head = "from einloom_compiler.codegen.simd import ("
        imports = "\n" + wrapped(head, ", ".join(used), ")") + "\n"
    return f"import numpy as np\n{NUMBA_IMPORT}{imports}{helpers}\n\n{functions}"
