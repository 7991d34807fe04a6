"""The library IR: printed, verified, and its formulas as C."""

from dataclasses import replace
from typing import Any

import pytest

from einloom_compiler.aot.expressions import c_definitions, c_number
from einloom_compiler.aot.header import print_header
from einloom_compiler.aot.library import (
    Buffer,
    Check,
    Constant,
    Gather,
    Launch,
    Level,
    Library,
    Packed,
    Place,
    Port,
    Processor,
    Symbol,
    Variant,
)
from einloom_compiler.aot.names import parameter
from einloom_compiler.aot.printer import print_library
from einloom_compiler.aot.verify import verify_library
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.lowering.formula import Formula, named, open_symbol
from einloom_compiler.lowering.prepacking import Packing

B = open_symbol(4, "B", 0)
KERNEL = KernelText("out = x", "", (("x0", "float32"), ("out", "float32")), ("n_i",), 0, "float32")
LAUNCH = Launch(0, (Place("input", 0),), Place("buffer", 0), (), (B * 3,), B, B * 3, 100, 12, 6)
GATHER = Gather(Place("buffer", 0), Place("input", 0), Place("output", 0), "int32", B, B, 12)
PACKED = Packed(0, Packing((), (5, 2), (), ((3, 10),), 4, "float32", "float32"), "float32")
LIBRARY = Library(
    name="f",
    inputs=(Port("x", "float32", (B, 3)),),
    outputs=(Port("out", "float32", (B, 3)),),
    symbols=(Symbol("B", 0, 0, 0, 9, (1, 4)),),
    checks=(Check(B, 2, "B == 2"),),
    constants=(Constant(b"1234"),),
    levels=(
        Level(
            "x86-64-v2",
            Processor(2),
            (KERNEL,),
            (PACKED,),
            (Variant((Buffer(B * 12, 0),), (LAUNCH, GATHER)),),
            (None, 0, 0),
        ),
    ),
)


def test_a_library_prints_what_it_does() -> None:
    assert print_library(LIBRARY).splitlines() == [
        "library f",
        "  input x: float32[B, 3]",
        "  output out: float32[B, 3]",
        "  symbol B: axis 0 of input 0, 0 to 9, cut at 1, 4",
        "  check B == 2",
        "  constant 0: 4 bytes",
        "  level x86-64-v2: cells none, 0 x 2",
        "    packed 0: constant 0 of float32 as panels of 4, 96 bytes",
        "    variant 0",
        "      buffer 0 in room 0: B * 12 bytes",
        "      buffer 0 = kernel 0(input 0; B * 3) over B: out = x",
        "      output 0 = B rows of 12 bytes, by int32 input 0, of B in buffer 0",
    ]
    verify_library(LIBRARY)


def changed(**fields: Any) -> Library:
    """Return the library with the fields of its launch changed."""
    (level,) = LIBRARY.levels
    (variant,) = level.variants
    steps = (replace(LAUNCH, **fields), GATHER)
    return replace(LIBRARY, levels=(replace(level, variants=(replace(variant, steps=steps),)),))


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        (changed(kernel=1), "no kernel 1"),
        (changed(numbers=()), "other arguments"),
        (changed(target=Place("input", 0)), "writes to Place"),
        (changed(operands=(Place("constant", 1),)), "there is no Place"),
        (changed(operands=(Place("packed", 1),)), "there is no Place"),
        (changed(operands=(Place("buffer", 0),)), "reads what it writes"),
        (changed(total=Formula(3, "C")), "C in C is no symbol"),
        (replace(LIBRARY, symbols=(Symbol("B", 1, 0, bounds=(1, 4)),)), "shows symbol B"),
        (replace(LIBRARY, symbols=(Symbol("B", 0, 0, bounds=(1,)),)), "has 3 cells of 2"),
    ],
)
def test_a_broken_library_is_refused(library: Library, reason: str) -> None:
    with pytest.raises(InternalCompilerError, match=reason):
        verify_library(library)


def test_formulas_become_c_that_rounds_down() -> None:
    blocks = named(-(-B // 8), "blocks")
    names = {"B": "s0"}
    assert c_number(blocks * 3 - 1, names) == "((d_blocks * 3) - 1)"
    assert c_definitions((blocks,), names) == ["const int64_t d_blocks = (-floordiv((-s0), 8));"]
    assert c_number(B % 7, names) == "floormod(s0, 7)"
    assert c_number(1 << 40, {}) == "INT64_C(1099511627776)"
    with pytest.raises(InternalCompilerError, match="has no C form"):
        c_number(Formula(2, "len(B)"), names)


def test_headers_name_parameters_as_c_can() -> None:
    ports = (Port("double", "float64", (B, 3)), Port("größe", "complex64", (2,)))
    header = print_header(replace(LIBRARY, inputs=ports), "1.2")
    assert "const double *double_, const float *gr_00f6_00dfe" in header
    assert parameter("threads") == "threads_"
    assert header.isascii()
