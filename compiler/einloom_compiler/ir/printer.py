"""Printers of the intermediate representations; the only place where indices become letters.

``print_einsum`` of an expression parses back to an equal one up to renaming.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator

from einloom_compiler.extents import text
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape, dtype_of
from einloom_compiler.ir.loops import Access, LoopNest
from einloom_compiler.ir.shapes import shape_of


def symbols() -> Iterator[str]:
    """Yield letters for indices: a-z, A-Z, then opt_einsum's further letters from U+00C0 on."""
    return itertools.chain(
        string.ascii_letters,
        (chr(192 + n) for n in itertools.count() if chr(192 + n).isprintable()),
    )


def letters_of(expr: EinsumExpr) -> dict[Index, str]:
    """Return one letter an index: its own name where that is one free letter."""
    own = [i for i in expr.indices if len(i.name) == 1 and i.name not in ",.-> "]
    letters: dict[Index, str] = {}
    taken: set[str] = set()
    for index in own:
        if index.name not in taken:
            letters[index] = index.name
            taken.add(index.name)
    free = (letter for letter in symbols() if letter not in taken)
    for index in expr.indices:
        if index not in letters:
            letters[index] = next(free)
    return letters


def print_einsum(expr: EinsumExpr) -> str:
    """Return the expression as a subscript string with an explicit output.

    >>> from einloom_compiler.language import expand, parse_string
    >>> print_einsum(expand(parse_string("...j,jk"), (3, 2)))
    'abj,jk->abk'
    """
    letters = letters_of(expr)
    terms = ",".join("".join(letters[i] for i in term) for term in expr.terms)
    return f"{terms}->{''.join(letters[i] for i in expr.output)}"


def print_tree(tree: ContractionTree) -> str:
    """Return the tree, one step a line, operands by number."""
    lines = [print_einsum(tree.expr)]
    result = len(tree.expr.terms)
    for step in tree.steps:
        numbers = ", ".join(f"%{position}" for position in step.positions)
        lines.append(f"  %{result} = {print_einsum(step.expr)} ({numbers})")
        result += 1
    return "\n".join(lines)


def print_graph(node: Node) -> str:
    """Return the graph, one node a line in order of evaluation, results by number."""
    lines: list[str] = []
    numbers: dict[Node, int] = {}

    def visit(part: Node) -> int:
        if part in numbers:
            return numbers[part]
        match part:
            case Input(name=name):
                body = f"input {name}"
            case Constant(name=name):
                body = f"constant {name}"
            case Reshape(operand=operand):
                body = f"reshape %{visit(operand)}"
            case Contraction():
                names = ", ".join(
                    f"{'conj ' if conjugated else ''}%{visit(operand)}"
                    for operand, conjugated in zip(part.operands, part.conjugated, strict=True)
                )
                maps = "".join(f" | {step}" for step in part.epilogue)
                body = f"einsum {print_einsum(part.einsum)} ({names}){maps}"
        numbers[part] = len(numbers)
        shape = ", ".join(text(extent) for extent in shape_of(part))
        lines.append(f"%{numbers[part]} = {body} : {dtype_of(part) or '?'}[{shape}]")
        return numbers[part]

    visit(node)
    return "\n".join(lines)


def print_nest(nest: LoopNest) -> str:
    """Return the nest as indented pseudo code: loops, then the multiply-add and the store."""
    lines: list[str] = []
    for depth, level in enumerate(nest.levels):
        mark = "parallel " if depth < nest.n_parallel else ""
        size = f" of {level.size}" if level.kind != "range" else ""
        names = " ".join((*level.fused, level.index))
        unroll = f" unrolled by {level.unroll}" if level.unroll > 1 else ""
        lines.append(f"{'  ' * depth}{mark}{level.kind} {names}{size}{unroll}:")
    pad = "  " * len(nest.levels)
    factors = " * ".join(
        f"{'conj ' if access.is_conjugated else ''}{_print_access(access)}"
        for access in nest.inputs
    )
    assign = "+=" if nest.contracted else "="
    maps = "".join(f" | {step}" for step in nest.epilogue)
    if nest.vectors is not None:
        maps += f"  in vectors of {nest.vectors.lanes}"
    if nest.transposition is not None:
        lanes, pitch = nest.transposition.lanes, nest.transposition.pitch
        maps += f"  transposed {lanes} x {lanes} at once"
        maps += f", streamed by rows of {pitch}" if pitch else ""
    lines.append(f"{pad}{_print_access(nest.output)} {assign} {factors}{maps}  in {nest.compute}")
    return "\n".join(lines)


def _print_access(access: Access) -> str:
    """Print as ``x0:float32[i, j*]``, a star after the index of stride 1."""
    indices = ", ".join(f"{i}*" if i == access.unit else i for i in access.indices)
    return f"{access.name}:{access.dtype}[{indices}]"
