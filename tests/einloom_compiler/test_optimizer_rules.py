"""Single rules of the optimizer: what each makes of the smallest graph that it is for."""

import math
from typing import Any

import numpy as np
import pytest
from tests.einloom_compiler.graphs import (
    F32,
    F64,
    I64,
    add,
    each,
    einsum,
    layer_norm,
    mapped,
    reduced,
    reshaped,
    softmax,
    transposed,
    weight,
)
from tests.einloom_compiler.test_optimizer import check_same

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.extents import symbol
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import (
    PLAIN,
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Node,
    Reshape,
    Rows,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.printer import print_einsum, print_graph
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of
from einloom_compiler.optimizer import optimize
from einloom_compiler.optimizer.scalars import simplified

N, M = symbol("N"), symbol("M")
X, Y = Input("x", (N, 6), F64), Input("y", (6, M), F64)
SUBTRACT = combined("subtract", Value(0), Value(1))
MULTIPLY = combined("multiply", Value(0), Value(1))
DIVIDE = combined("divide", Value(0), Value(1))


def _only(node: Node) -> Node:
    (made,) = check_same((node,))
    return made


def _times(number: float) -> Scalar:
    return Mapped(make_map("multiply", number), Value(0))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (combined("add", Value(0), Number(0.0)), combined("add", Value(0), Number(0.0)), "f"),
        (combined("add", Value(0), Number(-0.0)), Value(0), "f"),
        (combined("add", Number(0.0), Value(0)), Value(0), "i"),
        (combined("subtract", Value(0), Number(0.0)), Value(0), "f"),
        (combined("multiply", Number(1.0), Value(0)), Value(0), "c"),
        (combined("multiply", Number(2.0), Value(0)), _times(2.0), "i"),
        (combined("divide", Value(0), Number(4.0)), _times(0.25), "f"),
        (combined("divide", Value(0), Number(3.0)), combined("divide", Value(0), Number(3.0)), "f"),
        (Mapped(make_map("negative"), Mapped(make_map("negative"), Value(0))), Value(0), "f"),
        (combined("where", Number(0.0), Value(0), Value(1)), Value(1), "f"),
        (combined("add", Number(2.0), Number(3.0)), Number(5.0), "f"),
    ],
)  # fmt: skip
def test_scalars_keep_signs_of_zero_and_rounding(before: Scalar, after: Scalar, kind: str) -> None:
    assert simplified(before, kind) is after


def test_views_of_views_compose_to_nothing() -> None:
    flipped = Strided(X, (0, 5), (ViewAxis(N, 0), ViewAxis(6, 1, -1)))
    assert _only(Strided(flipped, (0, 5), (ViewAxis(N, 0), ViewAxis(6, 1, -1)))) is X
    assert _only(transposed(transposed(X, 1, 0), 1, 0)) is X
    assert _only(reshaped(reshaped(X, N * 2, 3), N, 6)) is X
    assert _only(each(Value(0), "ab->ab", X)) is X
    kept = Strided(X, (0, 0), (ViewAxis(N, 0), ViewAxis(1), ViewAxis(6, 1)))
    assert _only(Strided(kept, (0, 0, 0), (ViewAxis(N, 0), ViewAxis(6, 2)))) is X


def test_transposes_and_broadcasts_are_terms() -> None:
    made = _only(transposed(einsum("ab,bc->ac", transposed(Y, 1, 0), transposed(X, 1, 0)), 1, 0))
    assert isinstance(made, Contraction)
    assert made.operands == (Y, X)
    assert print_einsum(made.einsum) == "ba,cb->ca"
    wide = Strided(weight("b", 6), (0,), (ViewAxis(N), ViewAxis(6, 0)))
    added = _only(add("ab,ab->ab", X, wide))
    assert isinstance(added, Elementwise)
    assert added.terms[1] == (Index("b"),)


def test_a_slice_of_a_result_is_computed_alone() -> None:
    whole = einsum("ab,bc->ac", X, Y)
    made = _only(Strided(whole, (0, 1), (ViewAxis(N, 0),)))
    assert isinstance(made, Contraction)
    assert len(made.einsum.output) == 1
    assert shape_of(made.operands[1]) == (6,)


def test_split_and_joined_indices_need_no_reshape() -> None:
    w, v = weight("w", 6, 8), weight("v", 8, 5)
    hidden = reshaped(einsum("ab,bc->ac", X, w), N, 2, 4)
    moved = reshaped(transposed(mapped("tanh", hidden), 1, 2, 0), 8, N)
    made = _only(einsum("ca,cd->ad", moved, v))
    assert not any(isinstance(node, Reshape | Strided) for node in nodes_of(made))
    folded = [node for node in nodes_of(made) if isinstance(node, Constant)]
    assert all(
        np.may_share_memory(node.array, (w.array, v.array)[n]) for n, node in enumerate(folded)
    )


def test_elementwise_chains_become_the_epilogue() -> None:
    x, w = einsum("ab,bc->ac", X, weight("w", 6, 3)), weight("b", 3)
    made = _only(
        mapped("tanh", each(MULTIPLY, "ac,a->ac", add("ac,c->ac", x, w), reduced(X, "max")))
    )
    assert isinstance(made, Contraction)
    assert "tanh(((sum + " in print_graph(made)


def test_a_result_with_two_users_is_computed_once() -> None:
    hidden = einsum("ab,bc->ac", X, weight("w", 6, 3))
    first, second = mapped("tanh", hidden), mapped("exp", hidden)
    made = check_same((first, second))
    assert sum(isinstance(node, Contraction) for node in nodes_of(*made)) == 1


def test_numbers_leave_sums() -> None:
    made = _only(einsum("ab,bc->ac", mapped("multiply", X, 3.0), Y))
    assert isinstance(made, Contraction)
    assert made.operands == (X, Y)
    assert made.epilogue.maps == (make_map("multiply", 3.0),)


def test_softmax_and_norms_by_hand_are_the_builders() -> None:
    e = mapped("exp", each(SUBTRACT, "ab,a->ab", X, reduced(X, "max")))
    by_hand = _only(each(DIVIDE, "ab,a->ab", e, reduced(e, "sum")))
    assert by_hand is softmax(X)
    gamma, beta = weight("g", 6), weight("b", 6)
    c = each(SUBTRACT, "ab,a->ab", X, reduced(X, "mean"))
    root = mapped("rsqrt", mapped("add", reduced(mapped("square", c), "mean"), 1e-3))
    scaled = each(MULTIPLY, "ab,b->ab", each(MULTIPLY, "ab,a->ab", c, root), gamma)
    norm = _only(add("ab,b->ab", scaled, beta))
    assert isinstance(norm, Rows)
    given = optimize((layer_norm(X, gamma, beta),))[0]
    assert isinstance(given, Rows)
    assert norm.reductions[1].kind == "mean"
    assert len(norm.reductions) == len(given.reductions) == 2


def test_contractions_merge_and_keep_order_free() -> None:
    made = _only(einsum("ab,bc->ac", einsum("ab,bc->ac", X, Y), einsum("ab->ba", Y)))
    assert isinstance(made, Contraction)
    assert made.operands == (X, Y, Y)
    halves = Input("h", (4, 4), as_dtype("float16"))
    (apart,) = optimize((einsum("ab,bc->ac", einsum("ab,bc->ac", halves, halves), halves),))
    assert sum(isinstance(node, Contraction) for node in nodes_of(apart)) == 2


def test_conjugates_multiply_through() -> None:
    z = Input("z", (3, 3), as_dtype("complex128"))
    product = einsum("ab,bc->ac", z, z)
    outer = Contraction(
        einsum("ab,bc->ac", product, z).einsum, (product, z), z.dtype, (True, False),
        (frozenset(), frozenset()), PLAIN,
    )  # fmt: skip
    (made,) = optimize((outer,))
    assert isinstance(made, Contraction)
    assert made.conjugated == (True, True, False)


def _scores(rows: Any = N, columns: Any = N) -> tuple[Node, Node]:
    q, k, v = (Input(n, (2, e, 4), F64) for n, e in (("q", rows), ("k", columns), ("v", columns)))
    return einsum("btd,bsd->bts", q, k), v


def _masked(hidden: float, mask: bool = False) -> Node:
    scores, v = _scores()
    holds = combined("less_equal", Value(1), Value(2))
    operands: list[Node] = [scores, Iota(N, I64), Iota(N, I64)]
    subscripts = "bts,s,t->bts"
    if mask:
        holds = combined("multiply", combined("less", Value(3), Number(9.0)), holds)
        operands.append(Input("m", (2, N), F64))
        subscripts = "bts,s,t,bs->bts"
    seen = each(combined("where", holds, Value(0), Number(hidden)), subscripts, *operands)
    return einsum("bts,bsd->btd", softmax(seen), v)


def test_causal_masks_are_marks_where_nothing_else_changes() -> None:
    for hidden in (-math.inf, -1e9):
        made = _only(_masked(hidden))
        assert isinstance(made, Attention)
        assert made.is_causal
        assert made.masks == ()
    made = _only(_masked(-math.inf, mask=True))
    assert isinstance(made, Attention)
    assert made.is_causal
    assert len(made.masks) == 1
    # Rows without any key that counts average over all keys.
    made = _only(_masked(-1e9, mask=True))
    assert isinstance(made, Attention)
    assert not made.is_causal


def test_scores_that_are_used_twice_are_kept() -> None:
    scores, v = _scores()
    weights = softmax(scores)
    made = check_same((einsum("bts,bsd->btd", weights, v), weights))
    assert not any(isinstance(node, Attention) for node in nodes_of(*made))


def test_repeated_heads_of_keys_are_never_stored() -> None:
    def repeated(node: Node) -> Node:
        axes = (ViewAxis(N, 0), ViewAxis(M, 1), ViewAxis(2, 2), ViewAxis(3), ViewAxis(4, 3))
        return reshaped(Strided(node, (0,) * 4, axes), N, M, 6, 4)

    q = Input("q", (N, M, 6, 4), F64)
    k, v = (Input(name, (N, M, 2, 4), F64) for name in "kv")
    scores = einsum("bthd,bshd->bhts", q, repeated(k))
    mixed = einsum("bhts,bshd->bthd", softmax(scores), repeated(v))
    made = _only(einsum("bthd,hde->bte", mixed, weight("o", 6, 4, 5)))
    (attention,) = (node for node in nodes_of(made) if isinstance(node, Attention))
    assert (attention.key, attention.value) == (k, v)


def test_constants_fold_once_and_to_the_same_objects() -> None:
    a, b = weight("a", 3, 4, dtype=F32), weight("b", 4, dtype=F32)
    node = add("ab,ab->ab", Input("x", (4, 3), F32), transposed(add("ab,b->ab", a, b), 1, 0))
    (made,) = optimize((node,))
    assert optimize((node,)) == (made,)
    (constant,) = (part for part in nodes_of(made) if isinstance(part, Constant))
    np.testing.assert_array_equal(constant.array, a.array + b.array)


def test_what_is_known_before_a_call_is_not_fused_with_what_is_not() -> None:
    wide, deep = weight("w", 6, 300), weight("v", 300, 300)
    product = einsum("ab,bc->ac", wide, deep)  # too large to be folded here
    made = _only(einsum("ab,bc->ac", X, product))
    assert isinstance(made, Contraction)
    assert made.operands == (X, product)
    bias = mapped("tanh", weight("b", 200, 100))
    x = Input("x", (200, 100), F64)
    added = _only(add("ab,ab->ab", x, bias))
    assert isinstance(added, Elementwise)
    assert added.operands == (x, bias)


def test_a_mean_alone_is_a_contraction_and_one_beside_its_rows_is_not() -> None:
    x = Input("x", (N, 5, 6), F64)
    made = _only(mapped("sqrt", reduced(x, "mean", axis=1)))
    assert isinstance(made, Contraction)
    assert print_einsum(made.einsum) == "abc->ac"
    assert made.epilogue.body == Mapped(make_map("sqrt"), combined("divide", Value(0), Number(5.0)))
    assert isinstance(_only(reduced(x, "sum")), Contraction)
    # A count that calls settle, a maximum, integers, and what is done along the rows as well.
    bytes_ = Input("x", (N, 5), as_dtype("uint8"))
    centred = add("ab,a->ab", Input("x", (N, 5), F64), reduced(Input("x", (N, 5), F64), "mean"))
    for kept in (reduced(x, "mean", axis=0), reduced(x, "max"), reduced(bytes_, "sum"), centred):
        assert isinstance(_only(kept), Rows)


def test_scales_and_shifts_go_into_weights_and_one_operand() -> None:
    w, (b, s, m, d, t) = weight("w", 6, 3), (weight(name, 3) for name in "bsmdt")
    divided = each(DIVIDE, "ac,c->ac", each(SUBTRACT, "c,ac->ac", m, add(
        "ac,c->ac", einsum("ab,bc->ac", X, w), b)), d)  # fmt: skip
    made = _only(mapped("tanh", add("ac,c->ac", mapped("negative", each(
        MULTIPLY, "c,ac->ac", s, divided)), t)))  # fmt: skip
    assert isinstance(made, Contraction)
    scaled, (shift,) = made.operands[1], made.epilogue.operands
    assert isinstance(scaled, Constant)
    assert isinstance(shift, Constant)
    np.testing.assert_allclose(scaled.array, w.array * s.array / d.array, rtol=1e-15)
    moved = t.array - s.array * (m.array - b.array) / d.array
    np.testing.assert_allclose(shift.array, moved, rtol=1e-14)


def test_shifts_grow_no_larger_than_they_are() -> None:
    x, w, b = Input("x", (5, N, 6), F64), weight("w", 6, 3), weight("b", 3)

    def shifted(subscripts: str, *shape: int) -> list[tuple[Any, ...]]:
        hidden = add("ndc,c->ndc", einsum("nda,ac->ndc", x, w), b)
        made = _only(add(subscripts, hidden, weight("p", *shape)))
        assert isinstance(made, Contraction)
        return [shape_of(operand) for operand in made.epilogue.operands]

    assert shifted("ndc,nc->ndc", 5, 3) == [(5, 3)]
    assert shifted("ndc,n->ndc", 5) == [(3,), (5,)]


@pytest.mark.parametrize("why", ["rows", "read twice", "infinite", "half", "a call's"])
def test_scales_that_no_weight_can_take_stay(why: str) -> None:
    dtype = as_dtype("float16") if why == "half" else F64
    x, scale = Input("x", (5, 6), dtype), np.linspace(1, 2, 5 if why == "rows" else 3)
    w: Node = Constant(weight("w", 6, 3).array.astype(dtype))
    if why == "infinite":
        scale[1] = np.inf
    s: Node = Constant(scale.astype(dtype))
    if why == "a call's":
        s = Input("s", (3,), F64)
    made = [each(MULTIPLY, "ac,a->ac" if why == "rows" else "ac,c->ac",
                 einsum("ab,bc->ac", x, w), s)]  # fmt: skip
    if why == "read twice":
        made.append(mapped("tanh", einsum("ab,bc->ac", Input("y", (7, 6), F64), w)))
    (found, *_) = optimize(tuple(made))
    assert isinstance(found, Contraction)
    assert found.operands == (x, w)
    assert found.epilogue.operands == (s,)


def test_products_of_one_operand_are_columns_of_one_product() -> None:
    x = Input("x", (N, 5, 6), F64)
    wide, narrow, square = weight("w", 6, 2, 4), weight("v", 3, 6), weight("u", 6, 6)
    bias = weight("b", 4)
    scaled = each(combined("add", MULTIPLY, Value(2)), "btnd,,d->btnd",
                  einsum("btc,cnd->btnd", x, wide), Constant(np.array(0.3)), bias)  # fmt: skip
    moved = einsum("abj,kj->akb", x, narrow)
    plain = each(combined("divide", Value(0), Number(3.0)), "btd->btd",
                 einsum("btc,cd->btd", x, square))  # fmt: skip
    # Each is used by something that reads it where it is.
    roots = (softmax(scaled), reduced(moved, "max"), reduced(plain, "min"))
    made = check_same(roots)
    (whole,) = (node for node in nodes_of(*made) if isinstance(node, Contraction))
    assert shape_of(whole) == (N, 5, 2 * 4 + 3 + 6)
    assert sum(isinstance(node, Strided) for node in nodes_of(*made)) == 3
    assert optimize(roots) == made
    apart = optimize(roots, without=("join siblings",))
    assert sum(isinstance(node, Contraction) for node in nodes_of(*apart)) == 3


def test_products_are_joined_layer_after_layer() -> None:
    layer: Node = Input("x", (N, 6), F64)
    for name in "pq":
        first, second = (weight(f"{name}{part}", 6, 6) for part in ("first", "second"))
        parts = [softmax(einsum("ab,bc->ac", layer, kernel)) for kernel in (first, second)]
        layer = add("ab,ab->ab", *parts)
    made = _only(layer)
    found = [shape_of(node) for node in nodes_of(made) if isinstance(node, Contraction)]
    assert found == [(N, 12), (N, 12)]


def test_products_with_unlike_epilogues_stay_apart_and_with_like_ones_do_not() -> None:
    def joined(first: str, second: str) -> int:
        branches = [
            softmax(mapped(name, add("ac,c->ac", einsum("ab,bc->ac", X, kernel), bias)))
            for name, kernel, bias in (
                (first, weight("k", 6, 3), weight("d", 3)),
                (second, weight("l", 6, 5), weight("e", 5)),
            )
        ]
        made = check_same(tuple(branches))
        return sum(isinstance(node, Contraction) for node in nodes_of(*made))

    assert joined("tanh", "tanh") == 1
    assert joined("tanh", "relu") == 2


def test_results_and_integers_are_joined_only_where_nothing_is_copied_or_rounded() -> None:
    results = check_same((einsum("ab,bc->ac", X, weight("k", 6, 3)),
                          einsum("ab,bc->ac", X, weight("l", 6, 5))))  # fmt: skip
    assert all(isinstance(node, Contraction) for node in results)
    x = Input("n", (N, 6), I64)
    kernels = [Constant(np.arange(6 * n, dtype=np.int64).reshape(6, n)) for n in (3, 4)]
    sums = tuple(reduced(einsum("ab,bc->ac", x, kernel), "max") for kernel in kernels)
    (whole,) = (n for n in nodes_of(*check_same(sums)) if isinstance(n, Contraction))
    assert shape_of(whole) == (N, 7)
