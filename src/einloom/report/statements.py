"""An expression graph as a sequence of named statements, the form that reports print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einloom.expression import Expression
from einloom_compiler.extents import Extent
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import operands_of


@dataclass(frozen=True, slots=True)
class Factor:
    """One operand of a statement.

    Attributes:
        name: what it is called.
        letters: its index letters; ``0`` where an axis of extent 1 stands for a longer one.
        is_conjugated: whether it is conjugated.
        node: the operand.
    """

    name: str
    letters: tuple[str, ...]
    is_conjugated: bool
    node: Node


@dataclass(frozen=True, slots=True)
class Statement:
    """One computed tensor.

    Attributes:
        name: what it is called; ``out`` for the last.
        node: what is computed.
        factors: its operands.
        letters: the output's index letters; none but for a contraction.
        contracted: letters that are summed over.
    """

    name: str
    node: Node
    factors: tuple[Factor, ...]
    letters: tuple[str, ...] = ()
    contracted: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[Extent, ...]:
        """The result's shape."""
        return shape_of(self.node)


def statements(expression: Expression) -> tuple[Statement, ...]:
    """Return the statements in order of evaluation; none for a plain operand.

    Names of intermediates (``t1``, ``t2``, ...), constants and ``out`` differ from the operands'.
    """
    names: dict[Node, str] = {}
    shown = expression.operand_names
    taken = set(shown.values())
    found: list[Statement] = []

    def fresh(base: str, start: int | None = None) -> str:
        number, name = start, base if start is None else f"{base}{start}"
        while name in taken:
            number = (number or 1) + 1
            name = f"{base}{number}"
        taken.add(name)
        return name

    out = fresh("out")

    def visit(node: Node, is_last: bool = False) -> str:
        if node in names:
            return names[node]
        match node:
            case Input(name=name):
                names[node] = shown[name]
            case Constant(name=name):
                names[node] = fresh(name)
            case Reshape(operand=operand):
                inner = visit(operand)
                names[node] = out if is_last else fresh("t", 1)
                found.append(Statement(names[node], node, (Factor(inner, (), False, operand),)))
            case Contraction() if node.epilogue.maps is not None:
                inners = [visit(operand) for operand in node.operands]
                names[node] = out if is_last else fresh("t", 1)
                found.append(_contraction(names[node], node, inners))
            case _:
                inners = [visit(operand) for operand in operands_of(node)]
                names[node] = out if is_last else fresh("t", 1)
                factors = (
                    Factor(inner, (), False, operand)
                    for inner, operand in zip(inners, operands_of(node), strict=True)
                )
                found.append(Statement(names[node], node, tuple(factors)))
        return names[node]

    visit(expression.node, is_last=True)
    return tuple(found)


def _contraction(name: str, node: Contraction, inners: list[str]) -> Statement:
    letters = letters_of(node.einsum)
    factors = tuple(
        Factor(
            inner,
            tuple("0" if a in axes else letters[index] for a, index in enumerate(term)),
            conjugated,
            operand,
        )
        for inner, term, axes, conjugated, operand in zip(
            inners,
            node.einsum.terms,
            node.broadcast,
            node.conjugated,
            node.operands,
            strict=True,
        )
    )
    return Statement(
        name,
        node,
        factors,
        _letters(node.einsum.output, letters),
        _letters(node.einsum.contracted, letters),
    )


def _letters(term: tuple[Index, ...], letters: Mapping[Index, str]) -> tuple[str, ...]:
    return tuple(letters[index] for index in term)
