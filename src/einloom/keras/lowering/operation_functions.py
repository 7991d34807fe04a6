"""Operations of a functional model that are functions of :mod:`einloom.functions`.

Each is given the operation's configuration and its arguments, tensors as expressions, and returns
an expression or several. Source: ``keras/src/ops`` of Keras 3.15.1 and its TensorFlow backend,
whose rules of dtypes they follow: integers become float32 where a function needs floats.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from einloom import functions as F  # noqa: N812
from einloom.expression import Expression
from einloom.frontends import keras_ops
from einloom.frontends.numpy import einsum_expression
from einloom_compiler.dtypes import AnyDType, is_floating
from einloom_compiler.errors import UnsupportedError

Config = Mapping[str, Any]
#: What an operation gives: an expression, or a tuple of them.
Results = Any

#: What Keras keeps denominators above where nothing is said.
_EPSILON = 1e-7


def _float(x: Expression) -> Any:
    return x if is_floating(_dtype(x)) else F.cast(x, "float32")


def _dtype(x: Expression) -> AnyDType:
    assert x.dtype is not None
    return x.dtype


def _reduced(function: Callable[..., Any]) -> Callable[..., Results]:
    def build(config: Config, x: Expression) -> Results:
        keepdims = bool(config.get("keepdims"))
        return function(_float(x), config.get("axis"), keepdims)

    return build


def _rounded(function: Callable[..., Any]) -> Callable[..., Results]:
    return lambda config, x: function(_float(x))


def _position(function: Callable[..., Any]) -> Callable[..., Results]:
    def build(config: Config, x: Expression) -> Results:
        axis = config.get("axis")
        return F.cast(function(x, axis, bool(config.get("keepdims"))), "int32")

    return build


def _split(config: Config, x: Expression) -> Results:
    return F.split(x, config["indices_or_sections"], config["axis"])


def _unstack(config: Config, x: Expression) -> Results:
    axis = config["axis"] % x.ndim
    extent = x.shape[axis]
    if not isinstance(extent, int):
        raise UnsupportedError("to unstack an axis of open extent")
    before = (slice(None),) * axis
    return tuple(x[(*before, number)] for number in range(extent))


def _pad(config: Config, x: Expression, constant_values: Any = None) -> Results:
    if config.get("mode", "constant") != "constant":
        raise UnsupportedError(f"a pad of mode {config['mode']!r}")
    return F.pad(x, config["pad_width"], constant_values or 0.0)


def _clip(config: Config, x: Expression) -> Results:
    if _dtype(x).kind == "b":
        x = F.cast(x, "int32")
    return F.clip(x, config["x_min"], config["x_max"])


def _round(config: Config, x: Expression) -> Results:
    decimals = config.get("decimals", 0)
    if not decimals:
        return F.round(x)
    if not is_floating(_dtype(x)):
        raise UnsupportedError(f"to round {x.dtype} to {decimals} decimals")
    factor = 10.0**decimals
    return F.round(x * factor) / factor


def _one_hot(config: Config, x: Expression) -> Results:
    if config.get("sparse"):
        raise UnsupportedError("a sparse result")
    made = F.one_hot(x, config["num_classes"], config.get("dtype") or "float32")
    axis = config.get("axis", -1)
    return made if axis in (-1, x.ndim) else F.moveaxis(made, -1, axis)


def _multi_hot(config: Config, x: Expression) -> Results:
    if config.get("axis", -1) not in (-1, x.ndim - 1) or x.ndim > 2:
        raise UnsupportedError(f"classes along axis {config['axis']} of rank {x.ndim}")
    return F.max(_one_hot({**config, "axis": -1}, x), axis=-2)


def _stack(config: Config, arrays: Any) -> Results:
    return F.stack(list(arrays), config["axis"])


def _take(config: Config, x: Expression, indices: Expression) -> Results:
    axis = config.get("axis")
    if axis is None:
        x, axis = F.flatten(x), 0
    extent = x.shape[axis]
    if _dtype(indices).kind == "i" and isinstance(extent, int):
        indices = F.where(indices < 0, indices + extent, indices)
    return F.take(x, indices, axis)


def _norm(config: Config, x: Expression) -> Results:
    axis, order = config.get("axis"), config.get("ord")
    is_vector = isinstance(axis, int) or (axis is not None and len(axis) == 1)
    keepdims = bool(config.get("keepdims"))
    x = _float(x)
    if order is None or (order == 2 and is_vector) or order == "fro":
        return F.sqrt(F.sum(x * x, axis, keepdims))
    if is_vector and order == 1:
        return F.sum(F.absolute(x), axis, keepdims)
    if is_vector and order in (math.inf, -math.inf):
        function = F.max if order > 0 else F.min
        return function(F.absolute(x), axis, keepdims)
    raise UnsupportedError(f"a norm of order {order} along axes {axis}")


def _normalize(config: Config, x: Expression) -> Results:
    axis, order = config["axis"], config["order"]
    epsilon = config.get("epsilon") or _EPSILON
    x = _float(x)
    if order == 2:
        inverse = F.rsqrt(F.sum(x * x, axis, keepdims=True))
        return x * F.minimum(inverse, 1.0 / epsilon)
    if order != 1:
        raise UnsupportedError(f"a norm of order {order}")
    return x / F.maximum(F.sum(F.absolute(x), axis, keepdims=True), epsilon)


def _average(config: Config, x: Expression, weights: Any = None) -> Results:
    if weights is not None:
        raise UnsupportedError("an average with weights")
    return F.mean(_float(x), config.get("axis"))


def _full_like(config: Config, x: Expression, value: Any) -> Results:
    if not isinstance(value, bool | int | float):
        raise UnsupportedError("to fill with a tensor")
    return F.full_like(x, value, config.get("dtype"))


def _rms_norm(config: Config, x: Expression, scale: Any = None) -> Results:
    epsilon, dtype = config.get("epsilon") or _EPSILON, x.dtype
    wide = "float64" if dtype == "float64" else "float32"
    made = F.rms_norm(F.cast(x, wide), None, config["axis"], epsilon)
    if scale is not None:  # broadcast as NumPy does, whatever the axes
        made = made * _cast(scale, wide)
    return F.cast(made, dtype)


def _layer_norm(config: Config, x: Expression, gamma: Any = None, beta: Any = None) -> Results:
    if config.get("rms_scaling"):
        raise UnsupportedError("rms_scaling=True")
    epsilon, dtype = config.get("epsilon") or _EPSILON, x.dtype
    wide = "float64" if dtype == "float64" else "float32"
    scales = _cast(gamma, wide), _cast(beta, wide)
    return F.cast(F.layer_norm(F.cast(x, wide), *scales, config["axis"], epsilon), dtype)


def _cast(x: Any, dtype: str) -> Any:
    return None if x is None else F.cast(x, dtype)


def _attention(
    config: Config,
    query: Expression,
    key: Expression,
    value: Expression,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
) -> Results:
    if config.get("attn_logits_soft_cap") is not None:
        raise UnsupportedError("attn_logits_soft_cap")
    size = query.shape[-1]
    if scale is None:
        if not isinstance(size, int):
            raise UnsupportedError("a head size that is not known, without a scale")
        scale = 1.0 / math.sqrt(size)
    dtype = _dtype(key)
    wide = "float64" if dtype == "float64" else "float32"
    scores = F.cast(einsum_expression("btnh,bsnh->bnts", query, key), wide) * scale
    if bias is not None:
        scores = scores + F.cast(bias, wide)
    least = -0.7 * float(np.finfo(wide).max)
    if mask is not None:
        scores = F.where(F.cast(mask, "bool"), scores, least)
    if config.get("is_causal"):
        holds = F.cast(F.tril(F.ones_like(scores[0, 0], "uint8")), "bool")
        scores = F.where(holds, scores, least)
    weights = F.cast(F.softmax(scores, axis=-1), dtype)
    return einsum_expression("bnts,bsnh->btnh", weights, value)


def _diagonal(config: Config, x: Expression, output: str = "i") -> Results:
    if config.get("offset"):
        raise UnsupportedError(f"a diagonal of offset {config['offset']}")
    first, second = (config[name] % x.ndim for name in ("axis1", "axis2"))
    letters = [chr(ord("j") + axis) for axis in range(x.ndim)]
    letters[first] = letters[second] = "i"
    rest = "".join(letter for letter in letters if letter != "i")
    return einsum_expression(f"{''.join(letters)}->{rest}{output}", x)


def _nan_to_num(config: Config, x: Expression) -> Results:
    if not is_floating(_dtype(x)):
        return x
    info = np.finfo(np.float32 if x.dtype == "bfloat16" else _dtype(x))
    most, least = config.get("posinf"), config.get("neginf")
    most = float(info.max) if most is None else most
    least = float(info.min) if least is None else least
    x = F.where(F.isnan(x), config.get("nan", 0.0), x)
    x = F.where(F.equal(x, math.inf), most, x)
    return F.where(F.equal(x, -math.inf), least, x)


def _select(config: Config, conditions: Any, choices: Any, default: Any = 0) -> Results:
    chosen = default
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        chosen = F.where(condition, choice, chosen)
    return chosen


def _log_add(config: Config, x: Expression, y: Expression) -> Results:
    x, y = _float(x), _float(y)
    apart = x - y
    total = F.maximum(x, y) + F.log1p(F.exp(-F.absolute(apart)))
    return F.where(F.isnan(apart), x + y, total)


def _count(config: Config, x: Expression) -> Results:
    found = F.sum(F.cast(F.not_equal(x, 0), "int32"), config.get("axis"))
    return F.cast(found, "int32")


def _product(function: Callable[..., Any]) -> Callable[..., Results]:
    return lambda config, x, y: function(x, y)


def _scanned(function: Callable[..., Any]) -> Callable[..., Results]:
    return lambda config, x: function(x, config.get("axis"), config.get("dtype"))


def _absolute_is(function: Callable[..., Any]) -> Callable[..., Results]:
    return lambda config, x: function(F.absolute(_float(x)), math.inf)


#: Every such operation by the name of its class.
OPERATIONS: Mapping[str, Callable[..., Results]] = {
    "Split": _split,
    "ArraySplit": _split,
    "Unstack": _unstack,
    "Stack": _stack,
    "Std": _reduced(F.std),
    "Var": _reduced(F.var),
    "Logsumexp": _reduced(F.logsumexp),
    "Amax": lambda config, x: F.max(x, config.get("axis"), bool(config.get("keepdims"))),
    "Amin": lambda config, x: F.min(x, config.get("axis"), bool(config.get("keepdims"))),
    "Argmax": _position(F.argmax),
    "Argmin": _position(F.argmin),
    "Average": _average,
    "CountNonzero": _count,
    "Cumsum": _scanned(keras_ops.cumsum),
    "Cumprod": _scanned(keras_ops.cumprod),
    "Norm": _norm,
    "Normalize": _normalize,
    "RMSNorm": _rms_norm,
    "LayerNorm": _layer_norm,
    "DotProductAttention": _attention,
    "Roll": lambda config, x: F.roll(x, config["shift"], config.get("axis")),
    "Repeat": lambda config, x: F.repeat(x, config["repeats"], config.get("axis")),
    "Tile": lambda config, x: F.tile(x, config["repeats"]),
    "Flip": lambda config, x: F.flip(x, config.get("axis")),
    "Swapaxes": lambda config, x: F.swapaxes(x, config["axis1"], config["axis2"]),
    "Moveaxis": lambda config, x: F.moveaxis(x, config["source"], config["destination"]),
    "Pad": _pad,
    "Tril": lambda config, x: F.tril(x, config.get("k", 0)),
    "Triu": lambda config, x: F.triu(x, config.get("k", 0)),
    "Diagonal": _diagonal,
    "Trace": functools.partial(_diagonal, output=""),
    "Take": _take,
    "OneHot": _one_hot,
    "MultiHot": _multi_hot,
    "FullLike": _full_like,
    "Clip": _clip,
    "Sign": lambda config, x: F.sign(x),
    "Floor": _rounded(F.floor),
    "Ceil": _rounded(F.ceil),
    "Round": _round,
    "Isnan": lambda config, x: F.isnan(x),
    "Isinf": _absolute_is(F.equal),
    "Isfinite": _absolute_is(F.less),
    "NanToNum": _nan_to_num,
    "LogicalXor": _product(F.logical_xor),
    "Select": _select,
    "Logaddexp": _log_add,
    "Log2": lambda config, x: F.log(_float(x)) * (1.0 / math.log(2.0)),
    "Log10": lambda config, x: F.log(_float(x)) * (1.0 / math.log(10.0)),
    "Exp2": lambda config, x: F.exp(_float(x) * math.log(2.0)),
    "Squareplus": lambda config, x: F.squareplus(x, config.get("b", 4)),
    "SparsePlus": lambda config, x: F.sparse_plus(x),
    "SparseSigmoid": lambda config, x: F.sparse_sigmoid(x),
    "Threshold": lambda config, x: F.threshold(x, config["threshold"], config["default_value"]),
    "Tensordot": lambda config, x, y: keras_ops.tensordot(x, y, axes=config.get("axes", 2)),
    "Dot": _product(keras_ops.dot),
    "Inner": _product(keras_ops.inner),
    "Outer": _product(keras_ops.outer),
    "Vdot": _product(keras_ops.vdot),
}
