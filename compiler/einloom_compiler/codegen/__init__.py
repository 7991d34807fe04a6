"""The Numba code generator: scheduled loop nests in, readable Python and compiled kernels out.

The printed source imports only numpy and numba and also runs un-jitted, as its own reference;
Numba turns it into parallel CPU loops over raw pointers. All Numba internals are in :mod:`.jit`.
"""
