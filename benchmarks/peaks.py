"""Measure what the machine can do: FMA throughput and copy bandwidth.

The FMA kernel is LLVM IR of our own: independent accumulators of the widest vectors, nothing but
fused multiply-adds in the loop, no memory. It is what no contraction can exceed; the best GEMM of
a BLAS stays some percent below it.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

#: More than latency (4 or 5 cycles) times FMAs a cycle (2), fewer than AVX2's 16 registers.
_ACCUMULATORS = 12
_FMA_SECONDS = 0.004
#: The best of many short attempts: neighbours on the machine only ever lower a peak, and within a
#: few milliseconds the scheduler may leave all cores to us.
_ATTEMPTS = 100
_LLVM_TYPES = {"float32": ("float", 4), "float64": ("double", 8)}


def vector_bytes() -> int:
    """Return the width of the widest vectors LLVM knows for this CPU."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    for feature, width in (("avx512f", 64), ("avx", 32)):
        if features.get(feature):
            return width
    return 16


def fma_source(dtype: str, width: int) -> str:
    """Return LLVM IR of ``double fma(i64 n)``: ``n`` turns of one FMA on every accumulator."""
    scalar, itemsize = _LLVM_TYPES[dtype]
    lanes = width // itemsize
    vector = f"<{lanes} x {scalar}>"
    intrinsic = f"@llvm.fma.v{lanes}f{8 * itemsize}"
    start = f"splat ({scalar} 1.0)"
    numbers = range(_ACCUMULATORS)
    phis = [f"%a{n} = phi {vector} [ {start}, %entry ], [ %b{n}, %loop ]" for n in numbers]
    fmas = [
        f"%b{n} = call {vector} {intrinsic}({vector} %a{n}, {vector} %f, {vector} %f)"
        for n in numbers
    ]
    sums = ["%s0 = fadd " + f"{vector} %b0, %b0"] + [
        f"%s{n} = fadd {vector} %s{n - 1}, %b{n}" for n in numbers if n
    ]
    result = f"%r = extractelement {vector} %s{_ACCUMULATORS - 1}, i32 0"
    widened = "%w = fpext float %r to double" if scalar == "float" else "%w = fadd double %r, 0.0"
    body = "\n  ".join(
        [
            *("%i = phi i64 [ 0, %entry ], [ %next, %loop ]", *phis, *fmas),
            *("%next = add i64 %i, 1", "%more = icmp slt i64 %next, %n"),
            "br i1 %more, label %loop, label %done",
        ]
    )
    return f"""
declare {vector} {intrinsic}({vector}, {vector}, {vector})
define double @fma(i64 %n, {scalar} %factor) "prefer-vector-width"="{8 * width}" {{
entry:
  %f0 = insertelement {vector} zeroinitializer, {scalar} %factor, i32 0
  %f = shufflevector {vector} %f0, {vector} zeroinitializer, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  {body}
done:
  {sums[0]}
  {chr(10).join("  " + line for line in sums[1:])}
  {result}
  {widened}
  ret double %w
}}
"""


def fma_kernel(dtype: str, width: int) -> tuple[Callable[[int, float], float], object]:
    """Return the compiled kernel, and the engine that owns its code.

    Every accumulator starts at 1 and becomes ``a * factor + factor`` at each turn; the first one
    counts twice in the sum that is returned.
    """
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    module = llvm.parse_assembly(fma_source(dtype, width))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    scalar = ctypes.c_float if dtype == "float32" else ctypes.c_double
    signature = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, scalar)
    return signature(engine.get_function_address("fma")), engine


def fma_peak(dtype: str, threads: int) -> float:
    """Return the measured FLOP/s of fused multiply-adds, each counted as 2.

    Args:
        dtype: ``float32`` or ``float64``.
        threads: how many run the kernel at once.
    """
    width = vector_bytes()
    kernel, _engine = fma_kernel(dtype, width)
    turns, seconds = 1 << 14, 0.0
    while seconds < _FMA_SECONDS / 4:
        turns *= 2
        seconds = _elapsed([partial(kernel, turns, 0.5)])
    turns = max(1, round(turns * _FMA_SECONDS / seconds))
    task = partial(kernel, turns, 0.5)
    fastest = min(_elapsed([task] * threads) for _ in range(_ATTEMPTS))
    lanes = width // _LLVM_TYPES[dtype][1]
    return 2.0 * lanes * _ACCUMULATORS * turns * threads / fastest


def gemm_rate(dtype: str, extent: int = 1024) -> float:
    """Return the FLOP/s of NumPy's BLAS on a square product, for comparison with the peak."""
    left = np.full((extent, extent), 0.5, dtype)
    out = np.empty_like(left)
    fastest = min(
        _elapsed([partial(np.matmul, left, left, out=out)]) for _ in range(_ATTEMPTS // 4)
    )
    return 2.0 * extent**3 / fastest


def copy_bandwidth(threads: int, n_bytes: int = 1 << 26) -> float:
    """Return the bytes a second of a copy beyond the caches, counted once read and once written."""
    source, target = np.ones(n_bytes, np.uint8), np.zeros(n_bytes, np.uint8)
    edges = [n_bytes * part // threads for part in range(threads + 1)]
    copiers = [
        partial(np.copyto, target[start:stop], source[start:stop])
        for start, stop in itertools.pairwise(edges)
    ]
    return 2.0 * n_bytes / min(_elapsed(copiers) for _ in range(_ATTEMPTS))


def _elapsed(tasks: Sequence[Callable[[], Any]]) -> float:
    """Return the seconds from the first task's start to the last one's end, one thread each."""
    if len(tasks) == 1:
        start = time.perf_counter()
        tasks[0]()
        return time.perf_counter() - start
    barrier = threading.Barrier(len(tasks))
    starts: list[float] = []
    ends: list[float] = []

    def run(task: Callable[[], Any]) -> None:
        barrier.wait()
        starts.append(time.perf_counter())
        task()
        ends.append(time.perf_counter())

    workers = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(ends) - min(starts)
