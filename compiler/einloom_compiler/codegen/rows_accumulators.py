"""What accumulators of reductions start with, and how values enter them."""

from __future__ import annotations

import numpy as np

from einloom_compiler.codegen.rows_range import RowsRange
from einloom_compiler.ir.graph import Reduction


class Accumulators(RowsRange):
    """Expressions of accumulators, scalars or vectors."""

    def step(self, reduction: Reduction, total: str, value: str) -> str:
        """Return a total with one more value."""
        kind = np.dtype(self.compute).kind
        if self.nest.compute == "bool":
            return f"v{'max' if reduction.kind in ('sum', 'max') else 'min'}({total}, {value})"
        if self.keeps_nan(reduction):
            greatest = f"v{reduction.kind}({total}, {value})"  # a NaN in the total stays
            return f"vselect({value} != {value}, {value}, {greatest})"
        if kind in "iu" and reduction.kind in ("max", "min"):
            return f"v{reduction.kind}({total}, {value})"
        if kind in "iu":
            is_sum = reduction.kind == "sum"
            product = f"vwrap({total} * {value}, {self.number(0)})"
            return f"vplus({total}, {value})" if is_sum else product
        return f"{total} {'*' if reduction.kind == 'prod' else '+'} {value}"

    def keeps_nan(self, reduction: Reduction) -> bool:
        """Say whether a NaN must be looked for: it is neither greater nor less than any value."""
        return np.dtype(self.compute).kind == "f" and reduction.kind in ("max", "min")

    def start(self, reduction: Reduction) -> str:
        """Return what an accumulator starts with."""
        start = self.identity(reduction)
        return start if self.nest.vector is None else f"vset{self.nest.lanes}({start})"

    def identity(self, reduction: Reduction) -> str:
        """Return what changes no total, as a scalar."""
        kind = np.dtype(self.compute).kind
        if self.nest.compute == "bool":
            return self.number(reduction.kind in ("prod", "min"))
        if reduction.kind == "prod":
            return self.number(1)
        if reduction.kind in ("sum", "mean"):
            return self.number(0)
        is_max = reduction.kind == "max"
        if kind == "f":
            return self.number(-np.inf if is_max else np.inf)
        info = np.iinfo(self.compute)
        return self.number(info.min if is_max else info.max)

    def divide(self, reduction: Reduction, total: str) -> None:
        """Write the division of a mean's total by the number of points; nothing for others."""
        if reduction.kind != "mean":
            return
        count = " * ".join(f"n_{index}" for index in self.nest.reduced) or "1"
        if np.dtype(self.compute).kind == "c":  # the operator can raise
            self.line(f"{total} = divide_{self.compute}({total}, np.{self.compute}({count}))")
        else:
            self.line(f"{total} = {total} / np.{self.compute}({count})")
