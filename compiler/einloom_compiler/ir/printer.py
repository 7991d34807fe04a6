"""Printers of the intermediate representations; the only place where indices become letters.

``print_einsum`` of an expression parses back to an equal one up to renaming.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence

from einloom_compiler.extents import text
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    PLAIN,
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Join,
    Node,
    Pad,
    Reshape,
    Rows,
    Strided,
    Take,
)
from einloom_compiler.ir.loops import Access, LoopNest
from einloom_compiler.ir.scalar import Combined, Scalar, maps_of, print_scalar
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of, nodes_of, operands_of


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


def print_graph(*roots: Node) -> str:
    """Return graphs, one node a line in order of evaluation, results by number."""
    lines: list[str] = []
    numbers: dict[Node, int] = {}
    for node in nodes_of(*roots):
        names = [f"%{numbers[operand]}" for operand in operands_of(node)]
        numbers[node] = len(numbers)
        shape = ", ".join(map(text, shape_of(node)))
        lines.append(
            f"%{numbers[node]} = {print_node(node, names)} : {dtype_of(node) or '?'}[{shape}]"
        )
    return "\n".join(lines)


def print_node(node: Node, names: list[str]) -> str:
    """Return one node's text, its operands by these names."""
    given = ", ".join(names)
    match node:
        case Input(name=name):
            return f"input {name}"
        case Constant(name=name):
            return f"constant {name}"
        case Iota():
            return "iota"
        case Contraction(epilogue=epilogue):
            n = len(node.operands)
            marks = zip(node.conjugated, names[:n], strict=True)
            own = ", ".join(
                f"{'conj ' if is_conjugated else ''}{name}" for is_conjugated, name in marks
            )
            body = f"einsum {print_einsum(node.einsum)} ({own})"
            if epilogue is PLAIN:
                return body
            letters = letters_of(node.einsum)
            further = zip(names[n:], epilogue.terms, strict=True)
            return f"{body} | {_print_body(epilogue.body, ['sum', *_indexed(further, letters)])}"
        case Elementwise() | Rows() | Attention():
            return _print_indexed(node, names)
        case Strided(starts=starts, axes=axes):
            parts = [
                "new" if axis.source is None else f"{axis.source}:{axis.step}" for axis in axes
            ]
            first = ", ".join(map(text, starts))
            return f"view {given} from [{first}] along [{', '.join(parts)}]"
        case Pad(value=value):
            around = zip(node.before, node.after, strict=True)
            widths = ", ".join(f"{text(a)}+{text(b)}" for a, b in around)
            return f"pad {given} by [{widths}] of {value:g}"
        case Join(axis=axis):
            return f"join ({given}) along {axis}"
        case Reshape():
            return f"reshape {given}"
        case Take():
            return f"take ({given})"


def _print_indexed(node: Elementwise | Rows | Attention, names: list[str]) -> str:
    further = node.mask_terms if isinstance(node, Attention) else ()
    terms = (*node.terms, *further)
    letters = letters_of(EinsumExpr(terms, node.output))
    shown = _indexed(zip(names, terms, strict=True), letters)
    output = "".join(letters[index] for index in node.output)
    match node:
        case Elementwise(body=body):
            return f"[{output}] {_print_body(body, shown)}"
        case Rows(reduced=reduced, body=body):
            along = "".join(letters[index] for index in reduced)
            steps = []
            for number, reduction in enumerate(node.reductions):
                running = "running " * reduction.is_running
                gathered = f"{running}{reduction.kind}_{along}"
                steps.append(f"r{number} = {gathered} {_print_body(reduction.body, shown)}")
                shown = [*shown, f"r{number}"]
            return "; ".join([*steps, f"[{output}] {_print_body(body, shown)}"])
        case Attention(score=score):
            causal = " causal" if node.is_causal else ""
            scored = _print_body(score, ["sum", *shown[3:]])
            return f"attention{causal} ({', '.join(shown[:3])}) -> [{output}], score {scored}"


def _indexed(named: Iterable[tuple[str, Term]], letters: Mapping[Index, str]) -> list[str]:
    return [f"{name}[{''.join(letters[index] for index in term)}]" for name, term in named]


def _print_body(body: Scalar, names: list[str]) -> str:
    """Print a scalar expression, an outer pair of parentheses dropped."""
    text = print_scalar(body, names)
    return text[1:-1] if isinstance(body, Combined) and text.startswith("(") else text


def print_nest(nest: LoopNest) -> str:
    """Return the nest as indented pseudo code: loops, then the multiply-add and the store."""
    lines: list[str] = []
    for depth, level in enumerate(nest.levels):
        mark = "parallel " if depth < nest.n_parallel else ""
        size = f" of {level.size}" if level.kind != "range" else ""
        names = " ".join((*level.fused, level.index))
        unroll = f" unrolled by {level.unroll}" if level.unroll > 1 else ""
        unroll += " apart" if level.apart else ""
        lines.append(f"{'  ' * depth}{mark}{level.kind} {names}{size}{unroll}:")
    pad = "  " * len(nest.levels)
    factors = " * ".join(
        f"{'conj ' if access.is_conjugated else ''}{print_access(access)}" for access in nest.inputs
    )
    assign = "+=" if nest.contracted else "="
    maps = print_epilogue(nest.epilogue, list(map(print_access, nest.extras)))
    if nest.vectors is not None:
        maps += f"  in vectors of {nest.vectors.lanes}"
        maps += ", streamed" if nest.vectors.is_streamed else ""
    if nest.transposition is not None:
        lanes, pitch = nest.transposition.lanes, nest.transposition.pitch
        maps += f"  transposed {lanes} x {lanes} at once"
        maps += f", prefetched {nest.transposition.ahead} ahead" if nest.transposition.ahead else ""
        maps += f", streamed by rows of {pitch}" if pitch else ""
    lines.append(f"{pad}{print_access(nest.output)} {assign} {factors}{maps}  in {nest.compute}")
    return "\n".join(lines)


def print_epilogue(body: Scalar, names: Sequence[str] = ()) -> str:
    """Return what follows a sum in print: a chain of maps, or an expression of the sum."""
    maps = maps_of(body)
    if maps is not None:
        return "".join(f" | {step}" for step in maps)
    return f" | {_print_body(body, ['sum', *names])}"


def print_access(access: Access) -> str:
    """Print as ``x0:float32[i, j*]``, a star after the index of stride 1."""
    indices = ", ".join(f"{i}*" if i == access.unit else i for i in access.indices)
    return f"{access.name}:{access.dtype}[{indices}]"
