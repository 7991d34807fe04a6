"""Reports: an expression in, its formula, cost, order, schedule and generated program out as text.

It shows what front-end translator, optimizer and Numba code generator decided, and runs nothing.
"""
