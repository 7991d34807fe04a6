"""A plan as JSON, for the programs that join the pieces, and as text for people.

{"model": ..., "keras_version": ..., "inputs": [value, ...], "outputs": STRUCTURE,
 "values": {value: {"dtype": ..., "shape": [extent, ...] | null}},
 "steps": [{"piece": ..., "takes": [value, ...], "gives": [value, ...], "layers": [path, ...]}
           | {"layer": path, "call": ..., "class": ..., "reason": ..., "config": {...},
              "args": [STRUCTURE, ...], "kwargs": {name: STRUCTURE},
              "gives": [{"output": number, "value": value}]}]}
STRUCTURE = {"value": value} | {"list": [...]} | {"mapping": {...}} | {"constant": JSON}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from einloom.keras.lowering.building import settled_dtype
from einloom.keras.models.documents import thawed
from einloom.keras.pieces.plan import Outside, Piece, Plan, Value, values_in
from einloom.report.tables import table
from einloom_compiler.extents import text as extent_text
from einloom_compiler.ir.shapes import shape_of


def description(plan: Plan, names: Sequence[str]) -> dict[str, Any]:
    """Return a plan as JSON.

    Args:
        plan: the plan.
        names: of its pieces, in order.
    """
    named = iter(names)
    steps = [
        _piece(step, next(named)) if isinstance(step, Piece) else _outside(step)
        for step in plan.steps
    ]
    return {
        "model": plan.name,
        "keras_version": plan.keras_version,
        "inputs": [value.name for value in plan.inputs],
        "outputs": _structure(plan.outputs),
        "values": {value.name: _value(value) for value in _values(plan)},
        "steps": steps,
    }


def told(described: Mapping[str, Any]) -> str:
    """Return a description for people: a table of the steps, and the values between them."""
    steps = described["steps"]
    n_pieces = sum("piece" in step for step in steps)
    rows = []
    for step in steps:
        if "piece" in step:
            does, what = ", ".join(step["layers"]), step["piece"]
            takes, gives = step["takes"], step["gives"]
        else:
            does, what = f"yours: {step['reason']}", f"{step['layer']} ({step['class']})"
            takes = list(_names((*step["args"], *step["kwargs"].values())))
            gives = [item["value"] for item in step["gives"]]
        rows.append((what, ", ".join(takes), ", ".join(gives), does))
    ports = [
        (name, f"{value['dtype']}[{', '.join(value['shape'])}]" if value["shape"] else "?")
        for name, value in described["values"].items()
    ]
    left_out = sum("layer" in step for step in steps)
    head = (
        f"{described['model']}: {n_pieces} compiled {'piece' if n_pieces == 1 else 'pieces'}, "
        f"{left_out} {'call' if left_out == 1 else 'calls'} of layers that are not"
    )
    return "\n\n".join(
        (
            head,
            table(("step", "takes", "gives", "layers"), rows),
            table(("value", "is"), ports),
        )
    )


def _piece(piece: Piece, name: str) -> dict[str, Any]:
    return {
        "piece": name,
        "takes": [value.name for value in piece.takes],
        "gives": [value.name for value in piece.gives],
        "layers": list(piece.layers),
    }


def _outside(step: Outside) -> dict[str, Any]:
    return {
        "layer": step.path,
        "class": step.layer.class_name,
        "reason": step.reason,
        "config": thawed(step.layer.config),
        "args": [_structure(item) for item in step.args],
        "kwargs": {name: _structure(item) for name, item in step.kwargs.items()},
        "gives": [{"output": number, "value": value.name} for number, value in step.gives],
    }


def _value(value: Value) -> dict[str, Any]:
    shape = [extent_text(extent) for extent in shape_of(value.node)] if value.has_shape else None
    return {"dtype": settled_dtype(value.node).name, "shape": shape}


def _values(plan: Plan) -> Iterator[Value]:
    yield from plan.inputs
    for step in plan.steps:
        yield from step.gives if isinstance(step, Piece) else (value for _, value in step.gives)


def _structure(structure: Any) -> dict[str, Any]:
    if isinstance(structure, Value):
        return {"value": structure.name}
    if not values_in(structure):
        return {"constant": thawed(structure)}
    if isinstance(structure, Mapping):
        return {"mapping": {name: _structure(item) for name, item in structure.items()}}
    return {"list": [_structure(item) for item in structure]}


def _names(structures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for structure in structures:
        if "value" in structure:
            yield structure["value"]
        elif "list" in structure:
            yield from _names(structure["list"])
        elif "mapping" in structure:
            yield from _names(tuple(structure["mapping"].values()))
