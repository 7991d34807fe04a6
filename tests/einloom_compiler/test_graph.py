"""Graphs of expressions: sharing, shapes, printing, and their NumPy reference."""

import pickle
from typing import Any

import numpy as np
import pytest

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.extents import symbol
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    Attention,
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
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.scalar import Mapped, Number, Value, combined, print_scalar
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of, rewritten
from einloom_compiler.ir.verify_graph import verify_graph

F32, I64 = as_dtype("float32"), as_dtype("int64")
B, S, T, D, H = (Index(name) for name in "bstdh")


def _input(name: str, *shape: Any) -> Input:
    return Input(name, shape, F32)


def _softmax(x: Node, term: Term, along: Term) -> Rows:
    exp = Mapped(make_map("exp"), combined("subtract", Value(0), Value(1)))
    return Rows(
        operands=(x,),
        terms=(term,),
        output=term,
        reduced=along,
        reductions=(Reduction("max", Value(0)), Reduction("sum", exp)),
        body=combined("divide", exp, Value(2)),
        dtype=F32,
    )


def _arrays(**shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def test_equal_nodes_are_one_object_also_when_pickled() -> None:
    x = _input("x", 3, 4)
    softmax = _softmax(x, (B, S), (S,))
    assert _softmax(_input("x", 3, 4), (B, S), (S,)) is softmax
    assert pickle.loads(pickle.dumps(softmax)) is softmax
    assert Number(0.0) is not Number(-0.0)
    assert Number(float("nan")) is Number(float("nan"))


def test_reusing_a_result_many_times_costs_nothing() -> None:
    node: Node = _input("x", 3)
    for _ in range(2000):
        node = Elementwise(
            combined("add", Value(0), Value(1)), (node, node), ((B,), (B,)), (B,), F32
        )
    assert len(nodes_of(node)) == 2001
    assert rewritten(node, lambda part: part) is node
    assert shape_of(node) == (3,)


def test_contraction_with_bias_and_scale() -> None:
    x, w = _input("x", symbol("N"), 4), _input("w", 4, 5)
    bias, scale = _input("bias", 5), _input("scale", symbol("N"))
    body = combined("add", combined("multiply", Value(0), Value(2)), Value(1))
    node = Contraction(
        EinsumExpr(((B, S), (S, T)), (B, T)),
        (x, w),
        F32,
        (False, False),
        (frozenset(), frozenset()),
        Epilogue(Mapped(make_map("relu"), body), (bias, scale), ((T,), (B,))),
    )
    verify_graph(node, stage="test")
    a = _arrays(x=(3, 4), w=(4, 5), bias=(5,), scale=(3,))
    expected = np.maximum(a["x"] @ a["w"] * a["scale"][:, None] + a["bias"], 0)
    np.testing.assert_allclose(evaluate_graph(node, a), expected, rtol=1e-5)
    assert "| relu(((sum * %3[b]) + %2[t]), 0, inf, 0)" in print_graph(node)


def test_softmax_and_means_of_rows() -> None:
    a = _arrays(x=(3, 7))
    x = _input("x", 3, 7)
    e = np.exp(a["x"] - a["x"].max(-1, keepdims=True))
    np.testing.assert_allclose(
        evaluate_graph(_softmax(x, (B, S), (S,)), a), e / e.sum(-1, keepdims=True), rtol=1e-5
    )
    mean = Rows((x,), ((B, S),), (S,), (B,), (Reduction("mean", Value(0)),), Value(1), F32)
    verify_graph(mean, stage="test")
    np.testing.assert_allclose(evaluate_graph(mean, a), a["x"].mean(0), rtol=1e-5)


def test_attention_is_its_parts() -> None:
    a = _arrays(q=(2, 5, 3, 4), k=(2, 6, 3, 4), v=(2, 6, 3, 8), m=(2, 6))
    q, k, v = (_input(n, *a[n].shape) for n in "qkv")
    E = Index("e")
    node = Attention(
        q, k, v,
        ((B, T, H, D), (B, S, H, D), (B, S, H, E)),
        (B, T, H, E),
        combined("add", combined("multiply", Value(0), Number(0.5)), Value(1)),
        (_input("m", 2, 6),), ((B, S),),
        is_causal=True, dtype=F32,
    )  # fmt: skip
    verify_graph(node, stage="test")
    assert node.key_position == S
    scores = np.einsum("bthd,bshd->bhts", a["q"], a["k"]) * 0.5 + a["m"][:, None, None, :]
    scores = np.where(np.tri(5, 6, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhts,bshe->bthe", weights, a["v"])
    np.testing.assert_allclose(evaluate_graph(node, a), expected, rtol=1e-4, atol=1e-6)


def test_views_pads_joins_and_lookups() -> None:
    x = _input("x", 5, 6)
    a = _arrays(x=(5, 6))
    flipped = Strided(x, (4, 1), (ViewAxis(2, 1, 2), ViewAxis(5, 0, -1), ViewAxis(3)))
    expected = np.broadcast_to(a["x"][::-1, 1:5:2].T[:, :, None], (2, 5, 3))
    np.testing.assert_array_equal(evaluate_graph(flipped, a), expected)
    windows = Strided(x, (0, 0), (ViewAxis(3, 0), ViewAxis(6, 1), ViewAxis(3, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(a["x"], 3, 0)
    np.testing.assert_array_equal(evaluate_graph(windows, a), seen)
    padded = Pad(x, (1, 0), (0, 2), -1.0)
    assert shape_of(padded) == (6, 8)
    np.testing.assert_array_equal(
        evaluate_graph(padded, a), np.pad(a["x"], ((1, 0), (0, 2)), constant_values=-1)
    )
    joined = Join((x, padded_rows := Reshape(x, (5, 6))), 0)
    assert shape_of(joined) == (10, 6)
    assert shape_of(padded_rows) == (5, 6)
    ids = Input("ids", (2, 3), I64)
    a["ids"] = np.array([[0, 4, 1], [2, 2, 3]])
    np.testing.assert_array_equal(evaluate_graph(Take(x, ids), a), a["x"][a["ids"]])
    np.testing.assert_array_equal(evaluate_graph(Iota(4, I64), {}), np.arange(4))


def test_verifier_refuses_a_row_that_stores_half_of_its_indices() -> None:
    x = _input("x", 3, 4, 5)
    bad = Rows((x,), ((B, S, T),), (B, S), (S, T), (Reduction("sum", Value(0)),), Value(1), F32)
    with pytest.raises(InternalCompilerError, match="all reduced indices are stored, or none"):
        verify_graph(bad, stage="test")


def test_printed_scalars() -> None:
    body = combined("where", combined("less", Value(0), Number(0)), Number(1), Value(1))
    assert print_scalar(body, ["a", "b"]) == "where((a < 0), 1, b)"
