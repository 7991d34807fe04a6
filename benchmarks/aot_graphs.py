"""The cases of :mod:`benchmarks.aot` as ONNX graphs, written by hand, and as TFLite files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Of ONNX's own operators, and of the file format; both old enough for every runtime since 2023.
_OPSET, _IR_VERSION = 17, 8


class Graph:
    """An ONNX graph of one input ``x`` that is written from front to back."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, array: Any) -> str:
        """Return the name of an array that is stored in the file."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Return the name of what an operator gives."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def model(self, shape: Sequence[int], out_shape: Sequence[int]) -> bytes:
        """Return the file; what the last operator gives is the output."""
        from onnx import TensorProto, checker, helper

        float32 = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "case",
            [helper.make_tensor_value_info("x", float32, list(shape))],
            [helper.make_tensor_value_info(f"v{len(self.nodes) - 1}", float32, list(out_shape))],
            self.weights,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        found = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        checker.check_model(found)
        data: bytes = found.SerializeToString()
        return data


def dense_layers(weights: Sequence[Any], last: str | None) -> Graph:
    """Return dense layers with relu between them.

    Args:
        weights: kernels and biases, as Keras orders them.
        last: the operator behind the last layer.
    """
    graph, value = Graph(), "x"
    for number in range(0, len(weights), 2):
        kernel, bias = weights[number : number + 2]
        value = graph.add("Gemm", value, graph.constant(kernel), graph.constant(bias))
        if number + 2 < len(weights):
            value = graph.add("Relu", value)
    if last is not None:
        graph.add(last, value)
    return graph


def attention(weights: Sequence[Any], shape: Sequence[int]) -> Graph:
    """Return multi-head self-attention of ONNX's own operators.

    Args:
        weights: as Keras's MultiHeadAttention orders them.
        shape: of the input, (batch, length, width).
    """
    graph = Graph()
    batch, length, width = shape
    heads, size = weights[0].shape[1:]
    split = graph.constant(np.array([batch, length, heads, size]))

    def projected(number: int, order: Sequence[int]) -> str:
        kernel, bias = weights[number].reshape(width, -1), weights[number + 1].reshape(-1)
        product = graph.add("MatMul", "x", graph.constant(kernel))
        summed = graph.add("Add", product, graph.constant(bias))
        return graph.add("Transpose", graph.add("Reshape", summed, split), perm=list(order))

    query, key = projected(0, (0, 2, 1, 3)), projected(2, (0, 2, 3, 1))
    value = projected(4, (0, 2, 1, 3))
    scale = graph.constant(np.float32(size**-0.5))
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    rows = graph.add("Transpose", attended, perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", rows, graph.constant(np.array([batch, length, heads * size])))
    product = graph.add("MatMul", joined, graph.constant(weights[6].reshape(-1, width)))
    graph.add("Add", product, graph.constant(weights[7]))
    return graph


def fused_attention(weights: Sequence[Any]) -> Graph:
    """Return the same with ONNX Runtime's own operator for attention."""
    graph = Graph()
    width, heads = weights[0].shape[:2]
    kernel = np.concatenate([weights[n].reshape(width, -1) for n in (0, 2, 4)], 1)
    bias = np.concatenate([weights[n].reshape(-1) for n in (1, 3, 5)])
    inputs = ("x", graph.constant(kernel), graph.constant(bias))
    attended = graph.add("Attention", *inputs, domain="com.microsoft", num_heads=heads)
    product = graph.add("MatMul", attended, graph.constant(weights[6].reshape(-1, width)))
    graph.add("Add", product, graph.constant(weights[7]))
    return graph


def tflite(model: Any, shape: Sequence[int]) -> bytes:
    """Return a Keras model's inference at one shape as a TFLite file."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    call = tf.function(lambda x: model(x, training=False), autograph=False)
    concrete = call.get_concrete_function(tf.TensorSpec(list(shape), tf.float32))
    # The converter does not find the variables of a Keras 3 model; it would leave them unset.
    frozen = convert_variables_to_constants_v2(concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    data: bytes = converter.convert()
    return data
