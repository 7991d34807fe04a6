"""What the usual layers become, printed: each file is the whole optimized graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.einloom_compiler.graphs import (
    F32,
    I64,
    add,
    each,
    einsum,
    layer_norm,
    mapped,
    reshaped,
    softmax,
    transposed,
    weight,
)
from tests.einloom_compiler.test_optimizer import check_same

from einloom_compiler.extents import symbol
from einloom_compiler.ir.graph import (
    Attention,
    Constant,
    Contraction,
    Input,
    Iota,
    Node,
    Strided,
)
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.scalar import Number, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of
from einloom_compiler.optimizer import optimize

B, T = symbol("N"), symbol("M")
H, D, E = 2, 4, 8
X = Input("x", (B, T, E), F32)


def _weight(name: str, *shape: int) -> Constant:
    return weight(name, *shape, dtype=F32)


def _dense(x: Node, units: int, name: str, activation: str | None = None) -> Node:
    """Keras's Dense: a product, a bias, an activation."""
    own = "btuv"[: len(shape_of(x)) - 1]
    kernel = _weight(f"{name}.kernel", shape_of(x)[-1], units)
    y: Node = add(
        f"{own}n,n->{own}n",
        einsum(f"{own}e,en->{own}n", x, kernel),
        _weight(f"{name}.bias", units),
    )
    return mapped(activation, y) if activation else y


def _mlp(depth: int = 3) -> Node:
    y: Node = Input("x", (B, E), F32)
    for number in range(depth):
        y = _dense(y, E, f"dense{number}", "relu")
    return y


def _keras_attention(x: Node, name: str = "mha", is_causal: bool = False) -> Node:
    """Keras's MultiHeadAttention: EinsumDense projections with heads, the query scaled."""

    def projected(part: str) -> Node:
        kernel = _weight(f"{name}.{part}.kernel", E, H, D)
        bias = _weight(f"{name}.{part}.bias", H, D)
        return add("bthd,hd->bthd", einsum("bte,ehd->bthd", x, kernel), bias)

    scale = Constant(np.array(0.5, F32), "scale")
    times = combined("multiply", Value(0), Value(1))
    query = each(times, "bthd,->bthd", projected("query"), scale)
    scores: Node = einsum("aecd,abcd->acbe", projected("key"), query)
    if is_causal:
        earlier = combined("less_equal", Value(0), Value(1))
        mask = each(earlier, "s,t->ts", Iota(T, I64), Iota(T, I64), result=np.dtype(bool))
        kept = combined("where", Value(1), Value(0), Number(float("-inf")))
        scores = each(kept, "bhts,ts->bhts", scores, mask)
    mixed = einsum("acbe,aecd->abcd", softmax(scores), projected("value"))
    out = einsum("abcd,cde->abe", mixed, _weight(f"{name}.out.kernel", H, D, E))
    return add("abe,e->abe", out, _weight(f"{name}.out.bias", E))


def _torch_attention(x: Node) -> Node:
    """Projections to one axis, which is split into heads and joined again."""

    def heads(name: str) -> Node:
        return transposed(reshaped(_dense(x, E, name), B, T, H, D), 0, 2, 1, 3)

    q, k, v = heads("q"), heads("k"), heads("v")
    scores = einsum("bhtd,bhds->bhts", q, transposed(k, 0, 1, 3, 2))
    scaled = each(combined("divide", Value(0), Number(3.0)), "bhts->bhts", scores)
    mixed = einsum("bhts,bhsd->bhtd", softmax(scaled), v)
    return _dense(reshaped(transposed(mixed, 0, 2, 1, 3), B, T, E), E, "out")


def _encoder(x: Node, name: str = "") -> Node:
    """BERT's block: normalisation after each residual."""
    g, b = (_weight(f"{name}{part}", E) for part in ("gamma", "beta"))
    y = layer_norm(add("bte,bte->bte", x, _keras_attention(x, f"{name}mha")), g, b)
    z = _dense(_dense(y, 16, f"{name}up", "gelu"), E, f"{name}down")
    return layer_norm(add("bte,bte->bte", y, z), g, b)


LAYERS: dict[str, Callable[[], Node]] = {
    "mlp": _mlp,
    "keras_attention": lambda: _keras_attention(X),
    "causal_attention": lambda: _keras_attention(X, is_causal=True),
    "torch_attention": lambda: _torch_attention(X),
    "encoder_block": lambda: _encoder(X),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_become_few_nodes(name: str, golden: Any) -> None:
    before = LAYERS[name]()
    (after,) = check_same((before,))
    counts = f"{len(nodes_of(before))} nodes became {len(nodes_of(after))}"
    golden(f"optimizer/{name}.txt", f"{print_graph(after)}\n{counts}")


def test_nothing_but_contractions_and_attention_is_left_of_attention() -> None:
    (after,) = optimize((_torch_attention(X),))
    kinds = {type(node) for node in nodes_of(after)}
    assert kinds == {Input, Constant, Contraction, Strided, Attention}  # views of the projections


def test_every_pass_is_dumped_when_it_changed_something() -> None:
    names: list[str] = []
    optimize((_torch_attention(X),), dump=lambda name, text: names.append(name))
    assert names[:2] == ["simplify", "move reshapes"]
    assert "find attention" in names


def test_a_hundred_layers_are_a_hundred_contractions() -> None:
    after = nodes_of(*optimize((_mlp(100),)))
    assert sum(isinstance(node, Contraction) for node in after) == 100
    assert len(after) == 301
