"""Expressions: what front-end functions return for symbolic operands.

An expression is a graph of contractions, kept together with the call that made it, so that it can
be printed, written to JSON, and built again once its operands' dtypes are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from einloom.array_methods import ArrayMethods
from einloom.operators import Operators
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import DTypeError, SpecError
from einloom_compiler.extents import free_names, is_unknown_name, parse_extent, text
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape, Shape
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.ir.shapes import Guard, guards, shape_of
from einloom_compiler.ir.traversal import contractions_of, dtype_of, inputs_of, renamed

if TYPE_CHECKING:
    from einloom.compiled import CompiledFunction
    from einloom_compiler.order.cost import Cost
    from einloom_compiler.order.search import Optimize

_unnamed = itertools.count(1)
#: Names that unnamed operands get, in order.
_DEFAULT_NAMES = ("x", "y", "z", "w", "v", "u")


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Two releases accept a call and mean different things.

    Attributes:
        message: both meanings, and the keyword that settles it.
    """

    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """The front-end call that made an expression.

    Attributes:
        function: registered name, such as ``keras.backend.batch_dot``.
        arguments: by parameter name; operands are expressions, lists of them for ``*operands``.
    """

    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Expression(Operators, ArrayMethods):
    """A tensor computed from symbolic operands.

    Attributes:
        node: the expression graph.
        call: how it was made; None for a spec or a constant.
        ambiguity: set where another release means something else by the same call.
    """

    node: Node
    call: Call | None = None
    ambiguity: Ambiguity | None = field(default=None, repr=False)

    @property
    def shape(self) -> Shape:
        """Extents: ints, or sympy expressions where operands have symbolic ones."""
        return shape_of(self.node)

    @property
    def ndim(self) -> int:
        """The rank."""
        return len(self.shape)

    @property
    def dtype(self) -> AnyDType | None:
        """The result's dtype; None until the operands' dtypes are settled."""
        return dtype_of(self.node)

    @property
    def name(self) -> str:
        """The operand's name, ``out`` for a computed expression."""
        return self.operand_names.get(self.node.name, "") if isinstance(self.node, Input) else "out"

    @property
    def inputs(self) -> tuple[Expression, ...]:
        """The specs it is computed from, in the order a compiled function takes them."""
        return tuple(Expression(node) for node in inputs_of(self.node))

    @property
    def operand_names(self) -> dict[str, str]:
        """The name that is shown for each input: its own, or x, y, z, ... where none was given."""
        return names_of(self.node)

    @property
    def T(self) -> Expression:  # noqa: N802
        """A view with the axes reversed."""
        from einloom.functions import permute

        return cast("Expression", permute(self))

    @property
    def einsum(self) -> EinsumExpr:
        """The einsum expression of the outermost contraction; the identity for a spec."""
        node = self.node
        while isinstance(node, Reshape):
            node = node.operand
        if isinstance(node, Contraction):
            return node.einsum
        term = tuple(Index(chr(ord("a") + axis)) for axis in range(self.ndim))
        return EinsumExpr((term,), term)

    @property
    def equation(self) -> str:
        """The call in einsum notation, such as ``abij,abjk->abik``.

        A reshape around it (the trailing 1 of a rank-2 ``batch_dot``) shows in :attr:`shape`; where
        several contractions are nested, this is the outermost one's. Of a graph that ends in
        another function it is the contractions' in order, parted by semicolons.
        """
        node = self.node
        while isinstance(node, Reshape):
            node = node.operand
        parts = contractions_of(node)
        if isinstance(node, Contraction | Input) or not parts:
            return print_einsum(self.einsum)
        return "; ".join(print_einsum(part.einsum) for part in parts)

    @property
    def optimize(self) -> Optimize:
        """How the order is chosen where nothing else is said: as its call says, else True."""
        return True if self.call is None else self.call.arguments.get("optimize", True)

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Equations of symbolic extents that are checked when it is run."""
        return guards(self.node)

    @property
    def cost(self) -> Cost:
        """FLOPs, bytes and intensity; sympy expressions of the symbolic extents."""
        from einloom.report.cost import cost_of

        return cost_of((self.node,), self.optimize)

    def latex(self) -> str:
        r"""Return the formula in LaTeX, such as ``out_{ik} = \sum_{j} x_{ij} y_{jk}``."""
        from einloom.report.formula import latex

        return latex(self)

    def explain(self) -> str:
        """Return notation, shapes, formula, cost and order as text."""
        from einloom.report.explain import explain

        return explain(self)

    def compile(self, **options: Any) -> CompiledFunction:
        """Return a function of arrays; options as in :func:`einloom.compile`."""
        from einloom.compiled import compile_expression

        return compile_expression(self, **options)

    def to_json(self) -> str:
        """Return the expression as a JSON document that :meth:`from_json` reads back."""
        from einloom.text.document import to_json

        return to_json(self)

    @staticmethod
    def from_json(document: str) -> Expression:
        """Return the expression that :meth:`to_json` wrote.

        Raises:
            SpecError: the document is malformed.
        """
        from einloom.text.document import from_json

        return from_json(document)

    def __str__(self) -> str:
        """Print as ``abij,abjk->abik: float32[10, 12, 4, 8]``."""
        shape = ", ".join(text(extent) for extent in self.shape)
        head = self.name if isinstance(self.node, Input) else self.equation
        return f"{head}: {self.dtype or 'any dtype'}[{shape}]"

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse to become an array: a symbolic operand has no values."""
        raise SpecError(
            f"{self} is symbolic and has no values; call .compile() and pass arrays, or use a "
            "front-end function of einloom instead of NumPy's"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Return what a ufunc of NumPy, or an operator of its arrays, is of expressions."""
        from einloom.numpy_protocols import apply_ufunc

        return apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Return what another function of NumPy is of expressions."""
        from einloom.numpy_protocols import apply_function

        return apply_function(function, args, options)

    def __getitem__(self, key: Any) -> Expression:
        """Return a view: integers, slices, None and ``...`` as in NumPy.

        An expression, array or list of integers takes elements along the first axis.
        """
        from einloom.functions import getitem, take

        if isinstance(key, Expression | list) or getattr(key, "ndim", 0) > 0:
            return cast("Expression", take(self, key, 0))
        return cast("Expression", getitem(self, key))

    def __len__(self) -> int:
        """Return the first extent.

        Raises:
            DTypeError: the rank is 0, or the extent symbolic.
        """
        if self.ndim == 0 or not isinstance(self.shape[0], int):
            raise DTypeError(f"{self} has no known length; look at .shape")
        return self.shape[0]

    def __iter__(self) -> Iterator[Expression]:
        """Yield the parts along the first axis, whose extent is known."""
        return (self[number] for number in range(len(self)))

    def __bool__(self) -> bool:
        """Refuse to be a condition: a symbolic operand has no values."""
        raise SpecError(
            f"{self} is symbolic, and whether it holds is not known; use einloom.functions.where, "
            "or `is None` to ask whether it is there"
        )

    def __eq__(self, other: object) -> bool:
        """Compare the graphs: equal meaning of equally named operands.

        Operands without a name have the one that is shown for them, so that an expression equals
        itself read back from JSON or text.
        """
        return isinstance(other, Expression) and self._named() == other._named()

    def __hash__(self) -> int:
        """Hash the graph, in agreement with equality."""
        return hash(self._named())

    def _named(self) -> Node:
        """Return the graph with every input bearing the name that is shown for it."""
        return renamed(self.node, self.operand_names)


def names_of(*roots: Node) -> dict[str, str]:
    """Return the name that is shown for each input of graphs: its own, or x, y, z, ..."""
    nodes = inputs_of(*roots)
    taken = {node.name for node in nodes if not _is_unnamed(node.name)}
    free = (
        name
        for name in itertools.chain(_DEFAULT_NAMES, (f"x{n}" for n in itertools.count()))
        if name not in taken
    )
    return {n.name: next(free) if _is_unnamed(n.name) else n.name for n in nodes}


def _is_unnamed(name: str) -> bool:
    return name.startswith("?")


def spec(*shape: Any, dtype: object = None, name: str | None = None) -> Expression:
    """Return a symbolic operand.

    Args:
        shape: extents, or one tuple of them: integers, names (equal names are equal extents), or
            None for a fresh unknown.
        dtype: settled at the first call where None; a given one is never cast to.
        name: what messages, formulas and compiled functions call it.

    Raises:
        SpecError: an extent is negative or no extent at all, or has the name of an unknown.
        DTypeError: ``dtype`` names none.

    >>> str(spec("B", 128, dtype="float32", name="x"))
    'x: float32[B, 128]'
    """
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = tuple(shape[0])
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        raise SpecError(f"an operand's name must be a Python identifier, not {name!r}")
    extents = tuple(parse_extent(extent) for extent in shape)
    for written, extent in zip(shape, extents, strict=True):
        if isinstance(written, str) and any(map(is_unknown_name, free_names(extent))):
            raise SpecError(
                f"the extent {written!r} has a name such as _1, which stands for an unknown; "
                "write None for one, or another name"
            )
    settled = None if dtype is None else as_dtype(dtype)
    return Expression(Input(name or f"?{next(_unnamed)}", extents, settled))


def default_names(count: int) -> list[str]:
    """Return the first ``count`` names that unnamed operands get: x, y, z, ..."""
    return [*_DEFAULT_NAMES[:count], *(f"x{n}" for n in range(count - len(_DEFAULT_NAMES)))]


def constant(array: Any, name: str = "constant") -> Expression:
    """Return an operand whose values are ``array``'s, a NumPy array."""
    return Expression(Constant(array, name))
