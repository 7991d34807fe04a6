"""Object code: what an object exports and needs, that its bytes are reproducible, cross targets."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from einloom_compiler.codegen import elf, raw_ir
from einloom_compiler.codegen.objects import (
    ALLOWED,
    compile_object,
    print_assembly,
    print_llvm,
)
from einloom_compiler.codegen.printing import Nest, print_text
from einloom_compiler.codegen.target import host_target, named_target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import InternalCompilerError, UnsupportedError
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.packed import PackedNest, RegisterBlock, Side
from einloom_compiler.ir.scalar import chain

DTYPES = ("float32", "float64", "complex64", "int64", "uint8", "float16", "bfloat16", "bool")

BLOCK = RegisterBlock(4, 2, 4)


def direct_nest(dtype: str, epilogue: tuple[Map, ...] = ()) -> LoopNest:
    """Return a matrix product with one row of accumulators."""
    return LoopNest(
        inputs=(Access("x0", dtype, ("i", "k"), "k"), Access("x1", dtype, ("k", "j"), "j")),
        output=Access("out", dtype, ("i", "j"), "j"),
        contracted=("k",),
        compute=dtype,
        levels=(Level("i"), Level("j", "tile", 64), Level("k"), Level("j", "within", 64)),
        n_parallel=1,
        epilogue=chain(epilogue),
    )


def packed_nest(dtype: str, block: RegisterBlock = BLOCK) -> PackedNest:
    return PackedNest(
        rows=Side(dtype, "k"),
        columns=Side(dtype, "panel"),
        output=dtype,
        compute=dtype,
        element=dtype,
        block=block,
        depth=128,
        row_elements=1 << 14,
        column_elements=1 << 14,
        is_output_contiguous=True,
    )


def _nests() -> Iterator[Nest]:
    for dtype in DTYPES:
        yield direct_nest(dtype)
    yield direct_nest("float64", (Map("sqrt"), Map("reciprocal"), Map("maximum", (0.5,))))
    for dtype in ("float32", "float64", "int32"):
        yield packed_nest(dtype)


@pytest.mark.parametrize(
    "nest", list(_nests()), ids=lambda nest: f"{type(nest).__name__}-{nest.compute}"
)
def test_an_object_exports_one_function_and_needs_only_the_c_library(nest: Nest) -> None:
    code = compile_object(print_text(nest), "einloom_test", host_target())
    found = elf.symbols(code.contents)
    assert found.exported == {"einloom_test"}
    assert found.undefined <= ALLOWED


def test_all_functions_are_inlined_into_the_exported_one() -> None:
    text = print_llvm(print_text(packed_nest("float32")), "einloom_test", host_target())
    assert re.findall(r"^define \S.*@(\w+)\(", text, re.M) == ["einloom_test"]
    called = set(re.findall(r"call [^@\n]*@([\w.]+)\(", text))
    assert called
    assert all(name.startswith("llvm.") for name in called)


def test_output_and_operands_are_known_not_to_overlap() -> None:
    text = print_llvm(print_text(direct_nest("float64")), "einloom_test", host_target())
    assert "!alias.scope" in text
    assert f'"prefer-vector-width"="{host_target().vector_bits}"' in text


_PRINT_HASH = """
import hashlib
from tests.einloom_compiler.test_objects import direct_nest, packed_nest
from einloom_compiler.codegen.objects import compile_object
from einloom_compiler.codegen.printing import print_text
from einloom_compiler.codegen.target import named_target
for nest in {nests}:
    code = compile_object(print_text(nest), "einloom_test", named_target("x86-64-v3"))
    print(hashlib.sha256(code.contents).hexdigest())
"""


def test_two_processes_give_the_same_bytes() -> None:
    """Whatever the order of compiles, and however Python seeds its hashes."""
    nests = ['direct_nest("float64")', 'packed_nest("float32")', 'direct_nest("float16")']
    hashes = []
    for seed, order in (("1", nests), ("2", nests[::-1])):
        script = _PRINT_HASH.format(nests=f"[{', '.join(order)}]")
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment
        )
        assert run.returncode == 0, run.stderr
        hashes.append(run.stdout.split())
    assert len(set(hashes[0])) == 3
    assert hashes[0] == hashes[1][::-1]


@pytest.mark.parametrize(
    ("cpu", "block", "machine", "multiply_add"),
    [
        ("x86-64-v2", RegisterBlock(4, 2, 4), 62, "mulps.*xmm"),
        ("x86-64-v3", RegisterBlock(4, 3, 8), 62, "vfmadd.*ymm"),
        ("x86-64-v4", RegisterBlock(8, 3, 16), 62, "vfmadd.*zmm"),
        ("aarch64", RegisterBlock(8, 3, 4), 183, r"fmla\s+v\d+\.4s"),
    ],
)
def test_objects_for_other_cpus(
    cpu: str,
    block: RegisterBlock,
    machine: int,
    multiply_add: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The object and the assembly are made of the same code of Numba's, which takes longest.
    monkeypatch.setattr(raw_ir, "lower", cache(raw_ir.lower))
    text = print_text(packed_nest("float32", block))
    code = compile_object(text, "einloom_test", named_target(cpu))
    assert code.contents[18] == machine
    found = elf.symbols(code.contents)
    assert found.exported == {"einloom_test"}
    assert found.undefined <= {"memset", "memcpy"}
    assembly = print_assembly(text, "einloom_test", named_target(cpu))
    loops = re.split(r"\n\.LBB\S+:", assembly)
    loop = max(loops, key=lambda part: len(re.findall(multiply_add, part)))
    assert len(re.findall(multiply_add, loop)) >= block.mr * block.vectors
    # No sum goes to the stack and back.
    assert re.findall(r"rsp.*%[xyz]mm|%[xyz]mm.*rsp|\bq\d+.*\bsp\b", loop) == []


def test_unknown_cpu_levels_are_named_with_those_known() -> None:
    with pytest.raises(UnsupportedError, match=r"'pentium'.*x86-64-v3"):
        named_target("pentium")


def _text(body: str, error_model: str = "numpy") -> KernelText:
    source = (
        "import numpy as np\nfrom numba import njit, prange\n\n\n"
        f'@njit(nogil=True, error_model="{error_model}")\n'
        "def kernel(x, out, acc, acc_0, lo, hi):\n"
        f"    for p in range(lo, hi):\n        {body}\n"
    )
    return KernelText(body, source, (("x", "int64"), ("out", "int64")), (), 0, "int64")


def test_a_kernel_that_raises_is_refused() -> None:
    text = _text("out[p] = x[p] // x[p + 1]", error_model="python")
    with pytest.raises(InternalCompilerError, match="can raise"):
        compile_object(text, "einloom_test", host_target())
    compile_object(_text("out[p] = x[p] // x[p + 1]"), "einloom_test", host_target())


def test_a_kernel_that_needs_more_than_the_c_library_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = _text("out[p] = np.int64(np.exp(np.float64(x[p])))")
    compile_object(text, "einloom_test", host_target())
    monkeypatch.setattr("einloom_compiler.codegen.objects.ALLOWED", frozenset({"memset"}))
    with pytest.raises(InternalCompilerError, match=r"needs \['exp'\]"):
        compile_object(text, "einloom_test", host_target())


@pytest.mark.parametrize("contents", [b"", b"\x7fELF\x01\x01" + bytes(80), b"#!/bin/sh\n"])
def test_what_is_no_elf_object_has_no_symbols(contents: bytes) -> None:
    with pytest.raises(ValueError, match="no 64-bit little-endian ELF object"):
        elf.symbols(contents)
