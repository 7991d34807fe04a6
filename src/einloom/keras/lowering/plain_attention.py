"""Attention of given query, value and key: the layers Attention and AdditiveAttention.

Source: ``keras/src/layers/attention/attention.py`` of Keras 3.15.1.
"""

from __future__ import annotations

from einloom.keras.lowering.building import cast, contraction, elementwise, indices
from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor
from einloom.keras.lowering.masks import Condition, as_flag
from einloom.keras.models.kinds.attention import Attention as AttentionKind
from einloom_compiler.ir import builders
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Elementwise,
    Epilogue,
    Node,
    Reduction,
    Rows,
)
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of

_T, _S, _D, _E = (Index(name, 1) for name in "tsde")


def lower_attention(call: LayerCall, kind: AttentionKind) -> Outputs:
    """Lower scores of dot products, or of sums of tanh, softmax, and the values' average.

    Keras subtracts 1e9 from a masked score, so that a row of masked scores alone still is a
    softmax of what is left of them. A query that is masked itself gives 0.
    """
    call.refuse_arguments("mask", "return_attention_scores", "use_causal_mask")
    kind.output_shape(*call.shapes)
    query, value, *keys = (cast(node, call.dtype) for node in call.nodes)
    key = keys[0] if keys else value
    batch = indices(len(shape_of(query)) - 2)
    output = (*batch, _T, _E)
    query_mask, value_mask = _masks(call)
    if value_mask is not None and len(batch) != 1:
        raise call.unsupported("a padding mask for inputs that are not of rank 3")
    condition, is_causal = Condition(), bool(call.arguments.get("use_causal_mask"))
    wants_scores = bool(call.arguments.get("return_attention_scores"))
    is_dot = kind.score_mode == "dot"
    if is_dot and "scale" in call.operands:
        body = combined("multiply", Value(0), Value(1))
        query = elementwise(body, query, call.weight("scale"), dtype=call.dtype)
    if value_mask is not None:
        condition = condition.also(value_mask, (*batch, _S))
    if is_causal and (condition.body is not None or wants_scores or not is_dot):
        n_rows, n_columns = shape_of(query)[-2], shape_of(key)[-2]
        condition, is_causal = condition.causal(_T, n_rows, _S, n_columns), False
    value_term = (*batch, _S, _E)
    weights = None
    if is_dot and not wants_scores:
        out: Node = Attention(
            query, key, value, ((*batch, _T, _D), (*batch, _S, _D), value_term), output,
            _masked(call, condition, _scaled(call)), condition.operands, condition.terms,
            is_causal, call.dtype,
        )  # fmt: skip
    else:
        scores = (_dot_scores if is_dot else _tanh_scores)(call, kind, query, key, batch, condition)
        weights = builders.softmax(scores, -1)
        term = (*batch, _T, _S)
        out = contraction((term, value_term), output, weights, value, dtype=call.dtype)
    if query_mask is not None:
        body = combined("where", Value(1), Value(0), Number(0.0))
        out = Elementwise(body, (out, query_mask), (output, (*batch, _T)), output, call.dtype)
    result = Tensor(out, query_mask)
    return (result, Tensor(weights)) if weights is not None and wants_scores else result


def _masks(call: LayerCall) -> tuple[Node | None, Node | None]:
    """Return the masks of query and value: an argument, or what their tensors carry."""
    given = call.arguments.get("mask")
    if given is None:
        return call.inputs[0].mask, call.inputs[1].mask
    if not isinstance(given, list | tuple) or len(given) > len(call.inputs):
        raise call.unsupported("a mask that is no list with one entry an input")
    found = [as_flag(mask.node) if isinstance(mask, Tensor) else None for mask in given[:2]]
    query, value = (*found, None, None)[:2]
    return query, value


def _scaled(call: LayerCall) -> Scalar:
    if not call.has("scale") or "scale" in call.operands:
        return Value(0)
    return combined("multiply", Value(0), Number(float(call.layer.weight("scale"))))


def _masked(call: LayerCall, condition: Condition, score: Scalar, first: int = 1) -> Scalar:
    amount = 65504.0 if call.dtype.name == "float16" else 1e9
    return condition.masked(score, combined("subtract", score, Number(amount)), first)


def _dot_scores(
    call: LayerCall, kind: AttentionKind, query: Node, key: Node, batch: Term, condition: Condition
) -> Node:
    epilogue = Epilogue(
        _masked(call, condition, _scaled(call)), condition.operands, condition.terms
    )
    terms = ((*batch, _T, _D), (*batch, _S, _D))
    return contraction(terms, (*batch, _T, _S), query, key, dtype=call.dtype, epilogue=epilogue)


def _tanh_scores(
    call: LayerCall, kind: AttentionKind, query: Node, key: Node, batch: Term, condition: Condition
) -> Node:
    """Return the weighted sum over features of ``tanh(query + key)``."""
    operands: list[Node] = [query, key]
    terms: list[Term] = [(*batch, _T, _D), (*batch, _S, _D)]
    total: Scalar = combined("add", Value(0), Value(1))
    if kind.score_mode == "concat":
        if kind.use_scale:
            total = combined("multiply", _scalar(call, "scale", operands, terms), total)
        point: Scalar = Mapped(make_map("tanh"), total)
    else:
        point = Mapped(make_map("tanh"), total)
        if kind.use_scale:
            point = combined("multiply", Value(2), point)
            operands.append(call.weight("scale"))
            terms.append((_D,))
    weight = None
    if kind.score_mode == "concat":
        weight = _scalar(call, "concat_score_weight", operands, terms)
    first = len(operands)
    operands += condition.operands
    terms += condition.terms
    score: Scalar = Value(len(operands))
    if weight is not None:
        score = combined("multiply", weight, score)
    return Rows(
        tuple(operands), tuple(terms), (*batch, _T, _S), (_D,), (Reduction("sum", point),),
        _masked(call, condition, score, first), call.dtype,
    )  # fmt: skip


def _scalar(call: LayerCall, name: str, operands: list[Node], terms: list[Term]) -> Scalar:
    """Return a weight of rank 0 as a number; as a further operand where it is a node."""
    if name not in call.operands:
        return Number(float(call.layer.weight(name)))
    operands.append(call.weight(name))
    terms.append(())
    return Value(len(operands) - 1)
