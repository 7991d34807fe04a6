"""The optimizer: every pass keeps values, and what the usual layers become."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.einloom_compiler.graphs import F32, SIZES, Drawn, arrays_for

from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of, inputs_of, nodes_of
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.optimizer import optimize

drawn = st.composite(lambda draw: Drawn(draw).roots)()


def check_same(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """Optimize, and compare shapes and values with those of the given graphs."""
    verify_graph(*roots, stage="test")
    made = optimize(roots)
    arrays = arrays_for(inputs_of(*roots))
    for before, after in zip(roots, made, strict=True):
        expected = evaluate_graph(before, arrays, SIZES, widened=True)
        got = evaluate_graph(after, arrays, SIZES, widened=True)
        assert got.shape == expected.shape
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        # Constants are folded in their own dtype, all else is computed in float64.
        is_single = any(dtype_of(node) == F32 for node in nodes_of(before))
        bound = 1e-4 if is_single else 1e-9
        np.testing.assert_allclose(got, expected, rtol=bound, atol=bound * scale)
        assert dtype_of(after) == dtype_of(before)
        assert len(shape_of(after)) == len(shape_of(before))
    return made


@settings(max_examples=150, deadline=None)
@given(drawn)
def test_random_graphs_keep_their_values(roots: tuple[Node, ...]) -> None:
    made = check_same(roots)
    assert optimize(roots) == made
    assert print_graph(*optimize(made)) == print_graph(*made)
