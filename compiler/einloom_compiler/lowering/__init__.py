"""Lowering: one loop nest for each contraction of a tree.

In comes an einsum expression with concrete extents and strides (the optimizer's step, bound to
memory); out goes a loop nest whose indices are squeezed, fused where strides allow, and named, so
that all contractions of one structure share one kernel of the Numba code generator.
"""
