"""Layers and models as ONNX graphs, run by ONNX Runtime.

The graphs are what its transformer optimizer makes of a BERT: one operator for attention with the
three projections in it, ``Gelu`` behind a bias (which the session fuses), layer norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.layer_cases import EPSILON, Array, Case, Part, joined

_CONTRIB = "com.microsoft"


class _Graph:
    """Nodes and weights of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, array: Array) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> _Tensor:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return _Tensor(self, name)


class _Tensor:
    """A value of a graph; two of them add."""

    def __init__(self, graph: _Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: _Tensor) -> _Tensor:
        return self.graph.node("Add", self.name, other.name)


class OnnxWords:
    """The parts of models as nodes of an ONNX graph."""

    def __init__(self) -> None:
        """Start a graph."""
        self.graph = _Graph()

    def dense(self, kernel: Array, bias: Array, activation: str | None) -> Part:
        """Return a product, a sum and an activation, which the session fuses."""
        w, b = self.graph.weight(kernel), self.graph.weight(bias)

        def part(x: _Tensor) -> _Tensor:
            y = self.graph.node("MatMul", x.name, w)
            y = self.graph.node("Add", y.name, b)
            if activation == "softmax":
                return self.graph.node("Softmax", y.name, axis=-1)
            if activation == "gelu":
                return self.graph.node("Gelu", y.name, domain=_CONTRIB)
            return self.graph.node("Relu", y.name) if activation == "relu" else y

        return part

    def attention(self, weights: Sequence[Array]) -> Part:
        """Return ONNX Runtime's own operator, and the projection behind it."""
        kernel, bias = (self.graph.weight(array) for array in joined(weights))
        project = self.dense(weights[6].reshape(-1, weights[6].shape[-1]), weights[7], None)
        heads = weights[0].shape[1]

        def part(x: _Tensor) -> Any:
            y = self.graph.node("Attention", x.name, kernel, bias, domain=_CONTRIB, num_heads=heads)
            return project(y)

        return part

    def norm(self, gamma: Array, beta: Array) -> Part:
        """Return the operator of opset 17."""
        g, b = self.graph.weight(gamma), self.graph.weight(beta)
        return lambda x: self.graph.node(
            "LayerNormalization", x.name, g, b, axis=-1, epsilon=EPSILON
        )


def session(case: Case, threads: int) -> Any:
    """Return a session of the case's model with all optimizations."""
    import onnxruntime
    from onnx import TensorProto, helper

    words = OnnxWords()
    result = case.build(words, case.model.get_weights())(_Tensor(words.graph, "x"))
    shape = ["batch", *case.shape[1:]]
    graph = helper.make_graph(
        words.graph.nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(result.name, TensorProto.FLOAT, None)],
        words.graph.weights,
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(_CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
