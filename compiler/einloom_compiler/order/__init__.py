"""Contraction order: einsum expressions in, contraction trees out.

The optimizer: opt_einsum's path searches propose orders, einloom's cost model chooses among them.
No search for one or two operands; dtypes are settled before. Papers: Smith and Gray, opt_einsum,
JOSS 3(26), 2018.
"""
