"""The einsum language: subscript strings and sublists in, einsum expressions out.

A front-end translator hands in what the user wrote and the ranks of the operands; the optimizer
gets index objects. Letters exist only here and in the printer.
"""

from einloom_compiler.language.equation import Equation, parse_string, parse_sublists
from einloom_compiler.language.expand import expand

__all__ = ["Equation", "expand", "parse_string", "parse_sublists"]
