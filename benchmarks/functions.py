"""Time elementary functions and activations: ``python -m benchmarks.functions [NAME ...]``.

One thread, arrays of 64k elements (they stay in the L2 cache); nanoseconds an element, the least of
many interleaved repeats, and how many times faster than NumPy and PyTorch einloom's are. ``scalar``
is a loop that LLVM vectorises, ``vector`` one over SIMD vectors, as in a kernel's epilogue.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from einloom_compiler.codegen import maps, simd_lowering
from einloom_compiler.codegen.numba_source import OPTIONS, print_module
from einloom_compiler.ir.maps import MAPS, make_map

N = 1 << 16
ROUNDS = 40
#: Lanes of a 512-bit vector.
LANES = {"float32": 16, "float64": 8}
Call = Callable[[], Any]


def compiled(name: str, x: Any, y: Any, *, is_vector: bool) -> Call:
    """Return a call of native code that writes the map called ``name`` of ``x`` to ``y``."""
    from numba import njit, types

    simd_lowering.register()
    dtype = x.dtype.name
    width = LANES[dtype]
    value = f"vload{width}(x, i)" if is_vector else "x[i]"
    result = maps.apply_map(make_map(name), value, dtype)
    body = (
        f"    for i in range(0, n, {width}):\n        vstore{width}(y, i, {result})\n"
        if is_vector
        else f"    vwide()\n    for i in range(n):\n        y[i] = {result}\n"
    )
    namespace: dict[str, Any] = {}
    exec(print_module(f"@njit({OPTIONS})\ndef kernel(x, y, n):\n{body}"), namespace)
    kernel = namespace["kernel"]
    options = {**kernel.targetoptions, "no_cpython_wrapper": True}
    options.pop("nopython", None)
    pointer: Any = types.CPointer
    kind = pointer(getattr(types, dtype))
    jitted: Any = njit([types.void(kind, kind, types.int64)], **options)(kernel.py_func)
    (result_of,) = jitted.overloads.values()
    address = result_of.library.get_pointer_to_function(result_of.fndesc.llvm_cfunc_wrapper_name)
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    arguments = (x.ctypes.data, y.ctypes.data, len(x))
    return lambda keep=(jitted, x, y): native(*arguments)  # type: ignore[misc]


def numpy_peer(name: str, x: Any, y: Any) -> Call | None:
    ufunc = getattr(np, name, None)
    if isinstance(ufunc, np.ufunc):
        return lambda: ufunc(x, out=y)
    return None


def torch_peer(name: str, x: Any, y: Any) -> Call | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    tensor, out = torch.from_numpy(x), torch.from_numpy(y)
    if name == "gelu_tanh":
        return lambda: torch.nn.functional.gelu(tensor, approximate="tanh")
    if name in ("maximum", "minimum"):
        return None
    function = getattr(torch, name, None)
    if function is not None:
        try:
            function(tensor, out=out)
        except TypeError:
            return None
        return lambda: function(tensor, out=out)
    names = {"hard_sigmoid": "hardsigmoid", "hard_silu": "hardswish", "log_sigmoid": "logsigmoid"}
    activation = getattr(torch.nn.functional, names.get(name, name), None)
    return None if activation is None else lambda: activation(tensor)


def aligned(dtype: str) -> Any:
    """Return an array that starts with a cache line, as those that einloom allocates do."""
    memory = np.zeros(N * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + N * np.dtype(dtype).itemsize].view(dtype)


def measure(name: str, dtype: str) -> str:
    x, y = aligned(dtype), aligned(dtype)
    x[:] = np.random.default_rng(0).uniform(0.01 if "log" in name else -4, 4, N)
    calls: dict[str, Call | None] = {
        "scalar": compiled(name, x, y, is_vector=False),
        "vector": compiled(name, x, y, is_vector=True),
        "numpy": numpy_peer(name, x, y),
        "torch": torch_peer(name, x, y),
    }
    best = dict.fromkeys(calls, float("inf"))
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            for peer, call in calls.items():
                if call is None:
                    continue
                for _ in range(4):
                    start = time.perf_counter()
                    call()
                    best[peer] = min(best[peer], time.perf_counter() - start)
    per = {peer: 1e9 * seconds / N for peer, seconds in best.items()}
    ours = min(per["scalar"], per["vector"])
    columns = " ".join(f"{per[p]:8.3f}" if calls[p] else f"{'-':>8}" for p in calls)
    ratios = " ".join(
        f"{per[p] / ours:7.1f}x" if calls[p] else f"{'-':>8}" for p in ("numpy", "torch")
    )
    return f"{dtype:8} {name:14} {columns}  {ratios}"


def main(names: list[str]) -> None:
    missing = [name for name in names if name not in MAPS]
    if missing:
        sys.exit(f"no such function: {', '.join(missing)}; there are {', '.join(MAPS)}")
    without = [n for n, d in MAPS.items() if all(v is not None for _, v in d.parameters)]
    head = " ".join(f"{peer:>8}" for peer in ("scalar", "vector", "numpy", "torch"))
    print(f"{'ns per element':23} {head}  {'/ numpy':>8} {'/ torch':>8}")
    for dtype in LANES:
        for name in names or [name for name in without if name != "linear"]:
            print(measure(name, dtype), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
