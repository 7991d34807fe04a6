"""Print the packed family: pack, multiply in registers, add to the output.

Names follow BLIS: ``m, n, k`` are rows, columns and contracted points, ``mr, nr`` the register
block, ``kc`` the depth of a packed block. A *panel* is ``mr`` rows or ``nr`` columns along a
group's run index, the index along which operand and output have constant strides; the group's
other indices are digits of the panel's number, decoded from a table of rows
``extent, stride in x0, stride in x1, stride in out``.
"""

from __future__ import annotations

import re

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import PackedNest

#: Columns of a digit table.
DIGIT_COLUMNS = 4
TABLES = ("k_offsets", "m_digits", "n_digits", "batch_digits")
NUMBERS = (
    *("n_k", "m_run", "n_run", "n_m_digits", "n_n_digits", "n_batch_digits"),
    *("m_panels", "n_panels", "task_m_panels", "task_n_panels", "m_tasks", "n_tasks"),
    *("x0_row", "x0_is_run", "x1_column", "x1_is_run", "x1_digit_run", "out_row", "out_column"),
)
#: Functions of each packed kernel; in a program of several, they bear the kernel's number.
_OWN = (
    *("multiply", "pack_rows", "pack_columns", "pack_panels", "add_block"),
    *("kernel", "parallel_kernel"),
)
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


def print_functions(nest: PackedNest, name: str = "kernel") -> list[str]:
    """Return the functions of a packed kernel, the kernel called ``name``.

    All but ``offset_of``, which all kernels share, bear the kernel's number in their names.
    """
    suffix = name.removeprefix("kernel")
    functions = [
        _print_micro(nest),
        _print_pack_rows(nest),
        _print_pack_columns(nest),
        _print_pack_panels(nest),
        _print_add_block(nest),
        _print_kernel(nest),
        print_split("kernel", ("x0", "x1", "out", *TABLES, *NUMBERS, "acc"), nest.scratch_elements),
    ]
    for own in _OWN if suffix else ():
        pattern = re.compile(rf"\b{own}\(")
        functions = [pattern.sub(f"{own}{suffix}(", text) for text in functions]
    return [_HELPERS.format(options=OPTIONS), *functions]


def print_packed(nest: PackedNest) -> KernelText:
    """Return the module of the packed kernel of ``nest``."""
    body = "\n\n".join(print_functions(nest))
    dtypes = (("x0", nest.rows), ("x1", nest.columns), ("out", nest.output))
    return KernelText(
        title=f"packed {nest.rows} x {nest.columns} -> {nest.output} product in {nest.element}",
        source=print_module(body),
        pointers=(
            *((name, arithmetic(dtype).storage) for name, dtype in dtypes),
            *((table, "int64") for table in TABLES),
        ),
        numbers=NUMBERS,
        scratch_elements=nest.scratch_elements,
        scratch_dtype=nest.element,
    )


def _print_micro(nest: PackedNest) -> str:
    """Print the microkernel: one register block of sums over the depth of a packed block."""
    block, width = nest.block, nest.block.width
    rows, vectors = range(block.mr), range(block.vectors)
    lines = [f"@njit({OPTIONS})", "def multiply(acc, a, b, c, n_k):"]
    lines.append('    """Store the product of a packed row and column panel: acc[c:] = a @ b."""')
    lines.append(f"    zero = vset{width}(np.{nest.element}(0))")
    lines += [f"    c{r}_{v} = zero" for r in rows for v in vectors]
    lines.append("    for _ in range(n_k):")
    lines += [f"        b{v} = vload{width}(acc, b{_plus(v * width)})" for v in vectors]
    step = 1 if nest.are_rows_contiguous else nest.depth
    for r in rows:
        lines.append(f"        a{r} = vset{width}(acc[a{_plus(r * step)}])")
        lines += [f"        c{r}_{v} = vfma(a{r}, b{v}, c{r}_{v})" for v in vectors]
    lines.append(f"        a += {block.mr if nest.are_rows_contiguous else 1}")
    lines.append(f"        b += {block.nr}")
    for r in rows:
        for v in vectors:
            lines.append(f"    vstore{width}(acc, c{_plus(r * block.nr + v * width)}, c{r}_{v})")
    return "\n".join(lines) + "\n"


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def _element(nest: PackedNest, value: str, dtype: str) -> str:
    """Return a value read from memory as a packed element."""
    loaded = casts.load(value, dtype, nest.compute)
    if arithmetic(nest.compute).compute == nest.element:
        return loaded
    return f"np.{nest.element}({loaded})"


def _print_pack_rows(nest: PackedNest) -> str:
    mr, depth = nest.block.mr, nest.depth
    contiguous = nest.are_rows_contiguous
    at = f"a + k * {mr} + r" if contiguous else f"a + r * {depth} + k"
    unit = _element(nest, "x0[source + k]", nest.rows)
    table = _element(nest, "x0[source + k_offsets[2 * (k_lo + k)]]", nest.rows)
    row = _element(nest, "x0[source + r]", nest.rows)
    head = f"""\
@njit({OPTIONS})
def pack_rows(x0, acc, a, start, x0_row, x0_is_run, n_rows, k_offsets, k_lo, n_k):
    \"\"\"Pack {mr} rows, those beyond n_rows as zeros.\"\"\"
"""
    if contiguous:
        return f"""{head}\
    for k in range(n_k):
        source = start + k_offsets[2 * (k_lo + k)]
        for r in range(n_rows):
            acc[{at}] = {row}
        for r in range(n_rows, {mr}):
            acc[{at}] = 0
"""
    return f"""{head}\
    for r in range({mr}):
        if r >= n_rows:
            for k in range(n_k):
                acc[{at}] = 0
        elif x0_is_run:
            source = start + r * x0_row + k_offsets[2 * k_lo]
            for k in range(n_k):
                acc[{at}] = {unit}
        else:
            source = start + r * x0_row
            for k in range(n_k):
                acc[{at}] = {table}
"""


def _print_pack_columns(nest: PackedNest) -> str:
    """Print the packing of a column panel: by vectors, by transposed blocks, or one by one."""
    nr = nest.block.nr
    element = _element(nest, "x1[source + c * x1_column]", nest.columns)
    lines = [
        f"@njit({OPTIONS})",
        "def pack_columns(",
        "    x1, acc, b, start, x1_column, x1_is_run, n_columns, k_offsets, k_lo, n_k",
        "):",
        f'    """Pack {nr} columns, those beyond n_columns as zeros."""',
        "    c_lo = 0",
        "    k_done = 0",
    ]
    if nest.columns == nest.element:
        lines += _native_columns(nest)
    lines += [
        "    for k in range(n_k):",
        "        source = start + k_offsets[2 * (k_lo + k) + 1]",
        f"        to = b + k * {nr}",
        "        for c in range(c_lo if k < k_done else 0, n_columns):",
        f"            acc[to + c] = {element}",
        f"        for c in range(n_columns, {nr}):",
        "            acc[to + c] = 0",
    ]
    return "\n".join(lines) + "\n"


def _native_columns(nest: PackedNest) -> list[str]:
    """Return the lines that pack columns of the element's own dtype with vectors."""
    block, width = nest.block, nest.block.width
    lines = [
        "    if x1_column == 1:",
        "        for k in range(n_k):",
        "            source = start + k_offsets[2 * (k_lo + k) + 1]",
        f"            to = b + k * {block.nr}",
    ]
    for v in range(block.vectors):
        offset = v * width
        left = f"n_columns - {offset}" if offset else "n_columns"
        lines.append(
            f"            vstore{width}(acc, to{_plus(offset)}, vload{width}_masked("
            f"x1, source{_plus(offset)}, {left}))"
        )
    return [
        *lines,
        "        return",
        "    if x1_is_run:",
        f"        c_lo = n_columns // {width} * {width}",
        f"        k_done = n_k // {width} * {width}",
        "        source = start + k_offsets[2 * k_lo + 1]",
        f"        for k in range(0, k_done, {width}):",
        f"            for c in range(0, c_lo, {width}):",
        f"                vtranspose{width}(",
        f"                    acc, b + k * {block.nr} + c, {block.nr},",
        "                    x1, source + k + c * x1_column, x1_column",
        "                )",
    ]


def _print_pack_panels(nest: PackedNest) -> str:
    """Print the packing of neighbouring column panels at once, through transposed blocks."""
    block, width = nest.block, nest.block.width
    element = _element(nest, "x1[source + c * x1_column + p]", nest.columns)
    lines = [
        f"@njit({OPTIONS})",
        "def pack_panels(",
        "    x1, acc, b, pitch, n_panels, start, x1_column, n_columns, k_offsets, k_lo, n_k",
        "):",
        '    """Pack panels, pitch apart, that are neighbours in memory; a last block overlaps."""',
        "    for k in range(n_k):",
        "        source = start + k_offsets[2 * (k_lo + k) + 1]",
        f"        to = b + k * {block.nr}",
    ]
    first = "0"
    if nest.columns == nest.element:
        first = "c_lo"
        lines += [
            f"        c_lo = n_columns // {width} * {width}",
            f"        for p_lo in range(0, n_panels, {width}):",
            f"            p = min(p_lo, n_panels - {width})",
            f"            for c in range(0, c_lo, {width}):",
            f"                vtranspose{width}(",
            "                    acc, to + p * pitch + c, pitch,",
            "                    x1, source + p + c * x1_column, x1_column",
            "                )",
        ]
    lines += [
        f"        for c in range({first}, n_columns):",
        "            for p in range(n_panels):",
        f"                acc[to + p * pitch + c] = {element}",
        f"        for c in range(n_columns, {block.nr}):",
        "            for p in range(n_panels):",
        "                acc[to + p * pitch + c] = 0",
    ]
    return "\n".join(lines) + "\n"


def _print_add_block(nest: PackedNest) -> str:
    block, width = nest.block, nest.block.width
    lines = [
        f"@njit({OPTIONS})",
        "def add_block(out, acc, c, start, out_row, out_column, n_rows, n_columns, is_first):",
        '    """Store a block of sums to the output, or add it to what earlier blocks left."""',
        "    for r in range(n_rows):",
        "        at = start + r * out_row",
        f"        of = c + r * {block.nr}",
    ]
    if nest.output == nest.element:
        lines.append("        if out_column == 1:")
        for v in range(block.vectors):
            offset = v * width
            left = f"n_columns - {offset}" if offset else "n_columns"
            lines += [
                f"            v{v} = vload{width}(acc, of{_plus(offset)})",
                "            if not is_first:",
                f"                v{v} = vadd(v{v}, vload{width}_masked("
                f"out, at{_plus(offset)}, {left}))",
                f"            vstore{width}_masked(out, at{_plus(offset)}, v{v}, {left})",
            ]
        lines.append("            continue")
    value = _stored(nest, "acc[of + q]")
    total = _stored(
        nest, f"acc[of + q] + {_element(nest, 'out[at + q * out_column]', nest.output)}"
    )
    lines += [
        "        for q in range(n_columns):",
        "            if is_first:",
        f"                out[at + q * out_column] = {value}",
        "            else:",
        f"                out[at + q * out_column] = {total}",
    ]
    return "\n".join(lines) + "\n"


def _stored(nest: PackedNest, value: str) -> str:
    """Return a packed element as the output's memory holds it."""
    compute = arithmetic(nest.compute).compute
    if compute != nest.element:
        value = f"np.{compute}({value})"
    return casts.store(value, nest.compute, nest.output)


def _print_kernel(nest: PackedNest) -> str:
    block, depth = nest.block, nest.depth
    mr, nr, width = block.mr, block.nr, block.width
    a_size = nest.row_panels * mr * depth
    names = ("x0", "x1", "out", *TABLES, *NUMBERS)
    head = wrapped("def kernel(", f"{', '.join(names)}, acc, acc_0, lo, hi", "):")
    return f"""\
@njit({OPTIONS})
{head}
    packed_b = acc_0 + {a_size}
    c = packed_b + {nest.column_elements}
    row_blocks = (m_run + {mr - 1}) // {mr}
    numbers = n_panels // ((n_run + {nr - 1}) // {nr})
    pitch = {nr} * min({depth}, n_k)
    for task in range(lo, hi):
        i_lo = task % m_tasks * task_m_panels
        i_hi = min(i_lo + task_m_panels, m_panels)
        j_lo = task // m_tasks % n_tasks * task_n_panels
        j_hi = min(j_lo + task_n_panels, n_panels)
        batch = task // m_tasks // n_tasks
        x0_0 = offset_of(batch_digits, n_batch_digits, 1, batch)
        x1_0 = offset_of(batch_digits, n_batch_digits, 2, batch)
        out_0 = offset_of(batch_digits, n_batch_digits, 3, batch)
        for k_lo in range(0, n_k, {depth}):
            kc = min({depth}, n_k - k_lo)
            for j in range(j_lo, j_hi):
                number = j % numbers
                column = j // numbers * {nr}
                start = x1_0 + offset_of(n_digits, n_n_digits, 2, number) + column * x1_column
                b = packed_b + (j - j_lo) * pitch
                first = max(j - number % x1_digit_run, j_lo)
                n_run_panels = min(j - number % x1_digit_run + x1_digit_run, j_hi) - first
                if n_run_panels < {width}:
                    pack_columns(
                        x1, acc, b, start, x1_column, x1_is_run, min({nr}, n_run - column),
                        k_offsets, k_lo, kc
                    )
                elif j == first:
                    pack_panels(
                        x1, acc, b, pitch, n_run_panels, start, x1_column,
                        min({nr}, n_run - column), k_offsets, k_lo, kc
                    )
            for i_0 in range(i_lo, i_hi, {nest.row_panels}):
                i_1 = min(i_0 + {nest.row_panels}, i_hi)
                for i in range(i_0, i_1):
                    row = i % row_blocks * {mr}
                    start = x0_0 + offset_of(m_digits, n_m_digits, 1, i // row_blocks)
                    a = acc_0 + (i - i_0) * {mr * depth}
                    pack_rows(
                        x0, acc, a, start + row * x0_row, x0_row, x0_is_run,
                        min({mr}, m_run - row), k_offsets, k_lo, kc
                    )
                for j in range(j_lo, j_hi):
                    column = j // numbers * {nr}
                    out_j = out_0 + offset_of(n_digits, n_n_digits, 3, j % numbers)
                    b = packed_b + (j - j_lo) * pitch
                    for i in range(i_0, i_1):
                        row = i % row_blocks * {mr}
                        out_i = offset_of(m_digits, n_m_digits, 3, i // row_blocks)
                        multiply(acc, acc_0 + (i - i_0) * {mr * depth}, b, c, kc)
                        add_block(
                            out, acc, c, out_j + out_i + row * out_row + column * out_column,
                            out_row, out_column, min({mr}, m_run - row), min({nr}, n_run - column),
                            k_lo == 0
                        )
"""
