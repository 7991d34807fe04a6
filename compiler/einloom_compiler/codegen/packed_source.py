"""Print the packed family: pack, multiply in registers, store.

Names follow BLIS: ``m, n, k`` are rows, columns and contracted points, ``mr, nr`` the register
block, ``kc`` the points of a packed block. A *panel* is ``mr`` rows or ``nr`` columns along a
group's run index, the index along which operand and output have constant strides. Row panels are
numbered by the group's other indices, decoded from a table of rows ``extent, stride in x0, stride
in x1, stride in out``; each column panel has a row ``offset in x1, offset in out, column in its
run`` of a table. A packed panel holds the panel's elements point by point; complex ones as all real
parts, then all imaginary ones. An operand that is packed already holds whole panels, all contracted
points of one after another; its offsets are those of panels.
"""

from __future__ import annotations

import re

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.packed_store import print_multiply
from einloom_compiler.codegen.packing_source import print_pack
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import PackedNest

#: Contracted points between the columns that are multiplied and those that are asked for.
AHEAD = 32
TABLES = ("k_offsets", "m_digits", "n_offsets", "batch_digits")
NUMBERS = (
    *("n_k", "k_step", "m_run", "n_run", "n_m_digits", "n_batch_digits"),
    *("m_panels", "n_panels", "task_m_panels", "task_n_panels", "m_tasks", "n_tasks"),
    *("x0_row", "x0_run", "x0_hop", "x1_column", "x1_run", "x1_hop", "x1_digit_run"),
    *("out_row", "out_column"),
)
#: Tables and integers of each operand of the epilogue: offsets of panels and batches, and steps to
#: the next row and column of a block.
_EXTRA_TABLES, _EXTRA_STEPS = ("m_digits", "n_offsets", "batch_digits"), ("row", "column")
#: Functions of each packed kernel; in a program of several, they bear the kernel's number.
_OWN = ("finish", "multiply", "pack_rows", "pack_columns", "kernel", "parallel_kernel")
_HELPERS = '''\
@njit({options})
def offset_of(digits, n_digits, column, number):
    """Return the element offset of a panel or batch: its number in mixed radix."""
    at = 0
    for d in range(n_digits - 1, -1, -1):
        extent = digits[4 * d]
        at += number % extent * digits[4 * d + column]
        number //= extent
    return at
'''


def tables_of(nest: PackedNest) -> tuple[str, ...]:
    """Return the names of the kernel's tables."""
    names = (f"e{number}_{table}" for number in range(len(nest.extras)) for table in _EXTRA_TABLES)
    return (*TABLES, *names)


def numbers_of(nest: PackedNest) -> tuple[str, ...]:
    """Return the names of the kernel's integers."""
    names = (f"e{number}_{step}" for number in range(len(nest.extras)) for step in _EXTRA_STEPS)
    return (*NUMBERS, *names)


def pointers_of(nest: PackedNest) -> tuple[str, ...]:
    """Return the names of the kernel's operands and output."""
    return ("x0", "x1", *(f"e{number}" for number in range(len(nest.extras))), "out")


def print_functions(nest: PackedNest, name: str = "kernel") -> list[str]:
    """Return the functions of a packed kernel, the kernel called ``name``.

    All but ``offset_of``, which all kernels share, bear the kernel's number in their names.
    """
    suffix = name.removeprefix("kernel")
    functions = [
        print_multiply(nest),
        *(
            print_pack(nest, which)
            for which, side in (("rows", nest.rows), ("columns", nest.columns))
            if not side.is_prepacked
        ),
        _print_kernel(nest),
        print_split(
            "kernel",
            (*pointers_of(nest), *tables_of(nest), *numbers_of(nest), "acc"),
            nest.scratch_elements,
        ),
    ]
    for own in _OWN if suffix else ():
        pattern = re.compile(rf"\b{own}\(")
        functions = [pattern.sub(f"{own}{suffix}(", text) for text in functions]
    return [_HELPERS.format(options=OPTIONS), *functions]


def print_packed(nest: PackedNest) -> KernelText:
    """Return the module of the packed kernel of ``nest``."""
    body = "\n\n".join(print_functions(nest))
    storages = (
        *map(casts.part_storage, (nest.rows.dtype, nest.columns.dtype)),
        *(arithmetic(extra.dtype).storage for extra in nest.extras),
        casts.part_storage(nest.output),
    )
    return KernelText(
        title=(
            f"packed {nest.rows.dtype} x {nest.columns.dtype} -> {nest.output} product in "
            f"{nest.element}"
        ),
        source=print_module(body),
        pointers=(
            *zip(pointers_of(nest), storages, strict=True),
            *((table, "int64") for table in tables_of(nest)),
        ),
        numbers=numbers_of(nest),
        scratch_elements=nest.scratch_elements,
        scratch_dtype=nest.element,
    )


def _print_kernel(nest: PackedNest) -> str:
    block, parts = nest.block, nest.parts
    mr, nr = block.mr, block.nr
    names = (*pointers_of(nest), *tables_of(nest), *numbers_of(nest))
    head = wrapped("def kernel(", f"{', '.join(names)}, acc, acc_0, lo, hi", "):")
    starts = "".join(
        f"        e{n}_0 = offset_of(e{n}_batch_digits, n_batch_digits, 1, batch)\n"
        for n in range(len(nest.extras))
    )
    columns_start = f"    columns = acc_0 + {nest.column_start}\n"
    n_block = f"""\
    pitch = {parts * nr} * k_step + {nest.line}
    n_block = max(1, {nest.column_elements} // pitch)
    n_block = -(-task_n_panels // -(-task_n_panels // n_block))
"""
    if nest.columns.order == "digit":
        # Neighbouring panels share lines and pages of their operand: a block has whole runs of
        # them, several only where L2 may keep them, or parts of a run that end with a line.
        n_block = f"""\
    pitch = {parts * nr} * k_step + {nest.line}
    n_block = max(1, {nest.column_elements} // pitch)
    if n_block >= x1_digit_run:
        n_block = max(1, n_block // 2 // x1_digit_run) * x1_digit_run
    elif n_block > {nest.line}:
        n_block -= n_block % {nest.line}
        n_block = -(-x1_digit_run // -(-x1_digit_run // n_block))
        n_block = -(-n_block // {nest.line}) * {nest.line}
    j_step = max(n_block, x1_digit_run)
"""
    if nest.columns.is_prepacked:
        columns_start = n_block = ""
    return f"""\
@njit({OPTIONS})
{head}
{columns_start}    tiles = acc_0 + {nest.tile_start}
    row_blocks = (m_run + {mr - 1}) // {mr}
    # A line between panels keeps stores to neighbouring panels out of one cache set.
    row_pitch = {parts * mr} * k_step + {nest.line}
    # Blocks of equal shares that fit the packed rows and columns.
    m_block = max(1, {nest.row_elements} // row_pitch)
    m_block = -(-task_m_panels // -(-task_m_panels // m_block))
{n_block}    for task in range(lo, hi):
        i_lo = task % m_tasks * task_m_panels
        i_hi = min(i_lo + task_m_panels, m_panels)
        j_lo = task // m_tasks % n_tasks * task_n_panels
        j_hi = min(j_lo + task_n_panels, n_panels)
        batch = task // m_tasks // n_tasks
        x0_0 = offset_of(batch_digits, n_batch_digits, 1, batch)
        x1_0 = offset_of(batch_digits, n_batch_digits, 2, batch)
        out_0 = offset_of(batch_digits, n_batch_digits, 3, batch)
{starts}{_print_blocks(nest)}"""


def _print_blocks(nest: PackedNest) -> str:
    """Return the loops of one task over packed blocks."""
    return _near_columns(nest) if nest.columns.is_prepacked else _near_rows(nest)


def _near_rows(nest: PackedNest) -> str:
    """Return the loops in which a row panel meets all packed columns, which pass by from L2."""
    rows = _print_rows(nest, "j_0 == j_lo")
    row_starts, further = _print_extras(nest)
    end = ", j_0 - j_0 % x1_digit_run + j_step" if nest.columns.order == "digit" else ""
    return f"""\
        i_0 = i_lo
        while i_0 < i_hi:
            i_1 = min(i_0 + m_block, i_hi)
            k_lo = 0
            while k_lo < n_k:
                kc = min(k_step, n_k - k_lo)
                rows_end = i_0
                j_0 = j_lo
                while j_0 < j_hi:
                    j_1 = min(j_0 + n_block, j_hi{end})
                    columns_end = j_0
                    for i in range(i_0, i_1):
{_indented(_ROW_PANEL.format(mr=nest.block.mr), 24)}
{_indented(rows, 24)}
{_indented(row_starts, 24)}
                        for j in range(j_0, j_1):
                            n_columns = min({nest.block.nr}, n_run - n_offsets[3 * j + 2])
{_indented(_print_columns(nest, "i == i_0"), 28)}
{_indented(_print_call(nest, further), 28)}
                    j_0 = j_1
                k_lo += kc
            i_0 = i_1
"""


def _near_columns(nest: PackedNest) -> str:
    """Return the loops in which a prepacked column panel meets all packed rows."""
    rows = _print_rows(nest, "j == j_lo")
    row_starts, further = _print_extras(nest)
    near_step = ""
    if not nest.is_streamed:
        step = _NEAR_STEP.format(line=nest.line, size=nest.block.nr * nest.parts)
        near_step = _indented(step, 12) + "\n"
    return f"""\
        i_0 = i_lo
        while i_0 < i_hi:
            i_1 = min(i_0 + m_block, i_hi)
{near_step}            k_lo = 0
            while k_lo < n_k:
                kc = min(k_step, n_k - k_lo)
                rows_end = i_0
                for j in range(j_lo, j_hi):
                    n_columns = min({nest.block.nr}, n_run - n_offsets[3 * j + 2])
{_indented(_print_columns(nest, ""), 20)}
                    for i in range(i_0, i_1):
{_indented(_ROW_PANEL.format(mr=nest.block.mr), 24)}
{_indented(rows, 24)}
{_indented(row_starts, 24)}
{_indented(_print_call(nest, further), 24)}
                k_lo += kc
            i_0 = i_1
"""


#: Memory answers a few lines at a time. Measured 2026-11 (one AVX2 core, 128 and 512 rows, 768 and
#: 2304 columns of 768 points): a product takes 0.86 to 0.95 of the time that it takes where the
#: first row panels ask for a line at each point.
_NEAR_STEP = """\
# Row panels share the elements of the next columns that they ask for at each point.
near_step = min({line}, max({line} // 8, -(-{size} // (i_1 - i_0))))"""
_ROW_PANEL = """\
row = i % row_blocks * {mr}
n_rows = min({mr}, m_run - row)"""


def _print_call(nest: PackedNest, further: list[str]) -> str:
    """Return the call that multiplies row panel ``i`` by column panel ``j``."""
    tile = "tiles"
    if nest.sum_elements:
        tile = f"tiles + ((i - i_lo) * task_n_panels + j - j_lo) * {nest.tile_elements}"
    a = "x0, a" if nest.rows.is_prepacked else "acc, a"
    b = "acc, b"
    if nest.columns.is_prepacked:
        b = "x1, b, ahead" if nest.is_streamed else "x1, b, ahead, near_step"
    before = f"ahead = {_ahead(nest)}\n" if nest.columns.is_prepacked else ""
    return f"""\
{before}multiply(
    out, acc, {a}, {b}, {tile}, kc,
    out_i + n_offsets[3 * j + 1], out_row, out_column,
    n_rows, n_columns, k_lo == 0, k_lo + kc == n_k{_more(further, 4)}
)"""


def _ahead(nest: PackedNest) -> str:
    """Return where the columns are that come next, if any are left to ask for.

    It has a line of its own: Numba takes no condition among more than 30 arguments.
    """
    size = nest.block.nr * nest.parts
    if nest.is_streamed:
        # Points ahead, as many as memory's latency takes.
        return f"b + {AHEAD * size}"
    return f"near + (i - i_0) * kc * near_step if (i - i_0) * near_step < {size} else b"


def _print_extras(nest: PackedNest) -> tuple[str, list[str]]:
    """Return lines that find the epilogue's operands of a row panel, and what ``multiply`` gets."""
    row_starts = """\
out_i = out_0 + offset_of(m_digits, n_m_digits, 3, i // row_blocks)
out_i += row * out_row
"""
    further = []
    for name in (f"e{number}" for number in range(len(nest.extras))):
        at = f"{name}_0 + offset_of({name}_m_digits, n_m_digits, 1, i // row_blocks)"
        row_starts += f"{name}_i = {at} + row * {name}_row\n"
        further.append(f"{name}, {name}_i + {name}_n_offsets[j], {name}_row, {name}_column")
    return row_starts, further


def _more(arguments: list[str], spaces: int) -> str:
    """Return further arguments, a line each."""
    return "".join(f",\n{' ' * spaces}{argument}" for argument in arguments)


def _print_rows(nest: PackedNest, is_first: str) -> str:
    """Return the lines that find packed row panel ``i``, packed where it is met first."""
    size = nest.block.mr * nest.parts
    start = "start = x0_0 + offset_of(m_digits, n_m_digits, 1, i // row_blocks)"
    if nest.rows.is_prepacked:
        return f"{start}\na = start + row * x0_row + k_lo * {size}"
    if nest.rows.order == "panel":
        # Panels that are neighbours in memory are packed together, in whole cache lines.
        return f"""\
a = acc_0 + (i - i_0) * row_pitch
if {is_first} and i >= rows_end:
    rows_end = min(i + {nest.together("rows")}, i_1, i + row_blocks - i % row_blocks)
    {start}
    pack_rows(
        x0, acc, a, row_pitch, start + row * x0_row,
        min(m_run - row, (rows_end - i) * {nest.block.mr}), k_offsets, k_lo, kc
    )"""
    runs = f", {nest.block.mr} * x0_row, x0_run, x0_hop" if nest.rows.order == "k" else ""
    return f"""\
a = acc_0 + (i - i_0) * row_pitch
if {is_first}:
    {start}
    pack_rows(
        x0, acc, a, start + row * x0_row,
        x0_row{runs},
        n_rows, k_offsets, k_lo, kc
    )"""


def _print_columns(nest: PackedNest, is_first: str) -> str:
    """Return the lines that find packed column panel ``j``, packed where it is met first."""
    nr = nest.block.nr
    size = nr * nest.parts
    if nest.columns.is_prepacked:
        b = f"b = x1_0 + n_offsets[3 * j] + k_lo * {size}"
        if nest.is_streamed:
            return b
        return f"""\
{b}
near = b + kc * {size}
if j + 1 < j_hi:
    near = x1_0 + n_offsets[3 * j + 3] + k_lo * {size}"""
    if nest.columns.order == "digit":
        # Panels of a group of digits are packed at once, before the first of them is used.
        return f"""\
b = columns + (j - j_0) * pitch
if {is_first}:
    first = max(j - j % x1_digit_run, j_0)
    last = min(j - j % x1_digit_run + x1_digit_run, j_1)
    if j == first:
        pack_columns(
            x1, acc, b, pitch, last - first, x1_0 + n_offsets[3 * j], x1_column, n_columns,
            k_offsets, k_lo, kc
        )"""
    if nest.columns.order == "panel":
        return f"""\
b = columns + (j - j_0) * pitch
if {is_first} and j >= columns_end:
    left = n_run - n_offsets[3 * j + 2]
    columns_end = min(j + {nest.together("columns")}, j_1, j + (left + {nr - 1}) // {nr})
    pack_columns(
        x1, acc, b, pitch, x1_0 + n_offsets[3 * j],
        min(left, (columns_end - j) * {nr}), k_offsets, k_lo, kc
    )"""
    runs, ahead = "", ""
    if nest.columns.order == "k":
        runs = ", ahead, x1_run, x1_hop"
        ahead = "    ahead = n_offsets[3 * min(j + 1, j_1 - 1)] - n_offsets[3 * j]\n"
    return f"""\
b = columns + (j - j_0) * pitch
if {is_first}:
{ahead}    pack_columns(
        x1, acc, b, x1_0 + n_offsets[3 * j], x1_column{runs},
        n_columns, k_offsets, k_lo, kc
    )"""


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())
