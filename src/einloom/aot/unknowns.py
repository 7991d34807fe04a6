"""Unknown extents of a library, counted from 1: a process counts all that it ever made.

Else the same inputs would give other bytes, depending on what was done before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from einloom.aot.lowering import Source
from einloom_compiler.extents import Extent, free_names, is_unknown_name, symbol
from einloom_compiler.ir.graph import Input
from einloom_compiler.ir.traversal import at_sizes, inputs_of


def counted(source: Source) -> Source:
    """Return the source with unknown extents called ``_1``, ``_2``, ... in the inputs' order."""
    found = {
        name: None
        for node in (*source.inputs, *inputs_of(*source.roots))
        for extent in node.shape
        for name in sorted(free_names(extent), key=_age)
        if is_unknown_name(name)
    }
    names: Mapping[str, Extent] = {name: symbol(f"_{n}") for n, name in enumerate(found, 1)}
    if all(name == str(new) for name, new in names.items()):
        return source
    inputs = tuple(at_sizes(node, names) for node in source.inputs)
    return replace(
        source,
        roots=tuple(at_sizes(root, names) for root in source.roots),
        inputs=tuple(node for node in inputs if isinstance(node, Input)),
    )


def _age(name: str) -> tuple[int, str]:
    """Return what orders the unknowns of one extent by when they were made."""
    return (int(name[1:]), "") if is_unknown_name(name) else (0, name)
