"""Load native code into the process: shared objects by the system, objects by llvmlite.

What is loaded stays loaded: a kernel's address may be held anywhere. The system knows shared
objects by name, so that a path loaded twice gives the first code: entries with other contents have
other names. A file that is mapped must be replaced, never written to.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

_loaded: list[Any] = []
_LLVM = threading.Lock()


def load_shared(path: Path, symbol: str) -> int | None:
    """Return the address of ``symbol`` in a shared object; None where the system refuses it.

    A folder may be mounted so that nothing in it can be run.
    """
    try:
        library = ctypes.CDLL(str(path))
        address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
    _loaded.append(library)
    return address


def load_shared_bytes(contents: bytes, symbol: str) -> int | None:
    """Return the address of ``symbol`` in a shared object that no folder keeps."""
    try:
        with tempfile.NamedTemporaryFile(prefix="einloom-", suffix=".so") as file:
            file.write(contents)
            file.flush()
            return load_shared(Path(file.name), symbol)
    except OSError:
        return None


def load_object(contents: bytes, symbol: str) -> int:
    """Return the address of ``symbol`` in a relocatable object, linked in memory by llvmlite.

    llvmlite is imported, 50 ms; Numba is not.
    """
    from llvmlite import binding

    with _LLVM:
        engine = _engine()
        engine.add_object_file(binding.ObjectFileRef.from_data(contents))
        engine.finalize_object()
        address: int = engine.get_function_address(symbol)
    return address


@cache
def _engine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
