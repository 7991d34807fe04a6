"""Constants that a library packs, when it is loaded or built: what the runtime packs."""

import ctypes
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import einloom as el
from einloom.aot import building
from einloom.aot.cpus import cpus_of
from einloom.aot.lowering import lower
from einloom.aot.targets import source_of
from einloom_compiler.aot.library import (
    Launch,
    Level,
    Library,
    Packed,
    Place,
    Processor,
)
from einloom_compiler.aot.packing import packed_offsets, print_packings
from einloom_compiler.dtypes import as_dtype, dtype_name
from einloom_compiler.lowering.prepacking import Packing

#: What a constant is cast to and packed as, by its dtype.
CASTS = {
    "float16": [("float32", "float32")],
    "bfloat16": [("float32", "float32")],
    "float32": [("float32", "float32"), ("float64", "float64"), ("complex64", "float32")],
    "float64": [("float64", "float64")],
    "complex64": [("complex64", "float32"), ("complex128", "float64")],
    "complex128": [("complex128", "float64")],
    "int8": [("int8", "int32"), ("float64", "float64")],
    "int16": [("int16", "int32")],
    "uint8": [("uint8", "uint32")],
    "uint16": [("uint16", "uint32")],
    "int32": [("int32", "int32"), ("int64", "int64")],
    "uint32": [("uint32", "uint32")],
    "int64": [("int64", "int64"), ("float64", "float64")],
    "uint64": [("uint64", "uint64"), ("float64", "float64")],
}
#: Axes of a constant of shape (2, 3, 5, 7) in each part of a packing, and panels' sizes.
AXES = [
    ((), 3, (), (0, 1, 2), 4),
    ((0,), 1, (3,), (2,), 2),
    ((1, 0), 2, (), (3,), 16),
    ((), 0, (1, 2), (3,), 2),
]

_HARNESS = """
#define _GNU_SOURCE
#include <stdint.h>
#include "pool.c"
#include "runtime.c"
static const char *constants_start;
static inline const char *constants(void) { return constants_start; }
#include "packing.c"
%s
void pack_all(const char *constants_, char *target) {
    constants_start = constants_;
    for (size_t i = 0; i < sizeof here_packings / sizeof *here_packings; i++)
        for (int64_t piece = 0; piece < pieces_of(&here_packings[i]); piece++)
            pack(&here_packings[i], constants_, target, piece);
}
"""


def test_c_packs_as_the_runtime_does(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    arrays, packed = [], []
    for dtype, is_reversed in product(CASTS, (False, True)):
        kind = as_dtype(dtype)
        values = rng.standard_normal((2, 3, 5, 7)) * 100
        if kind.kind == "c":
            values = values + 1j * rng.standard_normal(values.shape)
        array = (abs(values) if kind.kind == "u" else values).astype(kind)
        if dtype == "float16":  # all kinds of halves: zeros, subnormal ones, infinities, NaN
            bits = [0, 0x8000, 1, 0x83FF, 0x7C00, 0xFC00, 0x7E01, 0x0400, 0x7BFF]
            array.reshape(-1)[: len(bits)] = np.array(bits, np.uint16).view(np.float16)
        arrays.append(array[:, ::-1] if is_reversed else array)
        steps = [stride // array.itemsize for stride in arrays[-1].strides]
        for (compute, element), (batch, run, digits, points, size) in product(CASTS[dtype], AXES):

            def axes(
                numbers: tuple[int, ...], steps: list[int] = steps
            ) -> tuple[tuple[int, int], ...]:
                return tuple(((2, 3, 5, 7)[n], steps[n]) for n in numbers)

            (run_axis,) = axes((run,))
            how = Packing(axes(batch), run_axis, axes(digits), axes(points), size, compute, element)
            for is_conjugated in (False, True) if compute.startswith("complex") else (False,):
                conjugated = replace(how, is_conjugated=is_conjugated)
                packed.append(Packed(len(arrays) - 1, conjugated, dtype_name(array.dtype)))
    starts, memory = [], b""
    for array in arrays:
        whole = array if array.strides[1] > 0 else array[:, ::-1]
        starts.append(len(memory) + (0 if whole is array else 2 * -array.strides[1]))
        memory += whole.tobytes().ljust(-(-whole.nbytes // 64) * 64)
    level = Level("here", Processor(), (), tuple(packed), (), ())
    source = _HARNESS % print_packings(level, "here", starts)
    (tmp_path / "harness.c").write_text(source)
    native = Path(el.__file__).parent
    includes = [f"-I{native / 'native'}", f"-I{Path(building.__file__).parent / 'native'}"]
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC", "-pthread", "-w"]
    command = ["cc", *flags, *includes, "harness.c", "-o", "harness.so", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    offsets, n_bytes = packed_offsets(level.packed)
    found = np.full(n_bytes, 0xAA, np.uint8)
    pack_all = ctypes.CDLL(str(tmp_path / "harness.so")).pack_all
    pack_all(ctypes.c_char_p(memory), found.ctypes.data_as(ctypes.c_void_p))
    for one, offset in zip(packed, offsets, strict=True):
        expected = one.packing.pack(arrays[one.constant])
        got = found[offset : offset + expected.nbytes].view(expected.dtype).reshape(expected.shape)
        np.testing.assert_array_equal(got, expected, err_msg=str(one))


def test_constants_that_one_level_reads_packed_only_are_packed_when_built() -> None:
    w = np.random.default_rng(0).standard_normal((256, 240)).astype(np.float32)

    def lowered(batch: int | str, *cpus: str, kind: str = "float32") -> Library:
        f = el.compile("bi,ij->bj", el.spec(batch, 256, dtype=kind), w.astype(kind))
        return lower("f", source_of(f, (), None, None), cpus_of(cpus).levels)

    plain = lowered(64, "x86-64-v2", "x86-64-v3")
    assert plain.constants[0].contents == w.tobytes()
    assert all(level.packed for level in plain.levels)
    (packed,) = plain.levels[1].packed
    here = lowered(64, "x86-64-v3")
    assert here.levels[0].packed == ()
    assert here.constants[0].contents == packed.packing.pack(w).tobytes()
    read = [step.operands for step in here.levels[0].variants[0].steps if isinstance(step, Launch)]
    assert Place("constant", 0) in read[0]
    # One row reads the constant as it is, others read it packed; halves would take twice the room.
    for kind, batch in (("float32", "B"), ("float16", 64)):
        library = lowered(batch, "x86-64-v3", kind=kind)
        assert library.constants[0].contents == w.astype(kind).tobytes()
        assert library.levels[0].packed
