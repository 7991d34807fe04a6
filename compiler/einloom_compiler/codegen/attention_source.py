"""Print attention nests: pack a panel of queries, pass by blocks of keys and values, store.

Names: ``q, k, v, mask0, ..., out`` are the operands and the output, ``s`` key positions, ``d``
contracted points, ``e`` columns of the values, ``b0, b1, ...`` batch indices, slowest first, and
``c0, ...`` contracted indices besides ``d``. ``n_<index>`` is an extent, ``<operand>_<index>`` a
stride in elements, 0 where the operand does not depend on the index. All of a task's scratch has
queries as lanes: a row of it is a contracted point, a key or a column.

A row without any key that is not left out is NaN, as softmax of it is; without keys at all the
result is 0, an empty sum. Weights below 1e-37 of a row's greatest are 0, and keys that causality
leaves out may not be read.
"""

from __future__ import annotations

import re

from einloom_compiler.codegen.attention_single import SingleWriter
from einloom_compiler.codegen.attention_steps import StepWriter, numbers_of
from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.attention import AttentionNest

#: Functions of each attention kernel; in a program of several, they bear the kernel's number.
_OWN = re.compile(
    r"\b(score_rows?|add_rows?|pack_queries|convert_keys|convert_values|move_mask\d+|weigh|"
    r"weigh_diagonal|rescale|store|kernel|parallel_kernel)\("
)


def pointers_of(nest: AttentionNest) -> tuple[tuple[str, str], ...]:
    """Return name and storage dtype of each pointer."""
    named = [("q", nest.query), ("k", nest.key), ("v", nest.value)]
    named += [(f"mask{number}", mask.dtype) for number, mask in enumerate(nest.masks)]
    named.append(("out", nest.output))
    return tuple((name, arithmetic(dtype).storage) for name, dtype in named)


def print_functions(nest: AttentionNest, name: str = "kernel") -> list[str]:
    """Return the functions of an attention kernel, the kernel called ``name``."""
    suffix = name.removeprefix("kernel")
    shared = (*(pointer for pointer, _ in pointers_of(nest)), *numbers_of(nest), "acc")
    functions = [
        *(SingleWriter(nest) if nest.is_single else StepWriter(nest)).functions(),
        _print_kernel(nest),
        print_split("kernel", shared, nest.scratch_elements),
    ]
    return [_OWN.sub(rf"\g<1>{suffix}(", text) for text in functions]


def print_attention_kernel(nest: AttentionNest) -> KernelText:
    """Return the module of the kernel of ``nest``."""
    return KernelText(
        title=f"attention {nest.query} x {nest.key} x {nest.value} -> {nest.output}",
        source=print_module("\n\n".join(print_functions(nest))),
        pointers=pointers_of(nest),
        numbers=numbers_of(nest),
        scratch_elements=nest.scratch_elements,
        scratch_dtype=nest.element,
    )


def _print_kernel(nest: AttentionNest) -> str:
    block = nest.block
    names = (*(pointer for pointer, _ in pointers_of(nest)), *numbers_of(nest))
    head = wrapped("def kernel(", f"{', '.join(names)}, acc, acc_0, lo, hi", "):")
    starts = "\n".join(f"    {part} = acc_0 + {nest.start(part)}" for part, _ in nest.parts)
    lanes, width = nest.panel, block.width
    more = 4 * width if nest.is_single else 0
    limit = "min(n_s, row + n_rows)" if nest.is_causal else "n_s"
    key, key_at, key_s, key_d = "k", "k_at + s_0 * k_s + d_0 * k_d", "k_s", "k_d"
    if nest.is_cast(nest.key):
        key, key_at, key_s, key_d = "acc", "keys", str(block.points), "1"
    if nest.is_single:
        scored, added = _print_single_scores(nest), _print_weights(nest) + _SINGLE_VALUES
    else:
        scored = _print_contracted(nest, key, key_at, key_s, key_d)
        added = _print_weights(nest) + _print_values(nest)
    return f"""\
@njit({OPTIONS})
{head}
{starts}
    for lane in range({width if nest.is_single else lanes}):
        acc[state + {4 if nest.is_single else 3 * lanes} + lane] = np.{nest.element}(lane)
    n_panels = -(-n_q // {lanes})
    n_chunks = -(-n_e // {block.columns})
    n_packings = max(1, -(-n_d // {block.points})){"".join(f" * n_c{c}" for c in _outer(nest))}
    for task in range(lo, hi):
{_indented(_print_task(nest), 8)}
        for at in range(sums, sums + (n_columns + {block.rows + more}) * {lanes}):
            acc[at] = np.{nest.element}(0)
        for at in range(state, state + {lanes}):
            acc[at] = np.{nest.element}(-np.inf)
            acc[at + {lanes}] = np.{nest.element}(0)
        # Blocks of equal shares.
        limit = {limit}
        step = -(-limit // max(1, -(-limit // {block.keys})))
        s_0 = 0
        while s_0 < limit:
            n_keys = min(step, limit - s_0)
            packing = 0
{_indented(scored, 12)}
{_indented(added, 12)}
            s_0 += n_keys
        store(out, acc, sums, state, out_at, out_q, out_e, n_rows, n_columns, n_s)
"""


def _outer(nest: AttentionNest) -> range:
    return range(nest.n_contracted)


def _print_task(nest: AttentionNest) -> str:
    """Return the lines that find a task's panel, columns and operands."""
    block, lanes = nest.block, nest.panel
    offset = ["q", "k", "v", *(f"mask{number}" for number in range(len(nest.masks))), "out"]
    lines = [
        f"row = task // n_chunks % n_panels * {lanes}",
        f"column = task % n_chunks * {block.columns}",
        f"n_rows = min({lanes}, n_q - row)",
        f"n_columns = min({block.columns}, n_e - column)",
        "batch = task // n_chunks // n_panels",
        "q_at = row * q_q",
        "k_at = 0",
        "v_at = column * v_e",
        *(f"mask{number}_at = row * mask{number}_q" for number in range(len(nest.masks))),
        "out_at = row * out_q + column * out_e",
    ]
    for number in reversed(range(nest.n_batch)):
        lines.append(f"b{number} = batch % n_b{number}")
        lines += [f"{name}_at += b{number} * {name}_b{number}" for name in offset]
        if number:
            lines.append(f"batch //= n_b{number}")
    return "\n".join(lines)


def _print_contracted(nest: AttentionNest, key: str, at: str, step: str, along: str) -> str:
    """Return the loops over contracted indices, in which scores of a block of keys are summed."""
    block = nest.block
    q_at, lines, pad = "q_at + d_0 * q_d", [], ""
    for number in _outer(nest):
        lines.append(f"{pad}for c{number} in range(n_c{number}):")
        pad += "    "
        q_at += f" + c{number} * q_c{number}"
        if key == "k":
            at += f" + c{number} * k_c{number}"
    k_at = "k_at + s_0 * k_s + d_0 * k_d" + "".join(f" + c{c} * k_c{c}" for c in _outer(nest))
    lines += [
        f"{pad}for d_0 in range(0, max(n_d, 1), {block.points}):",
        f"{pad}    n_points = min({block.points}, n_d - d_0)",
        f"{pad}    # One packing serves all blocks of keys.",
        f"{pad}    if s_0 == 0 or n_packings > 1:",
        f"{pad}        pack_queries(q, acc, panel, {q_at}, q_q, q_d, n_rows, n_points)",
    ]
    if nest.is_cast(nest.key):
        lines.append(f"{pad}    convert_keys(k, acc, keys, {k_at}, k_s, k_d, n_keys, n_points)")
    lines += [
        f"{pad}    is_first = packing == 0",
        f"{pad}    n_blocks = n_keys // {block.rows}",
        f"{pad}    n_alone = n_keys - n_blocks * {block.rows}",
        f"{pad}    # The last block starts early instead of being cut, where nothing is added to.",
        f"{pad}    if is_first and n_alone > 0 and n_blocks > 0:",
        f"{pad}        n_blocks += 1",
        f"{pad}        n_alone = 0",
        f"{pad}    k_0 = {at}",
        f"{pad}    for i in range(n_blocks):",
        f"{pad}        s = min(i * {block.rows}, n_keys - {block.rows})",
        f"{pad}        score_rows(",
        f"{pad}            acc, {key}, k_0 + s * {step}, {step}, {along}, panel, n_points,",
        f"{pad}            scores + s * {block.lanes}, is_first",
        f"{pad}        )",
        f"{pad}    for s in range(n_keys - n_alone, n_keys):",
        f"{pad}        score_row(",
        f"{pad}            acc, {key}, k_0 + s * {step}, {step}, {along}, panel, n_points,",
        f"{pad}            scores + s * {block.lanes}, is_first",
        f"{pad}        )",
        f"{pad}    packing += 1",
    ]
    if nest.n_contracted:
        # Without points, scores are sums of nothing.
        lines += [
            "if packing == 0:",
            f"    for at in range(scores, scores + n_keys * {block.lanes}):",
            f"        acc[at] = np.{nest.element}(0)",
        ]
    return "\n".join(lines)


def _print_single_scores(nest: AttentionNest) -> str:
    """Return the loop over contracted points, in which a single query's scores are summed."""
    points = nest.block.points
    return f"""\
for d_0 in range(0, max(n_d, 1), {points}):
    n_points = min({points}, n_d - d_0)
    # One packing serves all blocks of keys.
    if s_0 == 0 or n_packings > 1:
        pack_queries(q, acc, panel, q_at + d_0 * q_d, q_d, n_points)
    k_0 = k_at + s_0 * k_s + d_0
    score_rows(acc, k, k_0, k_s, panel, n_points, scores, n_keys, packing == 0)
    packing += 1"""


_SINGLE_VALUES = """
if is_greater and s_0 > 0:
    rescale(acc, sums, state, n_columns)
add_rows(acc, v, v_at + s_0 * v_s, v_s, scores, n_keys, sums, n_columns)"""


def _print_weights(nest: AttentionNest) -> str:
    """Return the lines that turn scores into weights."""
    lines: list[str] = []
    arguments: list[str] = []
    for number, mask in enumerate(nest.masks):
        at = f"mask{number}_at + s_0 * mask{number}_s"
        if mask.is_moved:
            lines.append(
                f"move_mask{number}(mask{number}, acc, moved{number}, {at}, mask{number}_q, "
                f"mask{number}_s, n_rows, n_keys{', rows' if mask.lanes == 'converted' else ''})"
            )
            arguments.append(f"moved{number}")
        else:
            arguments += [f"mask{number}", at, f"mask{number}_s"]
            if mask.lanes == "vectors" and not nest.is_single:
                arguments.append("n_rows")
    given = "".join(f", {argument}" for argument in arguments)
    plain = f"weigh(acc, scores, state, n_keys{given})"
    if nest.is_causal and not nest.is_single:
        lines += [
            "if s_0 + n_keys > row + 1:",
            f"    is_greater = weigh_diagonal(acc, scores, state, n_keys, row - s_0{given})",
            "else:",
            f"    is_greater = {plain}",
        ]
    else:
        lines.append(f"is_greater = {plain}")
    return "\n".join(lines)


def _print_values(nest: AttentionNest) -> str:
    """Return the lines that add weighted values, behind those for the weights."""
    block = nest.block
    lines = [
        "",
        "if is_greater and s_0 > 0:",
        f"    rescale(acc, sums, state, n_columns + {block.rows})",
    ]
    value, at, step, along = "v", "v_at + s_0 * v_s", "v_s", "v_e"
    if nest.is_cast(nest.value):
        lines.append(f"convert_values(v, acc, values, {at}, v_s, v_e, n_keys, n_columns)")
        value, at, step, along = "acc", "values", str(block.columns), "1"
    lines += [
        f"v_0 = {at}",
        f"n_blocks = -(-n_columns // {block.rows}) if n_columns >= {block.rows} else 0",
        "for i in range(n_blocks):",
        "    # The last block starts early and has sums of its own.",
        f"    e = min(i * {block.rows}, n_columns - {block.rows})",
        f"    add_rows(acc, {value}, v_0 + e * {along}, {step}, {along}, scores, n_keys, "
        f"sums + i * {block.rows * block.lanes})",
        f"if n_columns < {block.rows}:",
        "    for e in range(n_columns):",
        f"        add_row(acc, {value}, v_0 + e * {along}, {step}, {along}, scores, n_keys, "
        f"sums + e * {block.lanes})",
    ]
    return "\n".join(lines)


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())
