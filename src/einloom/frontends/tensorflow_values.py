"""What TensorFlow makes of arguments: its default dtypes, its conversions, its names of dtypes.

Source: ``tf.convert_to_tensor`` of TensorFlow 2.21, run. Tensors (TensorFlow's own, and
:class:`~einloom.frontends.values.Tensor`) and symbolic operands keep their dtype. NumPy arrays keep
theirs too, unless a function matches them to another operand: then they are cast, even where that
rounds. Python numbers, alone or in lists, become int32, float32, complex128 or bool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.expression import Expression
from einloom.frontends.values import Tensor
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import DTypeError

#: TensorFlow's names in messages where they are not NumPy's.
_NAMES = {"float16": "half", "float32": "float", "float64": "double"}
_DEFAULTS = {"int64": "int32", "float64": "float32"}


def tf_name(dtype: AnyDType | None) -> str:
    """Return what TensorFlow's messages call a dtype, such as ``float`` for float32."""
    name = str(dtype)
    return _NAMES.get(name, name)


def tf_dtype(source: Any) -> AnyDType:
    """Return the dtype meant by a ``tf.DType``, a NumPy dtype, a type or a name.

    Raises:
        DTypeError: ``source`` names none.
    """
    named = getattr(source, "as_numpy_dtype", source)
    if isinstance(named, str):
        named = {"half": "float16", "float": "float32", "double": "float64"}.get(named, named)
    return as_dtype(named).newbyteorder("=")


def is_tensor(value: object) -> bool:
    """Say whether ``value`` has a dtype that TensorFlow never changes by itself."""
    if isinstance(value, Expression | Tensor):
        return True
    module = type(value).__module__.partition(".")[0]
    return module == "tensorflow" and hasattr(value, "dtype")


def _dtype_of(value: Any) -> AnyDType | None:
    if isinstance(value, Expression):
        return value.dtype
    return tf_dtype(value.dtype)


def as_operand(value: Any, hint: AnyDType | None = None) -> Any:
    """Return a tensor or expression as it is, anything else as a NumPy array of TensorFlow's dtype.

    Args:
        value: an operand.
        hint: dtype of the operand that it is matched to: arrays are cast to it, Python numbers
            where that loses no kind (no fraction, no imaginary part).

    Raises:
        DTypeError: a sparse or ragged tensor, None, or no numbers at all.
    """
    if value is None:
        raise DTypeError("Attempt to convert a value (None) to a Tensor; pass an array")
    kind = type(value).__name__
    if kind in ("SparseTensor", "RaggedTensor", "IndexedSlices"):
        raise DTypeError(
            f"Attempt to convert a value ({kind}) with an unsupported type to a Tensor; "
            "use tf.sparse.to_dense (or .to_tensor()) first, or tf.sparse.sparse_dense_matmul"
        )
    if is_tensor(value):
        return value
    if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
        from einloom.frontends.arrays import as_numpy

        array = as_numpy(value)
        return array if hint is None else array.astype(hint, copy=False)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DTypeError(
            f"Can't convert non-rectangular Python sequence to Tensor: {error}"
        ) from None
    if array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16":
        raise DTypeError(f"Attempt to convert a value ({value!r}) to a Tensor; pass numbers")
    if not all(type(leaf) in (bool, int, float, complex) for leaf in _leaves(value)):
        return array if hint is None else array.astype(hint, copy=False)
    if hint is not None and _keeps_kind(array.dtype, hint):
        return array.astype(hint)
    return _by_default(array)


def _by_default(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return Python numbers in TensorFlow's default dtype."""
    default = _DEFAULTS.get(array.dtype.name, array.dtype.name)
    if default == "int32" and array.size:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise DTypeError(
                f"Python integers become int32, which {array.max()} (least {array.min()}) does "
                "not fit; pass an int64 array"
            )
    return array.astype(default)


def _keeps_kind(source: AnyDType, target: AnyDType) -> bool:
    """Say whether Python numbers may become ``target``: bool < int < float < complex."""
    order = "bifc"
    kinds = [
        "f" if d.name == "bfloat16" else "i" if d.kind == "u" else d.kind for d in (source, target)
    ]
    if "b" in kinds and kinds[0] != kinds[1]:
        return False
    return all(kind in order for kind in kinds) and order.index(kinds[0]) <= order.index(kinds[1])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def converted(operands: Sequence[Any]) -> list[Any]:
    """Return the operands, each converted on its own."""
    return [as_operand(value) for value in operands]


def matched_to_first(operands: Sequence[Any]) -> list[Any]:
    """Return the operands, those after the first matched to its dtype, as ``tf.matmul`` does."""
    first = as_operand(operands[0])
    return [first, *(as_operand(value, _dtype_of(first)) for value in operands[1:])]


def matched_to_tensor(operands: Sequence[Any]) -> list[Any]:
    """Return the operands matched to the first tensor among them, or else to the first operand.

    This is how TensorFlow treats a list of inputs that must have one dtype, as ``tf.einsum`` does.
    """
    tensors = [value for value in operands if is_tensor(value)]
    if not tensors:
        return matched_to_first(operands) if operands else []
    hint = _dtype_of(tensors[0])
    return [as_operand(value, hint) for value in operands]
