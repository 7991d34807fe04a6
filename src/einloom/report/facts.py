"""What reports of plans have in common: facts of their kernels and orders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from einloom_compiler.ir.printer import print_tree

if TYPE_CHECKING:
    from einloom_compiler.codegen.jit import Kernel
    from einloom_compiler.ir.contraction import ContractionTree


class KernelFacts(ABC):
    """What follows from the kernels that a plan runs and from its contractions' trees."""

    trees: tuple[ContractionTree, ...]

    @property
    @abstractmethod
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, compiled only when asked."""

    @property
    def scratch_bytes(self) -> int:
        """Most scratch memory that one thread needs for accumulators or packed blocks."""
        return max((kernel.scratch_bytes for kernel in self.kernels), default=0)

    @property
    def order(self) -> str:
        """Each contraction's order, one step a line."""
        return "\n".join(print_tree(tree) for tree in self.trees)

    @cached_property
    def llvm(self) -> str:
        """LLVM IR of the kernels, optimised; compiles them."""
        return "\n".join(kernel.llvm for kernel in self.kernels)

    @cached_property
    def asm(self) -> str:
        """Assembly of the kernels; compiles them."""
        return "\n".join(kernel.asm for kernel in self.kernels)
