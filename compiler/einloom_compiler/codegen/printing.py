"""Print any scheduled nest: one entry point for all families of kernels."""

from __future__ import annotations

from einloom_compiler.codegen import (
    attention_source,
    numba_source,
    packed_source,
    rows_source,
    tiled_source,
)
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.ir.attention import AttentionNest
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.ir.rows import RowsNest
from einloom_compiler.ir.tiled import TiledNest

Nest = LoopNest | PackedNest | TiledNest | RowsNest | AttentionNest


def print_text(nest: Nest) -> KernelText:
    """Return the module of the nest's kernel."""
    match nest:
        case LoopNest():
            return numba_source.print_direct(nest)
        case PackedNest():
            return packed_source.print_packed(nest)
        case TiledNest():
            return tiled_source.print_kernel_text(nest)
        case RowsNest():
            return rows_source.print_rows_text(nest)
        case AttentionNest():
            return attention_source.print_attention_kernel(nest)


def print_functions(nest: Nest, name: str) -> list[str]:
    """Return the functions of the nest's kernel, which is called ``name``, and its launcher.

    Functions that kernels share come first, so that a program of several can hold them once.
    """
    match nest:
        case LoopNest():
            return [numba_source.print_kernel(nest, name), numba_source.print_parallel(nest, name)]
        case PackedNest():
            return packed_source.print_functions(nest, name)
        case TiledNest():
            return tiled_source.print_functions(nest, name)
        case RowsNest():
            return rows_source.print_functions(nest, name)
        case AttentionNest():
            return attention_source.print_functions(nest, name)
