"""The runtime: binds arrays to compiled kernels and launches them as parallel CPU loops.

In come expression graphs from a front-end translator and NumPy arrays; out go result arrays. It
asks the optimizer for an order and the Numba code generator for kernels, keeps both for layouts it
has seen, owns scratch memory, and copes with results that overlap operands.
"""
