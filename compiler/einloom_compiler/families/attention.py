"""The attention family: softmax of query-key products times values, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.families.base import Bound, Dump
from einloom_compiler.ir.attention import print_attention, verify_attention
from einloom_compiler.lowering.attention import AttentionForm, BoundAttention, bind_nest
from einloom_compiler.schedule.machine import Machine

#: What a core reaches of its peak in the products, and how many multiply-adds the exponential and
#: the rest of softmax take as long as, for each score (measured, AVX-512).
_EFFICIENCY = 0.75
_SOFTMAX = 32


def bind(
    form: AttentionForm,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    machine: Machine,
    dump: Dump,
) -> Bound:
    """Return the kernel of ``form`` bound to memory; see :func:`.pipeline.bind_attention`."""
    found = bind_nest(form, shapes, strides, output_strides, machine)
    verify_attention(found.nest, "lowering")
    if dump is not None:
        dump("attention nest", print_attention(found.nest))
    return Bound(
        kernel=jit.build(found.nest),
        schedule=found.nest.block,
        operands=tuple(range(len(form.terms))),
        numbers=found.numbers,
        total=found.total,
        points=found.points,
        seconds=seconds(found, machine),
    )


def seconds(found: BoundAttention, machine: Machine) -> float:
    """Return the predicted time on one thread: of arithmetic, or of memory where that is longer."""
    itemsize = np.dtype(arithmetic(found.nest.compute).compute).itemsize
    work = 2 * (found.points + _SOFTMAX * found.pairs) / (machine.flops(itemsize) * _EFFICIENCY)
    return max(work, found.moved_bytes / machine.bandwidth(found.moved_bytes))
