"""Short ways to write graphs in tests, and random graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.extents import Extent, evaluate, symbol
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    Constant,
    Contraction,
    Elementwise,
    Epilogue,
    Input,
    Iota,
    Join,
    Node,
    Pad,
    Reduction,
    Reshape,
    Rows,
    Strided,
    Take,
    ViewAxis,
)
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of

F64, F32, I64 = as_dtype("float64"), as_dtype("float32"), as_dtype("int64")
PLAIN_EPILOGUE = Epilogue()


def term(letters: str) -> Term:
    """Return the indices of these letters."""
    return tuple(map(Index, letters))


def einsum(
    subscripts: str, *operands: Node, dtype: Any = None, epilogue: Epilogue = PLAIN_EPILOGUE
) -> Contraction:
    """Return a contraction."""
    inputs, output = subscripts.split("->")
    n = len(operands)
    return Contraction(
        EinsumExpr(tuple(map(term, inputs.split(","))), term(output)),
        operands,
        dtype or dtype_of(operands[0]),
        (False,) * n,
        (frozenset(),) * n,
        epilogue,
    )


def each(
    body: Scalar, subscripts: str, *operands: Node, dtype: Any = None, result: Any = None
) -> Elementwise:
    """Return an elementwise node."""
    inputs, output = subscripts.split("->")
    terms = tuple(map(term, inputs.split(",")))
    dtype = dtype or dtype_of(operands[0])
    return Elementwise(body, operands, terms, term(output), dtype, result)


def mapped(name: str, node: Node, *numbers: float) -> Elementwise:
    """Return a map of every element."""
    own = "abcdefgh"[: len(shape_of(node))]
    return each(Mapped(make_map(name, *numbers), Value(0)), f"{own}->{own}", node)


def add(subscripts: str, x: Node, y: Node) -> Elementwise:
    """Return the sum of two nodes."""
    return each(combined("add", Value(0), Value(1)), subscripts, x, y)


def softmax(node: Node, along: int = -1) -> Rows:
    """Return softmax along an axis, as the builder of rows makes it."""
    own = term("abcdefgh"[: len(shape_of(node))])
    exp = Mapped(make_map("exp"), combined("subtract", Value(0), Value(1)))
    reductions = (Reduction("max", Value(0)), Reduction("sum", exp))
    body = combined("divide", exp, Value(2))
    return Rows((node,), (own,), own, (own[along],), reductions, body, dtype_of(node))


def reduced(node: Node, kind: Any, axis: int = -1) -> Rows:
    """Return one reduction along an axis."""
    own = term("abcdefgh"[: len(shape_of(node))])
    along = own[axis]
    output = tuple(index for index in own if index != along)
    reductions = (Reduction(kind, Value(0)),)
    return Rows((node,), (own,), output, (along,), reductions, Value(1), dtype_of(node))


def layer_norm(node: Node, gamma: Node, beta: Node, epsilon: float = 1e-3) -> Rows:
    """Return layer normalisation along the last axis, as the builder of rows makes it."""
    own = term("abcdefgh"[: len(shape_of(node))])
    center = combined("subtract", Value(0), Value(3))
    square = Mapped(make_map("square"), center)
    raised = combined("add", Value(4), Number(epsilon))
    scaled = combined("multiply", center, Mapped(make_map("rsqrt"), raised))
    body = combined("add", combined("multiply", scaled, Value(1)), Value(2))
    return Rows(
        (node, gamma, beta), (own, own[-1:], own[-1:]), own, own[-1:],
        (Reduction("mean", Value(0)), Reduction("mean", square)), body, dtype_of(node),
    )  # fmt: skip


def transposed(node: Node, *order: int) -> Strided:
    """Return the view with the axes in this order."""
    shape = shape_of(node)
    return Strided(node, (0,) * len(shape), tuple(ViewAxis(shape[n], n) for n in order))


def reshaped(node: Node, *shape: Extent) -> Reshape:
    """Return the reshape."""
    return Reshape(node, shape)


def weight(name: str, *shape: int, dtype: Any = F64) -> Constant:
    """Return a constant of small random numbers, the same for each name."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return Constant(
        np.asarray(rng.standard_normal(shape) / max(1, *shape[:1], 1) ** 0.5).astype(dtype), name
    )


SIZES = {"N": 3, "M": 4}
_LETTERS = {2: "abc", 3: "def", 4: "ghi", 1: "xyz", 6: "uvw"}


class Drawn:
    """A random graph that grows: nodes so far, each of a few small axes of floats."""

    def __init__(self, draw: st.DrawFn) -> None:
        """Start with two inputs and a constant."""
        self.draw = draw
        self.nodes: list[Node] = [self._input(), self._input(), self._leaf_constant()]
        for _ in range(draw(st.integers(4, 12))):
            step = draw(st.sampled_from(_STEPS))
            made = step(self)
            if made is not None and _points(made) <= 3000:
                self.nodes.append(made)
        others = draw(st.lists(st.integers(0, len(self.nodes) - 1), max_size=2))
        self.roots = (self.nodes[-1], *(self.nodes[n] for n in others))

    def pick(self, least_rank: int = 0) -> Node | None:
        """Return a node, rather a late one."""
        able = [node for node in self.nodes if len(shape_of(node)) >= least_rank]
        if not able:
            return None
        back = self.draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 5]))
        return able[-1 - min(back, len(able) - 1)]

    def _input(self) -> Node:
        extents = st.sampled_from([2, 3, 4, 6, 1, symbol("N"), symbol("M")])
        shape = tuple(self.draw(st.lists(extents, min_size=1, max_size=3)))
        number = self.draw(st.integers(0, 99))
        text = "_".join(map(str, shape))
        return Input(f"x{number}_{text}", shape, F64)

    def _leaf_constant(self) -> Node:
        shape = self.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3))
        return weight(f"w{self.draw(st.integers(0, 99))}", *shape)

    def labels(self, *nodes: Node) -> list[str]:
        """Return an index letter for every axis; extents of one letter are equal."""
        found = []
        for node in nodes:
            letters = ""
            for extent in shape_of(node):
                known = _LETTERS.get(extent) if isinstance(extent, int) else None
                if known is None:
                    known = _symbolic(extent)
                free = [letter for letter in known if letter not in letters]
                letters += self.draw(st.sampled_from(free or list(known)))
            found.append(letters)
        return found

    def contraction(self) -> Node | None:
        """One to three operands, any output, sometimes maps and a bias behind."""
        nodes = [self.pick() for _ in range(self.draw(st.integers(1, 3)))]
        operands = [node for node in nodes if node is not None]
        labels = self.labels(*operands)
        known = sorted(set("".join(labels)))
        output = self.draw(st.permutations(known))
        output = output[: self.draw(st.integers(0, min(3, len(output))))]
        made = einsum(f"{','.join(labels)}->{''.join(output)}", *operands)
        return mapped("tanh", made) if _points(made) < 500 and self.draw(st.booleans()) else made

    def one(self) -> Node | None:
        """A map or arithmetic with a number."""
        node = self.pick()
        assert node is not None
        own = "abcdefgh"[: len(shape_of(node))]
        number = Number(self.draw(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0])))
        name = self.draw(st.sampled_from(["add", "subtract", "multiply", "maximum"]))
        body = self.draw(
            st.sampled_from(
                [
                    combined(name, Value(0), number),
                    combined(name, number, Value(0)),
                    combined("divide", Value(0), Number(4.0)),
                    Mapped(make_map("negative"), Value(0)),
                    Mapped(make_map("tanh"), Value(0)),
                    Mapped(make_map("sigmoid"), Mapped(make_map("multiply", 2.0), Value(0))),
                    combined("where", combined("less", Value(0), number), Value(0), number),
                    Value(0),
                ]
            )
        )
        order = "".join(self.draw(st.permutations(own)))
        return each(body, f"{own}->{order}", node)

    def two(self) -> Node | None:
        """Arithmetic of two nodes, each broadcast along what it lacks."""
        a, b = self.pick(), self.pick()
        assert a is not None and b is not None
        labels = self.labels(a, b)
        output = "".join(self.draw(st.permutations(sorted(set("".join(labels))))))
        name = self.draw(st.sampled_from(["add", "subtract", "multiply", "minimum"]))
        return each(combined(name, Value(0), Value(1)), f"{','.join(labels)}->{output}", a, b)

    def rows(self) -> Node | None:
        """Softmax, a norm, or a reduction."""
        node = self.pick(1)
        assert node is not None
        rank = len(shape_of(node))
        axis = self.draw(st.integers(0, rank - 1))
        kind = self.draw(st.sampled_from(["softmax", "max", "mean", "sum"]))
        if kind == "softmax":
            return softmax(node, axis)
        return reduced(node, kind, axis)

    def by_hand(self) -> Node | None:
        """What is computed of elements and reductions of their rows."""
        node = self.pick(1)
        assert node is not None
        own = "abcdefgh"[: len(shape_of(node))]
        axis = self.draw(st.integers(0, len(own) - 1))
        kept = own.replace(own[axis], "")
        subtract = combined("subtract", Value(0), Value(1))
        first = reduced(node, self.draw(st.sampled_from(["max", "mean"])), axis)
        moved = mapped("sigmoid", each(subtract, f"{own},{kept}->{own}", node, first))
        second = reduced(moved, self.draw(st.sampled_from(["sum", "max"])), axis)
        return each(subtract, f"{own},{kept}->{own}", moved, second)

    def reshape(self) -> Node | None:
        """Join two axes, split one, add one, or flatten."""
        node = self.pick(1)
        assert node is not None
        shape = list(shape_of(node))
        axis = self.draw(st.integers(0, len(shape) - 1))
        match self.draw(st.sampled_from(["join", "split", "new", "flat"])):
            case "join" if axis + 1 < len(shape):
                shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
            case "split":
                shape[axis : axis + 1] = _factors(shape[axis])
            case "new":
                shape.insert(axis, 1)
            case _:
                whole: Extent = 1
                for extent in shape:
                    whole = whole * extent
                shape = [whole]
        return Reshape(node, tuple(shape))

    def view(self) -> Node | None:
        """Permute, slice, flip, drop and add axes."""
        node = self.pick(1)
        assert node is not None
        shape = shape_of(node)
        starts: list[Extent] = [0] * len(shape)
        axes: list[ViewAxis] = []
        for n, extent in enumerate(shape):
            size = evaluate(extent, SIZES)
            match self.draw(
                st.sampled_from(["all", "all", "all", "cut", "flip", "drop", "window"])
            ):
                case "cut" if size > 1:
                    starts[n] = 1
                    axes.append(ViewAxis(size - 1, n))
                case "flip":
                    starts[n] = extent - 1
                    axes.append(ViewAxis(extent, n, -1))
                case "drop":
                    starts[n] = self.draw(st.integers(0, size - 1))
                case "window" if size > 2:
                    axes += [ViewAxis(size - 1, n), ViewAxis(2, n)]
                case _:
                    axes.append(ViewAxis(extent, n))
        if self.draw(st.booleans()):
            axes.append(ViewAxis(self.draw(st.sampled_from([1, 2, 3]))))
        return Strided(node, tuple(starts), tuple(self.draw(st.permutations(axes))))

    def other(self) -> Node | None:
        """Pads, joins, lookups, a count."""
        node = self.pick(1)
        assert node is not None
        rank = len(shape_of(node))
        match self.draw(st.sampled_from(["pad", "join", "take", "iota"])):
            case "pad":
                return Pad(node, (1,) * rank, (0,) * rank, -1.0)
            case "join":
                return Join((node, mapped("tanh", node)), self.draw(st.integers(0, rank - 1)))
            case "take":
                return Take(node, Constant(np.array([0, 0]), "ids"))
            case _:
                return each(Value(0), "a->a", Iota(4, I64), dtype=F64)

    def cast(self) -> Node | None:
        """A cast between floats, which is exact where all are computed in float64."""
        node = self.pick()
        assert node is not None
        own = "abcdefgh"[: len(shape_of(node))]
        return each(Value(0), f"{own}->{own}", node, dtype=F32 if dtype_of(node) == F64 else F64)

    def scaled(self) -> Node | None:
        """A contraction of an operand times a number."""
        node = self.pick(1)
        assert node is not None
        (labels,) = self.labels(node)
        scaled = mapped("multiply", node, -0.25)
        output = "".join(sorted(set(labels)))[:2]
        return einsum(f"{labels},{labels}->{output}", scaled, node)

    def attention(self) -> Node | None:
        """The parts of attention, with a scale and sometimes a causal mask."""
        n, d = self.draw(st.sampled_from([2, symbol("N")])), 3
        q, k, v = (Input(f"{name}{n}", (2, n, d), F64) for name in "qkv")
        scores = einsum("btd,bsd->bts", q, k)
        body: Scalar = combined("multiply", Value(0), Number(0.3))
        if self.draw(st.booleans()):
            later = combined("less_equal", Value(1), Value(2))
            body = combined("where", later, body, Number(float("-inf")))
            seen: Node = each(body, "bts,s,t->bts", scores, Iota(n, I64), Iota(n, I64))
        else:
            seen = each(body, "bts->bts", scores)
        return einsum("bts,bsd->btd", softmax(seen), v)


_STEPS = (
    *(Drawn.contraction, Drawn.contraction, Drawn.one, Drawn.one, Drawn.two, Drawn.two),
    *(Drawn.rows, Drawn.reshape, Drawn.reshape, Drawn.reshape, Drawn.view, Drawn.view),
    *(Drawn.cast, Drawn.scaled, Drawn.by_hand, Drawn.by_hand),
    *(Drawn.other, Drawn.attention),
)


def _factors(extent: Extent) -> list[Extent]:
    if isinstance(extent, int):
        return [extent // 2, 2] if extent % 2 == 0 else [extent, 1]
    factors = list(extent.args) if extent.is_Mul else [extent]
    return [int(f) if f.is_Integer else f for f in factors] if len(factors) > 1 else [1, extent]


def _symbolic(extent: Extent) -> str:
    texts = {"N": "jk", "M": "lm"}
    number = evaluate(extent, SIZES)
    return texts.get(str(extent), chr(0x4E00 + number) + chr(0x5E00 + number))


def _points(node: Node) -> int:
    size = 1
    for extent in shape_of(node):
        size *= evaluate(extent, SIZES)
    return size


def arrays_for(inputs: Sequence[Input]) -> dict[str, Any]:
    """Return an array for every input."""
    rng = np.random.default_rng(3)
    return {
        node.name: rng.standard_normal([evaluate(e, SIZES) for e in node.shape]).astype(node.dtype)
        for node in inputs
    }
