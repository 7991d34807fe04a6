"""Schedules: how a loop nest is tiled, reordered, unrolled and split into parallel CPU loops.

In comes the optimizer's plain loop nest, out goes one that the Numba code generator prints. A
schedule is data, a tuple of frozen steps; :mod:`.policy` chooses it from the nest's structure, and
:mod:`.steps` applies it or refuses.
"""
