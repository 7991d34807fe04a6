"""Layers and models against Keras: what it computes, and what their lowered graph does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import einloom as el
from einloom.keras.compiling import compiled
from einloom.keras.lowering.target import Lowered, flat_nodes, lowered
from einloom_compiler.extents import free_names, is_symbol
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.traversal import dtype_of

#: Relative error bounds against Keras, of a result's largest value.
BOUNDS = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-5, "float64": 1e-6}


def evaluated(found: Lowered, arrays: Mapping[str, Any]) -> list[Any]:
    """Return the outputs by the reference evaluator, sizes read off the arrays."""
    sizes: dict[str, int] = {}
    for node in found.inputs:
        array = arrays[node.name]
        assert array.ndim == len(node.shape)
        for extent, size in zip(node.shape, array.shape, strict=True):
            if is_symbol(extent):
                (name,) = free_names(extent)
                sizes[name] = size
    return [evaluate_graph(root, arrays, sizes) for root in found.roots]


def is_added_along_another_axis(shape: Sequence[int], bias: Sequence[int]) -> bool:
    """Say whether Keras 3.15.1 on TensorFlow adds ``bias`` to the wrong axis.

    Its ``ops.add`` takes an operand with one axis longer than 1 for a bias of the last axis, or of
    axis 1, where that has the same extent. On JAX and PyTorch it broadcasts as NumPy does.
    """
    long = [axis for axis, extent in enumerate(bias, len(shape) - len(bias)) if extent != 1]
    if len(long) != 1:
        return False
    extent = bias[long[0] - len(shape)]
    taken = len(shape) - 1 if shape[-1] == extent else 1
    return shape[taken] == extent and taken != long[0]


def flat(value: Any) -> list[Any]:
    """Return what Keras gave, one array after another."""
    if isinstance(value, Mapping):
        return [array for item in value.values() for array in flat(item)]
    if isinstance(value, list | tuple):
        return [array for item in value for array in flat(item)]
    return [np.asarray(value)]


def assert_close(got: Any, expected: Any, bound: float | None = None) -> None:
    """Compare with the error bound of the expected dtype, relative to the largest value."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    if not expected.size or expected.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected)
        return
    wanted = expected.astype(np.float64)
    bound = bound or BOUNDS[expected.dtype.name]
    np.testing.assert_allclose(
        got.astype(np.float64), wanted, rtol=bound, atol=bound * max(1e-3, np.abs(wanted).max())
    )


def check(
    target: Any,
    *arrays: Any,
    specs: Any = (),
    bound: float | None = None,
    runs: bool = False,
    **arguments: Any,
) -> Lowered:
    """Call a Keras object and its lowered graph on the same arrays, and compare.

    Args:
        target: a live layer or model.
        arrays: its inputs, in Keras's order; also as one list where Keras takes one.
        specs: as for ``lowered``; the arrays' ranks with symbolic extents where not given.
        bound: the relative error bound; that of each result's dtype where None.
        runs: whether the compiled function is compared, too.
        arguments: of the call; arrays among them become operands.
    """
    import keras

    if not specs:
        specs = tuple(_spec(array, f"x{n}") for n, array in enumerate(arrays))
    operands = {
        name: el.spec(*value.shape, dtype=value.dtype, name=name)
        if isinstance(value, np.ndarray)
        else value
        for name, value in arguments.items()
    }
    found = lowered(target, *specs, **operands)
    takes_list = len(arrays) > 1 and not isinstance(
        target, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention
    )
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    expected = flat(
        target(tensors if takes_list else tensors[0], **arguments)
        if takes_list or len(arrays) == 1
        else target(*tensors, **arguments)
    )
    given = {f"x{n}": array for n, array in enumerate(arrays)}
    given |= {name: v for name, v in arguments.items() if isinstance(v, np.ndarray)}
    given = {node.name: given[node.name] for node in found.inputs}
    results = evaluated(found, given)
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert_close(result, wanted, bound)
    if runs:
        function = compiled(found)
        answers = flat(function(*(given[node.name] for node in found.inputs)))
        for answer, wanted in zip(answers, expected, strict=True):
            assert_close(answer, wanted, bound)
    for node, wanted in zip(flat_nodes(found.outputs), expected, strict=True):
        assert dtype_of(node) == wanted.dtype
    return found


def _spec(array: Any, name: str) -> Any:
    """Return an operand with a symbolic batch and the array's other extents."""
    return el.spec("B", *array.shape[1:], dtype=array.dtype, name=name)


def randomized(target: Any, seed: int = 0) -> Any:
    """Give a layer's or model's weights random values, positive where they are variances."""
    rng = np.random.default_rng(seed)
    for variable in target.variables:
        if variable.dtype in ("float32", "float16", "bfloat16", "float64"):
            values = rng.standard_normal(variable.shape) * 0.5
            if "variance" in variable.path:
                values = np.abs(values) + 0.1
            variable.assign(values)
    return target
