"""The header of a library and a C program that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from einloom_compiler.aot.driver import (
    ERRORS,
    FIRST_CHECK,
    c_type,
    typed_signature,
)
from einloom_compiler.aot.library import Library, Port
from einloom_compiler.aot.names import parameter, symbol_parameter
from einloom_compiler.lowering.formula import formula_text

_NOTES = {
    "complex64": "pairs of real and imaginary part",
    "complex128": "pairs of real and imaginary part",
    "float16": "IEEE half precision, as bits",
    "bfloat16": "bfloat16, as bits",
    "bool": "0 or 1",
}


_BESIDE = """\
 *
 * Weights lie in lib{name}.weights, beside the object that holds this code. Of that file the size
 * and the first bytes are looked at; to read all would take long. manifest.json has its SHA-256,
 * and verify() of {name}.py compares it.
"""


def print_header(library: Library, version: str, *, is_beside: bool = False) -> str:
    """Return the header, for C99 and C++.

    Args:
        library: what it declares.
        version: of einloom.
        is_beside: whether constants lie in a file beside the library.
    """
    name, upper = library.name, library.name.upper()
    codes = [
        f"    {upper}_{'ERROR_' if n else ''}{word} = {n}, /* {text} */"
        for n, (word, text) in enumerate(ERRORS)
    ]
    codes += [
        f"    {upper}_ERROR_CHECK_{n} = {FIRST_CHECK + n}, /* {_comment(check.text)} */"
        for n, check in enumerate(library.checks)
    ]
    symbols = ", ".join(
        f"{symbol.name} ({symbol.least} to {'any' if symbol.most is None else symbol.most})"
        for symbol in library.symbols
    )
    return f"""\
/* {name}, version {version}, written by einloom. Link with -l{name} -lm -lpthread.
 *
 * Inputs, in C order:
{_port_lines(library.inputs)}
 * Outputs, in C order; no output may overlap an input or another output:
{_port_lines(library.outputs)}
 * Symbolic extents: {_comment(symbols) or "none"}.
 *
 * All functions may be called from several threads at once; they keep no state but a pool of
 * threads and, for each calling thread, the memory that its calls needed, until the thread ends or
 * calls {name}_release. They work in a forked child.
 *
 * The shared library is never unloaded: threads of its pool run its code until the process ends. If
 * you link the static archive into a plugin, which dlclose may unload, link that with
 * -Wl,-z,nodelete, too.
{_BESIDE.format(name=name) if is_beside else ""} */
#ifndef EINLOOM_{upper}_H
#define EINLOOM_{upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_API __attribute__((visibility("default")))
#define {upper}_N_INPUTS {len(library.inputs)}
#define {upper}_N_OUTPUTS {len(library.outputs)}
#define {upper}_N_EXTENTS {len(library.symbols)}

/* What functions return. */
enum {{
{chr(10).join(codes)}
}};

/* Compute; return {upper}_SUCCESS or an error code, after which nothing has been written but, with
 * {upper}_ERROR_INDEX, parts of outputs.
 * threads: of this call; 0 for as many as are available, where the work is large. */
{upper}_API int {name}_call({typed_signature(library)});

/* The same for arrays of pointers, and of extents in the order above. */
{upper}_API int {name}_run(const void *const *inputs, void *const *outputs,
                       const int64_t *extents, int threads);

/* The same for arrays of any strides, and with memory of the caller's.
 * input_strides, output_strides: of each array, in elements; NULL for C order, as may each be.
 * workspace: {name}_workspace_bytes of memory, aligned to 64 bytes; NULL for the thread's own. */
{upper}_API int {name}_run_with(const void *const *inputs, void *const *outputs,
                            const int64_t *extents, const int64_t *const *input_strides,
                            const int64_t *const *output_strides, void *workspace,
                            int64_t workspace_bytes, int threads);

/* Bytes of workspace for these extents and threads, or a negative error code. */
{upper}_API int64_t {name}_workspace_bytes(const int64_t *extents, int threads);

/* Write the shape of an output; return an error code. */
{upper}_API int {name}_shape(int output, const int64_t *extents, int64_t *shape);

/* Give back this thread's memory. */
{upper}_API void {name}_release(void);

{upper}_API const char *{name}_version(void);
{upper}_API const char *{name}_message(int code);

/* The CPU level whose code runs here; empty where none can. The variable EINLOOM_AOT_CPU chooses a
 * lower one when the library is loaded. */
{upper}_API const char *{name}_cpu(void);

#ifdef __cplusplus
}}
#endif

#endif
"""


def print_example(library: Library, sizes: Sequence[int], shapes: Sequence[Sequence[int]]) -> str:
    """Return a program that calls the library and prints a checksum.

    Args:
        library: what it calls.
        sizes: a value of each symbol that all checks allow.
        shapes: of each input and output at these sizes.
    """
    name, upper = library.name, library.name.upper()
    ports = [*library.inputs, *library.outputs]
    declared, filled, summed = [], [], []
    for number, (port, shape) in enumerate(zip(ports, shapes, strict=True)):
        count = max(1, prod(shape)) * (2 if port.dtype.startswith("complex") else 1)
        kind, called = c_type(port.dtype), parameter(port.name)
        declared.append(f"    {kind} *{called} = calloc({count}, sizeof *{called});")
        if number < len(library.inputs):
            filled.append(f"    for (size_t i = 0; i < {count}; i++)")
            filled.append(f"        {called}[i] = ({kind})(i % 5);")
        else:
            summed.append(f"    for (size_t i = 0; i < {count}; i++)")
            summed.append(f"        checksum += (double){called}[i];")
    arguments = ", ".join(
        [*(parameter(port.name) for port in ports), *(f"INT64_C({size})" for size in sizes), "0"]
    )
    missing = " || ".join(f"{parameter(port.name)} == NULL" for port in ports)
    extents = ", ".join(
        f"{symbol_parameter(s.name, n)} = {size}"
        for n, (s, size) in enumerate(zip(library.symbols, sizes, strict=True))
    )
    return f"""\
/* cc -std=c99 -Wall -Werror example.c -o example -L. -l{name} -Wl,-rpath,'$ORIGIN' -lm -lpthread */
#include <stdio.h>
#include <stdlib.h>

#include "{name}.h"

int main(void) {{
    /* {extents or "no symbolic extents"} */
{chr(10).join(declared)}
    double checksum = 0;
    if ({missing}) {{
        fprintf(stderr, "no memory\\n");
        return 1;
    }}
{chr(10).join(filled)}
    int code = {name}_call({arguments});
    if (code != {upper}_SUCCESS) {{
        fprintf(stderr, "{name}: %s\\n", {name}_message(code));
        return 1;
    }}
{chr(10).join(summed)}
    printf("{name} %s on %s: checksum %.6g\\n", {name}_version(), {name}_cpu(), checksum);
{chr(10).join(f"    free({parameter(port.name)});" for port in ports)}
    return 0;
}}
"""


def shape_text(port: Port) -> str:
    """Return a port's shape for people."""
    return f"[{', '.join(map(formula_text, port.shape))}]"


def _port_lines(ports: Sequence[Port]) -> str:
    lines = [
        f" *   {_comment(port.name)}: {port.dtype}{_comment(shape_text(port))}"
        + (f" ({_NOTES[port.dtype]})" if port.dtype in _NOTES else "")
        for port in ports
    ]
    return "\n".join(lines) or " *   none"


def _comment(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("*/", "* /")
