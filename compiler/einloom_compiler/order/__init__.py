"""Contraction order: einsum expressions in, contraction trees out.

The optimizer: exact for few operands; for many, opt_einsum's path searches propose orders and
einloom's cost model chooses among them. No search for one or two operands; dtypes are settled
before. Papers: Pfeifer, Haegeman and Verstraete, Phys. Rev. E 90, 2014; Smith and Gray, opt_einsum,
JOSS 3(26), 2018.
"""
