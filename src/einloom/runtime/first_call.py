"""The first call of a program: kernels that it lacks are compiled side by side."""

from __future__ import annotations

from collections.abc import Sequence

from einloom.runtime.progress import compiling
from einloom.runtime.threads import available_threads
from einloom_compiler.codegen.jit import Kernel, is_jit_disabled

#: Kernels from which one process is not enough: ``_LEAST_SHARE`` of the module that starts others,
#: which is imported then.
_MANY = 8


def compile_missing(kernels: Sequence[Kernel]) -> None:
    """Compile what neither this process nor the disk holds, in several processes where it is much.

    The layers of a model have dozens of kernels, of up to a second each.
    """
    missing = list(dict.fromkeys(kernel for kernel in kernels if not kernel.is_ready))
    if len(missing) < _MANY or is_jit_disabled():
        return
    missing = [kernel for kernel in missing if not kernel.load()]
    if len(missing) < _MANY:
        return
    from einloom_compiler.codegen import several

    with compiling(f"{len(missing)} kernels"):
        several.compile_together(missing, available_threads())
