"""The native runtime: a thread pool, and calls that run no Python where they were seen before.

``pool.c`` is a thread pool that needs libc and pthread only; ``module.c`` is the extension module
around it. They are compiled once, by the system's C compiler, into the cache folder. Without a
compiler everything works through Python (ctypes, and Numba's threads), with more overhead a call;
``einloom doctor`` tells which it is.
"""

from einloom.native.build import Native, load

__all__ = ["Native", "load"]
