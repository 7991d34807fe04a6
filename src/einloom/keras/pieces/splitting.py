"""A model's record to a plan: as few pieces as the layers between them allow.

The whole model is lowered to one graph, in which what a call gives that is not covered is a new
input. Such calls come in stages: a call's stage is how many of them must have run before it. Piece
``s`` is computed before the calls of stage ``s``. A node belongs to the piece of the earliest stage
that reads it: it is computed once, and as late as it can be, next to what it is fused with. Views
are free, and in every piece that reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from einloom.keras.lowering.building import settled_dtype
from einloom.keras.lowering.layer_call import Tensor
from einloom.keras.lowering.model import UncoveredCall, lower_model
from einloom.keras.lowering.target import Lowered, model_inputs
from einloom.keras.models.record import ModelRecord, TensorRef, references
from einloom.keras.pieces.outside import (
    Given,
    Masking,
    mask_given_to,
    outputs_of,
    tensors_in,
)
from einloom.keras.pieces.plan import Outside, Piece, Plan, Step, Value
from einloom_compiler.errors import SpecError
from einloom_compiler.extents import free_names
from einloom_compiler.ir.graph import Input, Node, Reshape, Strided
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of, operands_of, ordered, with_operands
from einloom_compiler.ir.verify_graph import verify_graph

_Path = tuple[str, ...]


def split(
    record: ModelRecord,
    specs: Sequence[Any] = (),
    given: Given | None = None,
    masking: Masking | None = None,
) -> Plan:
    """Return a model's inference as pieces that are compiled, and calls that are not.

    Args:
        record: a verified record.
        specs: operands or shapes of the inputs, in Keras's order; as recorded where none is given.
        given: shapes of what layers give that are not covered, by path, where no file states them.
        masking: whether live layers take and give padding masks.

    Raises:
        ShapeError, SpecError: inputs or shapes do not fit, or ``given`` names no such layer.
        UnsupportedError: the shape of what a layer gives is not known, or its mask.
    """
    nodes, tensors = model_inputs(record, specs)
    inputs = tuple(Value(node.name, node) for node in nodes if isinstance(node, Input))
    boundary = _Boundary(inputs, given or {}, masking)
    outputs = lower_model(record, tensors, boundary=boundary)
    unknown = [path for path in given or {} if path not in boundary.paths]
    if unknown:
        listed = ", ".join(dict.fromkeys(boundary.paths)) or "none"
        raise SpecError(
            f"cut= says what {unknown[0]!r} gives, which is not among the layers that are not "
            f"covered: {listed}"
        )
    return _Splitting(record, inputs, boundary, outputs).plan()


class _Boundary:
    """Where the model is cut: calls that are not covered, and the names of all values."""

    def __init__(self, inputs: Sequence[Value], given: Given, masking: Masking | None) -> None:
        self.given, self.masking = given, masking
        self.calls: list[tuple[UncoveredCall, tuple[Value, ...], Node | None]] = []
        self.layers: list[tuple[str, tuple[Node, ...]]] = []
        self.values: dict[Node, Value] = {value.node: value for value in inputs}
        self._names = {value.name for value in inputs}

    @property
    def paths(self) -> list[str]:
        return ["/".join(call.path) for call, _, _ in self.calls]

    def given_by(self, call: UncoveredCall) -> tuple[Tensor, ...]:
        n_outputs = _outputs_read(call)
        found, tensors = [], []
        for number, output in enumerate(outputs_of(call, n_outputs, self.given, self.masking)):
            name = self._unique(_title(call.path, call.number, number))
            node = Input(name, output.shape or (), output.dtype)
            value = Value(name, node, output.shape is not None)
            self.values[node] = value
            found.append(value)
            tensors.append(Tensor(node, output.mask, value.has_shape))
        self.calls.append((call, tuple(found), mask_given_to(call, self.masking)))
        return tuple(tensors)

    def passed(self, path: _Path, number: int, outputs: tuple[Tensor, ...]) -> None:
        self.layers.append(("/".join(path), tuple(tensor.node for tensor in outputs)))
        for position, tensor in enumerate(outputs):
            title = _title(path, number, position)
            self.name(tensor.node, title)
            if tensor.mask is not None:
                self.name(tensor.mask, f"{title}.mask")

    def name(self, node: Node, title: str) -> Value:
        """Return a node's value; the first title that it is given names it."""
        if node not in self.values:
            name = self._unique(title)
            self.values[node] = Value(name, _as_input(name, node))
        return self.values[node]

    def _unique(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


class _Splitting:
    def __init__(
        self, record: ModelRecord, inputs: tuple[Value, ...], boundary: _Boundary, outputs: Any
    ) -> None:
        self.record, self.inputs, self.boundary, self.outputs = record, inputs, boundary, outputs
        self.calls = [_Taken(call, values, mask) for call, values, mask in boundary.calls]
        self.maker = {value.node: call for call in self.calls for value in call.gives}
        self.roots = tuple(tensor.node for tensor in tensors_in(outputs))
        self.order = ordered(self.roots, self._before)
        self.position = {node: number for number, node in enumerate(self.order)}
        self.free = _free(self.order)
        self.stages: dict[int, int] = {}
        self.levels = self._levels()
        self.places = self._places()

    def plan(self) -> Plan:
        """Return the pieces and the calls between them."""
        needed = [call for call in self.calls if id(call) in self.stages]
        read = [*self.roots, *(node for call in needed for node in call.nodes)]
        n_stages = 1 + max(self.levels.values(), default=0)
        wanted: list[dict[Node, None]] = [{} for _ in range(n_stages)]
        for node in read:
            if not isinstance(node, Input):
                wanted[self.places[node]][node] = None
        pieces = {s: self._piece(s, wanted) for s in reversed(range(n_stages)) if wanted[s]}
        steps: list[Step] = []
        for stage in range(n_stages):
            if stage in pieces:
                number = sum(isinstance(step, Piece) for step in steps)
                steps.append(_renamed(pieces[stage], f"{self.record.name}_{number}"))
            steps += [self._outside(c) for c in needed if self.stages[id(c)] == stage]
        outputs, record = self._structure(self.outputs), self.record
        return Plan(record.name, record.keras_version, self.inputs, outputs, tuple(steps))

    def _before(self, node: Node) -> tuple[Node, ...]:
        """Return what a node waits for: operands, or what the call takes that gives it."""
        call = self.maker.get(node)
        return operands_of(node) if call is None else call.nodes

    def _levels(self) -> dict[Node, int]:
        """Return how many calls in a row each node waits for; note the calls' stages."""
        levels: dict[Node, int] = {}
        for node in self.order:
            levels[node] = max((levels[other] for other in self._before(node)), default=0)
            if (call := self.maker.get(node)) is not None:
                self.stages[id(call)] = levels[node]
                levels[node] += 1
        return levels

    def _places(self) -> dict[Node, int]:
        """Return the earliest stage that reads each node."""
        places: dict[Node, int] = {node: self.levels[node] for node in self.roots}
        for node in reversed(self.order):
            call = self.maker.get(node)
            stage = places[node] if call is None else self.stages[id(call)]
            for other in self._before(node):
                places[other] = min(stage, places.get(other, stage))
        return places

    def _piece(self, stage: int, wanted: Sequence[dict[Node, None]]) -> Piece:
        """Return the piece that computes what is wanted of a stage; want what it takes itself."""

        def is_taken(node: Node) -> bool:
            return isinstance(node, Input) or (node not in self.free and self.places[node] < stage)

        roots = sorted(wanted[stage], key=self.position.__getitem__)
        made: dict[Node, Node] = {}
        taken: dict[Value, None] = {}
        for node in ordered(roots, lambda node: () if is_taken(node) else operands_of(node)):
            if is_taken(node):
                value = self._value(node)
                taken[value] = None
                made[node] = value.node
                if not isinstance(node, Input):
                    wanted[self.places[node]][node] = None
            else:
                made[node] = with_operands(node, tuple(made[o] for o in operands_of(node)))
        takes = self._binding(stage, [made[root] for root in roots], taken)
        gives = tuple(map(self._value, roots))
        outputs = tuple(made[root] for root in roots)
        verify_graph(*outputs, stage="pieces")
        layers = dict.fromkeys(
            path
            for path, nodes in self.boundary.layers
            for node in nodes
            if node in made and not is_taken(node) and self.places[node] == stage
        )
        lowered = Lowered(
            self.record.name,
            tuple(value.node for value in takes if isinstance(value.node, Input)),
            outputs[0] if len(outputs) == 1 else outputs,
            tuple(value.name for value in gives),
        )
        return Piece(lowered, takes, gives, tuple(layers))

    def _binding(
        self, stage: int, roots: Sequence[Node], taken: Mapping[Value, None]
    ) -> tuple[Value, ...]:
        """Return what a piece takes: what it reads, and what else says how long its axes are."""
        available = [*self.inputs]
        for call in self.calls:
            if self.stages.get(id(call), stage) < stage:
                available += [v for v in call.gives if v.has_shape and v.node in self.places]
        others = [value for value in taken if value not in available]
        names = {n for node in nodes_of(*roots) for e in shape_of(node) for n in free_names(e)}
        found = set(taken)
        unbound = names - _bound(found)
        for value in available:
            if unbound & _bound([value]):
                found.add(value)
                unbound -= _bound([value])
        return (*(value for value in available if value in found), *others)

    def _outside(self, call: _Taken) -> Outside:
        given = call.call
        kwargs = {
            name: self._structure(item)
            for name, item in given.kwargs.items()
            if item is not None and name != "training"
        }
        if call.mask is not None:
            kwargs["mask"] = self._value(call.mask)
        gives = tuple(
            (number, value) for number, value in enumerate(call.gives) if value.node in self.places
        )
        path, args = "/".join(given.path), self._structure(given.args)
        return Outside(path, given.layer, given.reason, args, kwargs, gives)

    def _structure(self, structure: Any) -> Any:
        if isinstance(structure, Tensor):
            return self._value(structure.node)
        if isinstance(structure, Mapping):
            return {name: self._structure(item) for name, item in structure.items()}
        if isinstance(structure, tuple):
            return tuple(map(self._structure, structure))
        return structure

    def _value(self, node: Node) -> Value:
        return self.boundary.name(node, f"value_{self.position[node]}")


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """A call that is not covered, with what it gives, and the mask that it is given."""

    call: UncoveredCall
    gives: tuple[Value, ...]
    mask: Node | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        tensors = tensors_in((self.call.args, self.call.kwargs))
        own = tuple(tensor.node for tensor in tensors)
        return own if self.mask is None else (*own, self.mask)


def _free(order: Sequence[Node]) -> set[Node]:
    """Return the nodes that cost nothing: constants, what is made of them alone, and views."""
    free: set[Node] = set()
    constant: set[Node] = set()
    for node in order:
        operands = operands_of(node)
        if not isinstance(node, Input) and all(operand in constant for operand in operands):
            constant.add(node)
        if node in constant or isinstance(node, Reshape | Strided):
            free.add(node)
    return free


def _bound(values: Iterable[Value]) -> set[str]:
    """Return the symbols that stand alone as an extent of one of these values."""
    extents = (extent for value in values for extent in shape_of(value.node))
    return {str(extent) for extent in extents if set(free_names(extent)) == {str(extent)}}


def _renamed(piece: Piece, name: str) -> Piece:
    return replace(piece, lowered=replace(piece.lowered, name=name))


def _as_input(name: str, node: Node) -> Node:
    """Return the input that stands for a node in the pieces that take it."""
    return node if isinstance(node, Input) else Input(name, shape_of(node), settled_dtype(node))


def _title(path: _Path, number: int, output: int) -> str:
    return str(TensorRef("/".join(path), number, output))


def _outputs_read(call: UncoveredCall) -> int:
    """Return how many outputs of a call its model reads or states."""
    model = call.model
    calls = [(item.args, item.kwargs) for layer in model.layers for item in layer.calls]
    named = (*references((model.outputs, *calls)), *model.stated)
    own = [ref.output for ref in named if (ref.layer, ref.call) == (call.layer.name, call.number)]
    return 1 + max(own, default=0)
