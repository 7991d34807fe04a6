"""Programs run optimized graphs: random ones and the usual layers, by kernels, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from tests.einloom_compiler.graphs import F32, SIZES, arrays_for
from tests.einloom_compiler.test_optimizer import drawn
from tests.einloom_compiler.test_optimizer_layers import LAYERS

from einloom.runtime.program import Program
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.traversal import dtype_of, inputs_of, nodes_of


def _check(roots: tuple[Node, ...]) -> None:
    inputs = inputs_of(*roots)
    arrays = arrays_for(inputs)
    program = Program(roots, {node.name: node.name for node in inputs}, True)
    given_arrays = [arrays[node.name] for node in program.signature.inputs]
    results = program.run_all(given_arrays, (None,) * len(roots), 1, "pool")
    for root, result in zip(roots, results, strict=True):
        expected = evaluate_graph(root, arrays, SIZES, widened=True)
        bound = 1e-4 if any(dtype_of(node) == F32 for node in nodes_of(root)) else 1e-9
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        np.testing.assert_allclose(result, expected, rtol=bound, atol=bound * scale)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_run_by_kernels_of_fused_nodes(name: str) -> None:
    _check((LAYERS[name](),))


@settings(max_examples=settings().max_examples // 5, deadline=None)
@given(drawn)
def test_random_graphs_run_by_kernels_of_fused_nodes(roots: tuple[Node, ...]) -> None:
    assume(inputs_of(*roots))
    _check(roots)
