"""The C driver of a library: checks, choice of level and variant, and the functions callers see."""

from __future__ import annotations

import numpy as np

from einloom_compiler.aot.expressions import c_number
from einloom_compiler.aot.library import Level, Library, Port
from einloom_compiler.aot.names import parameter, symbol_parameter
from einloom_compiler.aot.packing import packed_offsets
from einloom_compiler.aot.variants import Variants, constant_offsets, level_key, symbol_names
from einloom_compiler.dtypes import arithmetic

#: Error codes by name, and their messages; guards follow from :data:`FIRST_CHECK` on.
ERRORS = (
    ("SUCCESS", "no error"),
    ("NULL_POINTER", "a pointer is NULL that must not be"),
    ("EXTENT", "an extent lies outside of its declared range"),
    ("NO_MEMORY", "there is not enough memory"),
    ("WORKSPACE", "the workspace is too small, or not aligned to 64 bytes"),
    ("CPU", "this CPU is none that the library has code for"),
    (
        "SIZE",
        "no code serves these extents: an array would be too large, or have a negative extent",
    ),
    ("THREADS", "the number of threads is negative"),
    ("ALIGNMENT", "an array is not aligned to its elements"),
    ("OUTPUT", "there is no such output"),
    ("INDEX", "an index names no row of the table that it looks rows up in"),
    ("WEIGHTS", "the file of weights beside the library is missing, or is not this library's"),
)
FIRST_CHECK = 64
_POOL_FUNCTIONS = ("run", "run_small", "workers")


def print_driver(library: Library, version: str, weights: str = "") -> str:
    """Return the driver as C; it includes ``pool.c``, ``runtime.c`` and the library's header.

    Args:
        library: what is built.
        version: what the version function returns.
        weights: hex digest of the file of constants, empty where they are linked in.
    """
    name = library.name
    constants = len(library.constants) > 0
    parts = [
        f"/* The driver of {name}, written by einloom. */",
        "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE\n#endif",
        # Archives of several libraries may be linked into one program.
        *(f"#define einloom_pool_{word} {name}_pool_{word}" for word in _POOL_FUNCTIONS),
        '#include "pool.c"',
        '#include "runtime.c"',
        f'#include "{name}.h"',
        _constants(library, weights) if constants else "",
        _PACKED if any(level.packed for level in library.levels) else "",
        Variants(library).text(),
        _ports(library),
        _levels(library),
        _checks(library),
        _interface(library, version),
    ]
    return "\n".join(part for part in parts if part) + "\n"


_PACKED = '#define PACKED_CONSTANTS\n#include "packing.c"\n'


def identity_function(name: str, digest: str) -> str:
    """Return the function that tells one build from another, for the end of a driver."""
    return (
        f'\n__attribute__((visibility("default"))) const char *{name}_identity(void) {{\n'
        f'    return "{digest}";\n}}\n'
    )


def _constants(library: Library, weights: str) -> str:
    name = library.name
    _, size = constant_offsets(library.constants)
    defined = f"#define CONSTANTS_BYTES INT64_C({size})\n"
    if weights:
        return (
            f"{defined}"
            f'#define WEIGHTS_DIGEST "{weights}"\n'
            f'#define WEIGHTS_FILE "lib{name}.weights"\n'
            '#include "weights.c"\n'
            "static inline char *constants(void) { return mapped_weights; }\n"
        )
    return (
        f"{defined}"
        f'extern char {name}_constants[] __attribute__((visibility("hidden")));\n'
        f"static inline char *constants(void) {{ return {name}_constants; }}\n"
    )


def _ports(library: Library) -> str:
    """Return ranks, itemsizes and shapes of inputs and outputs."""
    names = symbol_names(library)
    lines = [f"enum {{ N_SYMBOLS = {len(library.symbols)} }};"]
    for word, values in (
        ("inputs", [symbol.input for symbol in library.symbols]),
        ("axes", [symbol.axis for symbol in library.symbols]),
    ):
        listed = ", ".join(map(str, values)) or "0"
        lines.append(f"static const int symbol_{word}[] = {{{listed}}};")
    for kind, ports in (("input", library.inputs), ("output", library.outputs)):
        n = max(1, len(ports))
        ranks = ", ".join(str(len(port.shape)) for port in ports) or "0"
        sizes = ", ".join(str(itemsize(port)) for port in ports) or "1"
        lines.append(f"enum {{ N_{kind.upper()}S = {len(ports)} }};")
        lines.append(f"static const int {kind}_ranks[{n}] = {{{ranks}}};")
        lines.append(f"static const int64_t {kind}_itemsizes[{n}] = {{{sizes}}};")
        aligns = ", ".join(str(alignment(port)) for port in ports) or "1"
        lines.append(f"static const int64_t {kind}_alignments[{n}] = {{{aligns}}};")
        lines.append(
            f"static void {kind}_shape(int number, const int64_t *sizes, int64_t *shape) {{"
        )
        lines += [
            f"    const int64_t s{k} = sizes[{k}];\n    (void)s{k};"
            for k in range(len(library.symbols))
        ]
        lines.append("    (void)sizes;\n    (void)shape;\n    switch (number) {")
        for number, port in enumerate(ports):
            lines.append(f"    case {number}:")
            lines += [
                f"        shape[{axis}] = {c_number(extent, names)};"
                for axis, extent in enumerate(port.shape)
            ]
            lines.append("        break;")
        lines.append("    default:\n        break;\n    }\n}\n")
    return "\n".join(lines)


def itemsize(port: Port) -> int:
    """Return the bytes of one element."""
    return np.dtype(arithmetic(port.dtype).storage).itemsize


def alignment(port: Port) -> int:
    """Return the bytes that an array's address is a multiple of."""
    return np.dtype(arithmetic(port.dtype).storage).alignment


def _levels(library: Library) -> str:
    """Return the choice of the CPU level and of the cell."""
    rows = [
        f'    {{{level.needs.level}, "{level.needs.vendor}", {level.needs.family}, '
        f'{level.needs.model}, "{level.cpu}", {level_key(level.cpu)}_choice, {_packings(level)}}},'
        for level in reversed(library.levels)
    ]
    bounds = [
        f"static const int64_t bounds_{n}[] = {{{', '.join(map(str, symbol.bounds)) or '0'}}};"
        for n, symbol in enumerate(library.symbols)
    ]
    cell = [
        "static int64_t cell_of(const int64_t *sizes) {",
        "    int64_t cell = 0;",
        "    (void)sizes;",
    ]
    for n, symbol in enumerate(library.symbols):
        if symbol.bounds:
            cell += [
                f"    int range_{n} = 0;",
                f"    while (range_{n} < {len(symbol.bounds)} &&",
                f"           sizes[{n}] >= bounds_{n}[range_{n}])",
                f"        range_{n}++;",
                f"    cell = cell * {len(symbol.bounds) + 1} + range_{n};",
            ]
    cell += ["    return cell;", "}", ""]
    return "\n".join(
        [
            "static const Level levels[] = {",
            *rows,
            "};\n",
            *[b for b, s in zip(bounds, library.symbols, strict=True) if s.bounds],
            *cell,
        ]
    )


def _packings(level: Level) -> str:
    if not level.packed:
        return "NULL, 0, 0"
    _, n_bytes = packed_offsets(level.packed)
    return f"{level_key(level.cpu)}_packings, {len(level.packed)}, INT64_C({n_bytes})"


def _checks(library: Library) -> str:
    names = symbol_names(library)
    lines = ["static int check(const int64_t *sizes) {", "    (void)sizes;"]
    for n, symbol in enumerate(library.symbols):
        lines.append(f"    const int64_t s{n} = sizes[{n}];")
        upper = "" if symbol.most is None else f" || s{n} > {c_number(symbol.most, {})}"
        lines.append(f"    if (s{n} < {symbol.least}{upper})")
        lines.append(f"        return {library.name.upper()}_ERROR_EXTENT;")
        lines.append(f"    if (s{n} > INT64_C(1) << 40)")  # so that no product of few overflows
        lines.append(f"        return {library.name.upper()}_ERROR_SIZE;")
    for number, guard in enumerate(library.checks):
        left, right = c_number(guard.left, names), c_number(guard.right, names)
        lines.append(f"    if (!({left} {guard.relation} {right}))")
        lines.append(f"        return {FIRST_CHECK + number};")
    return "\n".join([*lines, "    return 0;", "}", ""])


def _interface(library: Library, version: str) -> str:
    name, upper = library.name, library.name.upper()
    messages = [f'    case {n}:\n        return "{text}";' for n, (_, text) in enumerate(ERRORS)]
    messages += [
        f'    case {FIRST_CHECK + n}:\n        return "{_quoted(guard.text)}";'
        for n, guard in enumerate(library.checks)
    ]
    typed = [f"(const void *){parameter(port.name)}" for port in library.inputs]
    outs = [f"(void *){parameter(port.name)}" for port in library.outputs]
    sizes = [symbol_parameter(symbol.name, n) for n, symbol in enumerate(library.symbols)]
    signature = typed_signature(library)
    return f"""\
#define LIBRARY(word) {name}_##word
#define LIBRARY_NAME "{name}"
#define LIBRARY_ERROR(word) {upper}_ERROR_##word
#include "interface.c"

int {name}_call({signature}) {{
    const void *const inputs[] = {{{", ".join(typed) or "NULL"}}};
    void *const outputs[] = {{{", ".join(outs)}}};
    const int64_t sizes[] = {{{", ".join(sizes) or "0"}}};
    return run(inputs, outputs, sizes, NULL, NULL, NULL, 0, threads, NULL);
}}

const char *{name}_version(void) {{ return "{version}"; }}

const char *{name}_message(int code) {{
    switch (code) {{
{chr(10).join(messages)}
    default:
        return "an unknown code";
    }}
}}
"""


def typed_signature(library: Library) -> str:
    """Return the parameters of the function that takes typed pointers."""
    parts = [f"const {c_type(port.dtype)} *{parameter(port.name)}" for port in library.inputs]
    parts += [f"{c_type(port.dtype)} *{parameter(port.name)}" for port in library.outputs]
    parts += [f"int64_t {symbol_parameter(s.name, n)}" for n, s in enumerate(library.symbols)]
    return ", ".join([*parts, "int threads"])


def c_type(dtype: str) -> str:
    """Return the C type of elements: complex numbers as pairs, 16-bit floats as their bits."""
    storage = arithmetic(dtype).storage
    known = {"float32": "float", "float64": "double", "complex64": "float", "complex128": "double"}
    return known.get(storage, f"{storage}_t")


def _quoted(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"')
