"""Generated source: golden files, determinism, and what it may contain."""

import ast
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from einloom_compiler.codegen.jit import build
from einloom_compiler.codegen.nest_source import parameters
from einloom_compiler.codegen.numba_source import print_kernel
from einloom_compiler.families import Problem, direct
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.ir.scalar import chain
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine

Golden = Callable[[str, str], None]
#: Goldens are those of one target, whatever machine the tests run on.
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)


def _kernel(
    subscripts: str,
    dtype: str = "float32",
    *,
    output: str | None = None,
    conjugated: tuple[bool, ...] | None = None,
    epilogue: tuple[Map, ...] = (),
    step: int = 1,
) -> LoopNest:
    terms = subscripts.split("->")[0].split(",")
    expr = expand(parse_string(subscripts), [len(term) for term in terms])
    extent = {index: (5 + n) * step for n, index in enumerate(expr.indices)}
    shapes = [tuple(extent[index] for index in term) for term in expr.terms]
    result = tuple(extent[index] for index in expr.output)
    n = len(terms)
    arithmetics = Arithmetics(
        (dtype,) * n, output or dtype, dtype, conjugated or (False,) * n, chain(epilogue)
    )
    strides = [tuple(s // 8 for s in np.empty(shape).strides) for shape in (*shapes, result)]
    space = iteration_space(expr, shapes, strides[:-1], strides[-1], letters_of(expr))
    problem = Problem(space, arithmetics, AVX2)
    (schedule,) = direct.FAMILY.propose(problem)
    nest = direct.FAMILY.bind(problem, schedule, lambda stage, text: None).nest
    assert isinstance(nest, LoopNest)
    return nest


GOLDENS = {
    "matmul": lambda: _kernel("ij,jk->ik"),
    "matmul_transposed": lambda: _kernel("ij,kj->ik"),
    "batch_matmul": lambda: _kernel("aij,ajk->aik", "float64"),
    "sum_of_rows": lambda: _kernel("ij->i", "int32"),
    "sum_of_all": lambda: _kernel("ij,ij->"),
    "transpose": lambda: _kernel("ijk->kji"),
    "transpose_streamed": lambda: _kernel("ijk->kji", step=20),
    "transpose_fused": lambda: _kernel("aijk->kjai", "complex64", step=4),
    "sum_of_columns": lambda: _kernel("ij->j"),
    "outer": lambda: _kernel("i,j->ij", "complex64", conjugated=(True, False)),
    "scaled_streamed": lambda: _kernel("ij,i->ij", step=400),
    "any": lambda: _kernel("ij,j->i", "bool"),
    "half": lambda: _kernel("i,ij->j", "float16"),
    "norm": lambda: _kernel(
        "bi,bi->b",
        epilogue=(Map("sqrt"), Map("maximum", (1e-7,)), Map("reciprocal")),
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_kernel_is_the_golden_one(name: str, golden: Golden) -> None:
    golden(f"source/{name}.py.txt", print_kernel(GOLDENS[name]()))


def test_printing_is_deterministic_and_one_structure_is_one_kernel() -> None:
    first, second = _kernel("ij,jk->ik"), _kernel("ab,bc->ac")
    assert print_kernel(first) == print_kernel(second)
    assert build(first) is build(second)


def test_sizes_do_not_appear_in_the_source() -> None:
    source = print_kernel(_kernel("ij,jk->ik"))
    numbers = {n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)}
    assert not numbers & {5, 6, 7}


@pytest.mark.parametrize("name", GOLDENS)
def test_kernels_allocate_nothing_and_raise_nothing(name: str) -> None:
    tree = ast.parse(print_kernel(GOLDENS[name]()))
    called = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert not [c for c in called if "empty" in c or "zeros" in c]
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Raise | ast.Assert)]


def test_parameters_follow_the_kernel_abi() -> None:
    assert parameters(_kernel("ij,jk->ik")) == (
        *("x0", "x1", "out", "n_i", "n_j", "n_k"),
        *("x0_i", "x0_k", "x1_k", "out_i", "acc", "acc_0", "lo", "hi"),
    )


def test_output_of_another_dtype_is_cast_at_the_store() -> None:
    nest = _kernel("ij,jk->ik", output="float64")
    assert "= np.float64(acc[at])" in print_kernel(nest)
    assert nest == replace(nest)
