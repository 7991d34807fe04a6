"""Print attention nests: pack a panel of queries, pass by blocks of keys and values, store.

Names: ``q, k, v, mask0, ..., out`` are the operands and the output, ``s`` key positions, ``d``
contracted points, ``e`` columns of the values, ``b0, b1, ...`` batch indices, slowest first, and
``c0, ...`` contracted indices besides ``d``. ``n_<index>`` is an extent, ``<operand>_<index>`` a
stride in elements, 0 where the operand does not depend on the index. All of a task's scratch has
queries as lanes: a row of it is a contracted point, a key or a column.

A row without any key that is not left out is NaN, as softmax of it is; without keys at all the
result is 0, an empty sum. Weights below 1e-37 of a row's greatest may be 0, and keys that causality
leaves out may not be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from einloom_compiler.codegen.attention_single import SingleWriter
from einloom_compiler.codegen.attention_steps import StepWriter, numbers_of
from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.attention import AttentionNest

#: Functions of each attention kernel; in a program of several, they bear the kernel's number.
_OWN = re.compile(
    r"\b(score_rows?|add_rows?|pack_queries|copy_keys|copy_values|move_mask\d+|weigh|"
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
    names = (*(pointer for pointer, _ in pointers_of(nest)), *numbers_of(nest))
    head = wrapped("def kernel(", f"{', '.join(names)}, acc, acc_0, lo, hi", "):")
    starts = "\n".join(f"    {part} = acc_0 + {nest.start(part)}" for part, _ in nest.parts)
    return f"""\
@njit({OPTIONS})
{head}
{starts}
{_indented(_print_lane_numbers(nest), 4)}
    n_panels = -(-n_q // {nest.panel})
    n_chunks = -(-n_e // {nest.block.columns})
    n_packings = max(1, -(-n_d // {nest.block.points})){"".join(f" * n_c{c}" for c in _outer(nest))}
    task = lo
    while task < hi:
{_indented(_print_task(nest), 8)}
{_indented(_print_panels(nest), 8)}
        task += n_together
"""


def _print_lane_numbers(nest: AttentionNest) -> str:
    """Return the lines that write the numbers of lanes behind each panel's state."""
    if nest.is_single:
        return f"""\
for lane in range({nest.block.width}):
    acc[state + 4 + lane] = np.{nest.element}(lane)"""
    lanes = nest.panel
    return f"""\
for p in range({nest.block.panels}):
    for lane in range({lanes}):
        acc[state + p * {4 * lanes} + {3 * lanes} + lane] = np.{nest.element}(lane)"""


def _print_panels(nest: AttentionNest) -> str:
    """Return the lines that compute a task's panel, and those of the tasks that join it."""
    block, lanes = nest.block, nest.panel
    more = 4 * block.width if nest.is_single else 0
    blocks = f"""\
# Blocks of equal shares.
step = -(-limit // max(1, -(-limit // {block.keys})))
s_0 = 0
while s_0 < limit:
    n_copied = min(step, limit - s_0)"""
    limit = f"min(n_s, row_0 + n_together * {lanes})" if nest.is_causal else "n_s"
    lines = [
        "for p in range(n_together):",
        *(f"    {line}" for line in _print_places(nest, ("sums", "state"))),
        f"    for at in range(sums_p, sums_p + (n_columns + {block.rows + more}) * {lanes}):",
        f"        acc[at] = np.{nest.element}(0)",
        f"    for at in range(state_p, state_p + {lanes}):",
        f"        acc[at] = np.{nest.element}(-np.inf)",
        f"        acc[at + {lanes}] = np.{nest.element}(0)",
        f"limit = {limit}",
        blocks,
    ]
    if nest.copies_values:
        lines.append(
            "    copy_values(v, acc, values, v_at + s_0 * v_s, v_s, v_e, n_copied, n_columns)"
        )
    seen = ["    n_keys = n_copied"]
    if nest.is_causal:
        seen = [
            "    n_keys = min(n_copied, row + n_rows - s_0)",
            "    if n_keys <= 0:",
            "        break",
        ]
    scored = _print_single_scores(nest) if nest.is_single else _print_contracted(nest)
    added = _SINGLE_VALUES if nest.is_single else _print_values(nest)
    lines += [
        *(f"    # {line}" for line in _why_backwards(nest)),
        "    for p in range(n_together - 1, -1, -1):",
        *(f"        {line}" for line in _print_places(nest, ("panel", "sums", "state"))),
        *(f"        {line}" for line in _print_rows(nest)),
        *(f"    {line}" for line in seen),
        "        packing = 0",
        _indented(scored, 8),
        _indented(_print_weights(nest) + added, 8),
        "    s_0 += n_copied",
        "for p in range(n_together):",
        *(f"    {line}" for line in _print_places(nest, ("sums", "state"))),
        *(f"    {line}" for line in _print_rows(nest)),
        "    store(",
        "        out, acc, sums_p, state_p, out_at + row * out_q, out_q, out_e, n_rows,",
        "        n_columns, n_s",
        "    )",
    ]
    return "\n".join(lines)


def _outer(nest: AttentionNest) -> range:
    return range(nest.n_contracted)


def _print_task(nest: AttentionNest) -> str:
    """Return the lines that find a task's panel, columns and operands, and who joins it."""
    block, lanes = nest.block, nest.panel
    offset = ["q", "k", "v", *(f"mask{number}" for number in range(len(nest.masks))), "out"]
    joining = "1"
    if block.panels > 1:
        joining = f"min({block.panels}, hi - task, n_panels - task % n_panels)"
    lines = [
        f"row_0 = task % n_panels * {lanes}",
        f"n_together = {joining}",
        f"column = task // n_panels % n_chunks * {block.columns}",
        f"n_columns = min({block.columns}, n_e - column)",
        "batch = task // n_panels // n_chunks",
        "q_at = 0",
        "k_at = 0",
        "v_at = column * v_e",
        *(f"mask{number}_at = 0" for number in range(len(nest.masks))),
        "out_at = column * out_e",
    ]
    for number in reversed(range(nest.n_batch)):
        lines.append(f"b{number} = batch % n_b{number}")
        lines += [f"{name}_at += b{number} * {name}_b{number}" for name in offset]
        if number:
            lines.append(f"batch //= n_b{number}")
    return "\n".join(lines)


def _print_places(nest: AttentionNest, parts: Sequence[str]) -> list[str]:
    """Return the lines that find the parts of the scratch of panel ``p``."""
    sizes = dict(nest.parts)
    return [f"{part}_p = {part} + p * {sizes[part] // nest.block.panels}" for part in parts]


def _print_rows(nest: AttentionNest) -> list[str]:
    """Return the lines that find the queries of panel ``p``."""
    return [f"row = row_0 + p * {nest.panel}", f"n_rows = min({nest.panel}, n_q - row)"]


def _why_backwards(nest: AttentionNest) -> list[str]:
    """Return a comment on the order of panels."""
    return ["The last panel sees most keys."] if nest.is_causal else []


def _print_contracted(nest: AttentionNest) -> str:
    """Return the loops over contracted indices, in which scores of a block of keys are summed."""
    block = nest.block
    q_at, pad = "q_at + row * q_q + d_0 * q_d", ""
    at = "k_at + s_0 * k_s + d_0 * k_d"
    lines = []
    for number in _outer(nest):
        lines.append(f"{pad}for c{number} in range(n_c{number}):")
        pad += "    "
        q_at += f" + c{number} * q_c{number}"
        at += f" + c{number} * k_c{number}"
    lines += [
        f"{pad}for d_0 in range(0, max(n_d, 1), {block.points}):",
        f"{pad}    n_points = min({block.points}, n_d - d_0)",
        f"{pad}    # One packing serves all blocks of keys.",
        f"{pad}    if s_0 == 0 or n_packings > 1:",
        f"{pad}        pack_queries(q, acc, panel_p, {q_at}, q_q, q_d, n_rows, n_points)",
    ]
    key, step = f"acc, k, {at}", "k_s"
    rest = "k_s, k_d, "
    if nest.copies_keys:
        lines += [
            f"{pad}    # One copy serves all panels.",
            f"{pad}    if p == n_together - 1 or n_packings > 1:",
            f"{pad}        copy_keys(k, acc, keys, {at}, k_s, k_d, n_copied, n_points)",
        ]
        key, step, rest = "acc, keys", str(nest.pitch(block.points)), ""
    lines += [
        f"{pad}    is_first = packing == 0",
        f"{pad}    n_blocks = n_keys // {block.rows}",
        f"{pad}    n_alone = n_keys - n_blocks * {block.rows}",
        f"{pad}    # The last block starts early instead of being cut, where nothing is added to.",
        f"{pad}    if is_first and n_alone > 0 and n_blocks > 0:",
        f"{pad}        n_blocks += 1",
        f"{pad}        n_alone = 0",
        f"{pad}    for i in range(n_blocks):",
        f"{pad}        s = min(i * {block.rows}, n_keys - {block.rows})",
        f"{pad}        score_rows(",
        f"{pad}            {key} + s * {step}, {rest}panel_p, n_points,",
        f"{pad}            scores + s * {block.lanes}, is_first",
        f"{pad}        )",
        f"{pad}    for s in range(n_keys - n_alone, n_keys):",
        f"{pad}        score_row(",
        f"{pad}            {key} + s * {step}, {rest}panel_p, n_points,",
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
        pack_queries(q, acc, panel_p, q_at + row_0 * q_q + d_0 * q_d, q_d, n_points)
    k_0 = k_at + s_0 * k_s + d_0
    score_rows(acc, k, k_0, k_s, panel_p, n_points, scores, n_keys, packing == 0)
    packing += 1"""


_SINGLE_VALUES = """
if is_greater and s_0 > 0:
    rescale(acc, sums_p, state_p, n_columns)
add_rows(acc, v, v_at + s_0 * v_s, v_s, scores, n_keys, sums_p, n_columns)"""


def _print_weights(nest: AttentionNest) -> str:
    """Return the lines that turn scores into weights."""
    lines: list[str] = []
    arguments: list[str] = []
    for number, mask in enumerate(nest.masks):
        at = f"mask{number}_at + row * mask{number}_q + s_0 * mask{number}_s"
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
    plain = f"weigh(acc, scores, state_p, n_keys{given})"
    if nest.is_causal and not nest.is_single:
        lines += [
            "if s_0 + n_keys > row + 1:",
            f"    is_greater = weigh_diagonal(acc, scores, state_p, n_keys, row - s_0{given})",
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
        f"    rescale(acc, sums_p, state_p, n_columns + {block.rows})",
    ]
    value, along, rest = "acc, v, v_at + s_0 * v_s", " * v_e", "v_s, v_e, scores, n_keys"
    if nest.copies_values:
        value, along, rest = "acc, values", "", "scores, n_keys"
    lines += [
        f"n_blocks = -(-n_columns // {block.rows}) if n_columns >= {block.rows} else 0",
        "for i in range(n_blocks):",
        "    # The last block starts early and has sums of its own.",
        f"    e = min(i * {block.rows}, n_columns - {block.rows})",
        "    add_rows(",
        f"        {value} + e{along}, {rest}, sums_p + i * {block.rows * block.lanes}",
        "    )",
        f"if n_columns < {block.rows}:",
        "    for e in range(n_columns):",
        "        add_row(",
        f"            {value} + e{along}, {rest}, sums_p + e * {block.lanes}",
        "        )",
    ]
    return "\n".join(lines)


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())
