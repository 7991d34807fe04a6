"""Layers that are one contraction: Dense, EinsumDense, Dot; and Embedding, a look-up."""

from __future__ import annotations

from einloom.expression import Expression
from einloom.frontends.keras_layers import dot_layer
from einloom.keras.lowering.activations import activated, fused
from einloom.keras.lowering.building import (
    BOOL,
    cast,
    contraction,
    elementwise,
    indices,
    reshaped,
    settled_dtype,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.activation import Function
from einloom.keras.models.kinds.dense import Dense, EinsumDense, Embedding
from einloom.keras.models.kinds.merging import Dot
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Epilogue, Node, Take
from einloom_compiler.ir.scalar import Number, Value, combined
from einloom_compiler.ir.shapes import shape_of

_INT32 = as_dtype("int32")


def projected(
    operands: tuple[Node, Node],
    terms: tuple[Term, Term],
    output: Term,
    bias: tuple[Node, Term] | None,
    activation: Function,
    dtype: AnyDType,
) -> Node:
    """Return a contraction with a kernel; bias and elementwise activation in its epilogue."""
    body = Value(0) if bias is None else combined("add", Value(0), Value(1))
    whole = fused(activation, body)
    further = () if bias is None else ((bias[0],), (bias[1],))
    epilogue = Epilogue(body if whole is None else whole, *further)
    node = contraction(terms, output, *operands, dtype=dtype, epilogue=epilogue)
    return activated(activation, node) if whole is None else node


def lower_dense(call: LayerCall, kind: Dense) -> Tensor:
    """Lower ``...i,ij->...j``."""
    (x,) = call.nodes
    *free, i = indices(len(shape_of(x)))
    j = Index("j", 1)
    bias = (call.weight("bias"), (j,)) if kind.use_bias else None
    operands = (cast(x, call.dtype), call.weight("kernel"))
    node = projected(operands, ((*free, i), (i, j)), (*free, j), bias, kind.activation, call.dtype)
    return Tensor(node)


def lower_einsum_dense(call: LayerCall, kind: EinsumDense) -> Tensor:
    """Lower the layer's equation, its ellipsis spelled out."""
    (x,) = call.nodes
    n_elided = len(shape_of(x)) - len(kind.input_letters)
    elided = tuple(Index("z", 1 + n) for n in range(n_elided))
    before, after = (elided, ()) if kind.elided == "left" else ((), elided)
    given, kernel, output = (
        tuple(map(Index, letters))
        for letters in (kind.input_letters, kind.kernel_letters, kind.output_letters)
    )
    bias = None
    if kind.bias_letters is not None:
        first = min(map(kind.output_letters.index, kind.bias_letters))
        letters = [c for c in kind.output_letters[first:] if c in kind.bias_letters]
        shape = tuple(
            n
            for c, n in zip(kind.output_letters[first:], call.weight_shape("bias"), strict=False)
            if c in kind.bias_letters
        )
        bias = (reshaped(call.weight("bias"), shape), tuple(map(Index, letters)))
    node = projected(
        (cast(x, call.dtype), call.weight("kernel")),
        ((*before, *given, *after), kernel),
        (*before, *output, *after),
        bias,
        kind.activation,
        call.dtype,
    )
    return Tensor(node)


def lower_dot(call: LayerCall, kind: Dot) -> Tensor:
    """Lower a product over one axis of each input; only axis 0 is shared.

    Releases before 2.2.5 mean the same by it up to rank 3, beyond which the kind refuses them.
    """
    kind.output_shape(*call.shapes)
    x, y = (Expression(node) for node in call.nodes)
    product = dot_layer(x, y, kind.axes, kind.normalize, call.dtype.name)
    return Tensor(product.node)


def lower_embedding(call: LayerCall, kind: Embedding) -> Tensor:
    """Lower a look-up of rows; 0 masks its position where the layer says so."""
    (tensor,) = call.inputs
    ids = tensor.node
    if settled_dtype(ids).kind not in "iu":
        ids = cast(ids, _INT32)
    mask = None
    if kind.mask_zero:
        body = combined("not_equal", Value(0), Number(0.0))
        mask = elementwise(body, ids, dtype=settled_dtype(ids), result=BOOL)
    return Tensor(Take(call.weight("embeddings"), ids), mask)
