"""Layers and models as ONNX graphs, run by ONNX Runtime.

The graphs are what its transformer optimizer makes of a BERT: one operator for attention with the
three projections in it, ``Gelu`` behind a bias (which the session fuses), layer norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.aot_graphs import Graph
from benchmarks.layer_cases import EPSILON, Array, Case, Part, joined

_CONTRIB = "com.microsoft"


class _Tensor:
    """A value of a graph; two of them add."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: _Tensor) -> _Tensor:
        return self.to("Add", other.name)

    def to(self, operator: str, *inputs: str, **attributes: Any) -> _Tensor:
        """Return what an operator makes of it and further inputs."""
        return _Tensor(self.graph, self.graph.add(operator, self.name, *inputs, **attributes))


class OnnxWords:
    """The parts of models as nodes of an ONNX graph."""

    def __init__(self) -> None:
        """Start a graph."""
        self.graph = Graph()

    def dense(self, kernel: Array, bias: Array, activation: str | None) -> Part:
        """Return a product, a sum and an activation, which the session fuses."""
        w, b = self.graph.constant(kernel), self.graph.constant(bias)

        def part(x: _Tensor) -> _Tensor:
            y = x.to("MatMul", w).to("Add", b)
            if activation == "softmax":
                return y.to("Softmax", axis=-1)
            if activation == "gelu":
                return y.to("Gelu", domain=_CONTRIB)
            return y.to("Relu") if activation == "relu" else y

        return part

    def attention(self, weights: Sequence[Array]) -> Part:
        """Return ONNX Runtime's own operator, and the projection behind it."""
        kernel, bias = (self.graph.constant(array) for array in joined(weights))
        project = self.dense(weights[6].reshape(-1, weights[6].shape[-1]), weights[7], None)
        heads = weights[0].shape[1]

        def part(x: _Tensor) -> Any:
            y = x.to("Attention", kernel, bias, domain=_CONTRIB, num_heads=heads)
            return project(y)

        return part

    def norm(self, gamma: Array, beta: Array) -> Part:
        """Return the operator of opset 17."""
        g, b = self.graph.constant(gamma), self.graph.constant(beta)
        return lambda x: x.to("LayerNormalization", g, b, axis=-1, epsilon=EPSILON)


def session(case: Case, threads: int) -> Any:
    """Return a session of the case's model with all optimizations."""
    import onnxruntime

    words = OnnxWords()
    case.build(words, case.model.get_weights())(_Tensor(words.graph, "x"))
    file = words.graph.model(case.shape, case.model.compute_output_shape(case.shape))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
