"""The Numba code generator: scheduled loop nests in, readable Python and compiled kernels out.

The printed source imports only numpy and numba and also runs un-jitted, as its own reference.
Compiled, it goes from Numba's typing and lowering (:mod:`.raw_ir`, which owns Numba's internals
together with :mod:`.simd_lowering`) through LLVM (:mod:`.objects`) to one relocatable object with
one function over raw pointers, for this CPU or another; :mod:`.jit` runs it in this process.
"""
