"""Ahead of time: a function's launches, for every size and CPU level, as a C library's source.

In comes a :class:`.library.Library`, the launches of kernels as formulas of the symbolic extents;
out come the C driver that makes them (:mod:`.driver`), its header and an example. Nothing here
compiles or links: that is the caller's part, as are the kernels' objects.
"""
