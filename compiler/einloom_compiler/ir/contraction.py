"""The contraction tree: the order in which pairs of operands are contracted.

Grammar::

    ContractionTree = (expr: EinsumExpr, steps: Step*)
    Step            = (positions: int+, expr: EinsumExpr)

Operands are numbered 0..n-1 and each step's result gets the next number (single static assignment,
as in opt_einsum's ``ssa`` paths); the last step's result is the whole expression's. A step is
usually a pairwise contraction, and takes one operand or many where no order was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.ir.einsum import EinsumExpr


@dataclass(frozen=True, slots=True)
class Step:
    """One contraction of a tree.

    Attributes:
        positions: numbers of its operands: inputs first, then earlier steps' results.
        expr: the step's own einsum expression, one term a position.
    """

    positions: tuple[int, ...]
    expr: EinsumExpr


@dataclass(frozen=True, slots=True)
class ContractionTree:
    """The steps that evaluate ``expr``, in order of execution."""

    expr: EinsumExpr
    steps: tuple[Step, ...]
