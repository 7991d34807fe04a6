"""Teach Numba the primitives of :mod:`.simd_elementwise`, and operators between vectors.

One lowering serves scalars and vectors: LLVM's instructions take both, and a scalar beside a vector
is spread over its lanes first. Source of the intrinsics: the LLVM language reference
(``llvm.fmuladd``, ``llvm.sqrt``, ``llvm.rint``, ``llvm.fabs``, ``llvm.copysign``,
``llvm.pow``, ``llvm.sin``, ``llvm.cos``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from einloom_compiler.codegen.simd_elementwise import ELEMENTWISE

#: Writes instructions: it gets the builder, the arguments' dtypes, and values of one shape.
Emit = Callable[..., Any]

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def register(vector: Any) -> None:
    """Register primitives and operators for scalars and for ``vector``, the type of vectors."""
    lanes = _Lanes(vector)
    _register_floats(lanes)
    _register_choices(lanes)
    _register_bits(lanes)
    _register_operators(lanes)
    _register_halving(lanes)
    _register_wide()


class _Lanes:
    """Declares functions of scalars and vectors that work lane by lane."""

    def __init__(self, vector: Any) -> None:
        self.vector = vector

    def dtype(self, kind: Any) -> Any:
        """Return the dtype of a vector's lanes; of a scalar, its type."""
        return kind.dtype if isinstance(kind, self.vector) else kind

    def like(self, kind: Any, dtype: Any) -> Any:
        """Return the type of ``dtype`` in the shape of ``kind``."""
        return self.vector(dtype, kind.width) if isinstance(kind, self.vector) else dtype

    def common(self, *kinds: Any) -> Any:
        """Return the one type of these arguments together, None where their dtypes differ."""
        from numba import types

        found = next((kind for kind in kinds if isinstance(kind, self.vector)), kinds[0])
        dtype = self.dtype(found)
        agree = all(
            kind == found if isinstance(kind, self.vector) else kind == dtype for kind in kinds
        )
        is_real = isinstance(dtype, types.Float | types.Integer | types.Boolean)
        return found if agree and is_real else None

    def floating(self, *kinds: Any) -> Any:
        """Return the one type of these arguments together, None where it is not floating."""
        from numba import types

        found = self.common(*kinds)
        is_float = found is not None and isinstance(self.dtype(found), types.Float)
        return found if is_float else None

    def define(self, function: Any, n: int, returns: Callable[..., Any], emit: Emit) -> None:
        """Declare ``function`` of ``n`` arguments; ``returns`` is None for types it rejects."""
        from numba import extending, types

        numba: Any = extending
        typers: tuple[Callable[..., Any], ...] = (
            lambda a: returns(a),
            lambda a, b: returns(a, b),
            lambda a, b, c: returns(a, b, c),
        )
        numba.type_callable(function)(lambda context: typers[n - 1])

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            del context
            kinds = signature.args
            wide = next((kind for kind in kinds if isinstance(kind, self.vector)), None)
            shaped = [
                splat(builder, value, wide.width)
                if wide is not None and not isinstance(kind, self.vector)
                else value
                for value, kind in zip(values, kinds, strict=True)
            ]
            return emit(builder, [self.dtype(kind) for kind in kinds], *shaped)

        if function in ELEMENTWISE.values():
            numba.lower_builtin(function, *[types.Any] * n)(lower)
        elif n == 1:
            numba.lower_builtin(function, self.vector)(lower)
        else:  # an operator, which Numba has for scalars
            numba.lower_builtin(function, self.vector, self.vector)(lower)
            numba.lower_builtin(function, self.vector, types.Number)(lower)
            numba.lower_builtin(function, types.Number, self.vector)(lower)


def splat(builder: Any, value: Any, width: int) -> Any:
    """Return a vector of ``width`` lanes that are all ``value``."""
    from llvmlite import ir

    shape, i32 = ir.VectorType(value.type, width), ir.IntType(32)
    undefined = ir.Constant(shape, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(i32, 0))
    zeros = ir.Constant(ir.VectorType(i32, width), [0] * width)
    return builder.shuffle_vector(first, undefined, zeros)


def _register_floats(lanes: _Lanes) -> None:
    def emit_call(name: str) -> Emit:
        def emit(builder: Any, dtypes: Any, *values: Any) -> Any:
            del dtypes
            return _call(builder, name, *values)

        return emit

    for name, n, function in (
        ("fmuladd", 3, "vmuladd"),
        ("sqrt", 1, "vsqrt"),
        ("rint", 1, "vround"),
        ("copysign", 2, "vcopysign"),
        ("pow", 2, "vpow"),
        ("sin", 1, "vsin"),
        ("cos", 1, "vcos"),
    ):
        lanes.define(ELEMENTWISE[function], n, lanes.floating, emit_call(name))

    def emit_abs(builder: Any, dtypes: Any, a: Any) -> Any:
        from llvmlite import ir
        from numba import types

        if isinstance(dtypes[0], types.Float):
            return _call(builder, "fabs", a)
        if not getattr(dtypes[0], "signed", False):
            return a
        zero = ir.Constant(a.type, None)
        return builder.select(builder.icmp_signed("<", a, zero), builder.sub(zero, a), a)

    lanes.define(ELEMENTWISE["vabs"], 1, lanes.common, emit_abs)


def _register_choices(lanes: _Lanes) -> None:
    from numba import types

    def emit_select(builder: Any, dtypes: Any, mask: Any, a: Any, b: Any) -> Any:
        del dtypes
        return builder.select(mask, a, b)

    def selected(mask: Any, a: Any, b: Any) -> Any:
        found = lanes.common(a, b)
        if found is None or lanes.dtype(mask) != types.boolean:
            return None
        if not isinstance(mask, lanes.vector) or isinstance(found, lanes.vector):
            return found
        return lanes.like(mask, found)

    lanes.define(ELEMENTWISE["vselect"], 3, selected, emit_select)

    def emit_extreme(sign: str) -> Emit:
        def emit(builder: Any, dtypes: Any, a: Any, b: Any) -> Any:
            return builder.select(_compare(builder, sign, dtypes[0], b, a), b, a)

        return emit

    lanes.define(ELEMENTWISE["vmax"], 2, lanes.common, emit_extreme(">"))
    lanes.define(ELEMENTWISE["vmin"], 2, lanes.common, emit_extreme("<"))


def _register_bits(lanes: _Lanes) -> None:
    from llvmlite import ir
    from numba import types

    def emit_cast(builder: Any, dtypes: Any, a: Any) -> Any:
        width = dtypes[0].bitwidth
        if isinstance(dtypes[0], types.Float):
            element: Any = ir.IntType(width)
        else:
            element = ir.FloatType() if width == 32 else ir.DoubleType()
        is_vector = isinstance(a.type, ir.VectorType)
        return builder.bitcast(a, ir.VectorType(element, a.type.count) if is_vector else element)

    def bits(a: Any) -> Any:
        integers = {types.float32: types.int32, types.float64: types.int64}
        return lanes.like(a, integers[lanes.dtype(a)]) if lanes.dtype(a) in integers else None

    def floats(i: Any) -> Any:
        floating = {types.int32: types.float32, types.int64: types.float64}
        return lanes.like(i, floating[lanes.dtype(i)]) if lanes.dtype(i) in floating else None

    lanes.define(ELEMENTWISE["vbits"], 1, bits, emit_cast)
    lanes.define(ELEMENTWISE["vfloat"], 1, floats, emit_cast)

    def integers(i: Any, j: Any) -> Any:
        found = lanes.common(i, j)
        is_integer = found is not None and isinstance(lanes.dtype(found), types.Integer)
        return found if is_integer else None

    def emit_integer(method: str) -> Emit:
        def emit(builder: Any, dtypes: Any, i: Any, j: Any) -> Any:
            del dtypes
            return getattr(builder, method)(i, j)

        return emit

    for name, method in {"vand": "and_", "vor": "or_", "vplus": "add", "vminus": "sub"}.items():
        lanes.define(ELEMENTWISE[name], 2, integers, emit_integer(method))

    def shifted(i: Any, n: Any) -> Any:
        fits = isinstance(lanes.dtype(i), types.Integer) and isinstance(n, types.Integer)
        return i if fits else None

    def emit_shift(method: str) -> Emit:
        def emit(builder: Any, dtypes: Any, i: Any, n: Any) -> Any:
            if dtypes[1].bitwidth != dtypes[0].bitwidth:
                narrows = dtypes[1].bitwidth > dtypes[0].bitwidth
                n = (builder.trunc if narrows else builder.zext)(n, i.type)
            return getattr(builder, method)(i, n)

        return emit

    lanes.define(ELEMENTWISE["vshl"], 2, shifted, emit_shift("shl"))
    lanes.define(ELEMENTWISE["vshr"], 2, shifted, emit_shift("lshr"))

    def wrapped(a: Any, like: Any) -> Any:
        both = (lanes.dtype(a), lanes.dtype(like))
        fits = all(isinstance(dtype, types.Integer) for dtype in both)
        shape = a if isinstance(a, lanes.vector) else like
        return lanes.like(shape, both[1]) if fits else None

    def emit_wrap(builder: Any, dtypes: Any, a: Any, like: Any) -> Any:
        if dtypes[0].bitwidth == dtypes[1].bitwidth:
            return a
        narrows = dtypes[0].bitwidth > dtypes[1].bitwidth
        extend = builder.sext if dtypes[0].signed else builder.zext
        return (builder.trunc if narrows else extend)(a, like.type)

    lanes.define(ELEMENTWISE["vwrap"], 2, wrapped, emit_wrap)


def _register_operators(lanes: _Lanes) -> None:
    """Give vectors the operators of floats and integers, comparisons, and those of masks."""
    from llvmlite import ir
    from numba import types

    def vectors(*kinds: Any) -> Any:
        """Leave to Numba what it has itself: scalars."""
        if not any(isinstance(kind, lanes.vector) for kind in kinds):
            return None
        found = lanes.common(*kinds)
        is_mask = found is None or lanes.dtype(found) == types.boolean
        return None if is_mask else found

    def emit_pair(method: str) -> Emit:
        def emit(builder: Any, dtypes: Any, a: Any, b: Any) -> Any:
            is_float = isinstance(dtypes[0], types.Float)
            return getattr(builder, f"f{method}" if is_float else method)(a, b)

        return emit

    for function, method in {
        operator.add: "add",
        operator.sub: "sub",
        operator.mul: "mul",
    }.items():
        lanes.define(function, 2, vectors, emit_pair(method))

    def quotient(a: Any, b: Any) -> Any:
        return vectors(a, b) if lanes.floating(a, b) is not None else None

    lanes.define(operator.truediv, 2, quotient, emit_pair("div"))

    def emit_negative(builder: Any, dtypes: Any, a: Any) -> Any:
        return builder.fneg(a) if isinstance(dtypes[0], types.Float) else builder.neg(a)

    lanes.define(operator.neg, 1, vectors, emit_negative)

    def compared(a: Any, b: Any) -> Any:
        found = vectors(a, b)
        return None if found is None else lanes.like(found, types.boolean)

    def emit_comparison(sign: str) -> Emit:
        return lambda builder, dtypes, a, b: _compare(builder, sign, dtypes[0], a, b)

    for sign, function in _COMPARISONS.items():
        lanes.define(function, 2, compared, emit_comparison(sign))

    def masks(*kinds: Any) -> Any:
        are_masks = all(isinstance(k, lanes.vector) and k.dtype == types.boolean for k in kinds)
        return lanes.common(*kinds) if are_masks else None

    lanes.define(operator.and_, 2, masks, lambda builder, dtypes, a, b: builder.and_(a, b))
    lanes.define(operator.or_, 2, masks, lambda builder, dtypes, a, b: builder.or_(a, b))

    def emit_not(builder: Any, dtypes: Any, a: Any) -> Any:
        del dtypes
        return builder.xor(a, ir.Constant(a.type, [1] * a.type.count))

    lanes.define(operator.invert, 1, masks, emit_not)


def _register_halving(lanes: _Lanes) -> None:
    from llvmlite import ir

    def emit_all(sign: str) -> Emit:
        def emit(builder: Any, dtypes: Any, v: Any) -> Any:
            i32 = ir.IntType(32)
            while (n := v.type.count) > 1:
                picks = ir.VectorType(i32, n // 2)
                low, high = (
                    builder.shuffle_vector(
                        v, v, ir.Constant(picks, list(range(start, start + n // 2)))
                    )
                    for start in (0, n // 2)
                )
                v = builder.select(_compare(builder, sign, dtypes[0], high, low), high, low)
            return builder.extract_element(v, ir.Constant(i32, 0))

        return emit

    def lane(v: Any) -> Any:
        return v.dtype if isinstance(v, lanes.vector) and lanes.common(v) is not None else None

    lanes.define(ELEMENTWISE["vmax_all"], 1, lane, emit_all(">"))
    lanes.define(ELEMENTWISE["vmin_all"], 1, lane, emit_all("<"))


def _register_wide() -> None:
    from numba import extending, types

    numba: Any = extending
    function = ELEMENTWISE["vwide"]
    numba.type_callable(function)(lambda context: lambda: types.void)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del signature, values
        # llvmlite admits only names that it knows; the set itself is printed as it is.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    numba.lower_builtin(function)(lower)


def _compare(builder: Any, sign: str, dtype: Any, a: Any, b: Any) -> Any:
    """Compare lane by lane; with a NaN only ``!=`` holds."""
    from numba import types

    if isinstance(dtype, types.Float):
        return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, a, b)
    is_signed = getattr(dtype, "signed", False)
    return (builder.icmp_signed if is_signed else builder.icmp_unsigned)(sign, a, b)


def _call(builder: Any, name: str, *values: Any) -> Any:
    """Call an intrinsic of floats or vectors of floats, all of one type."""
    from llvmlite import ir
    from numba.core import cgutils

    kind = values[0].type
    is_vector = isinstance(kind, ir.VectorType)
    element = kind.element if is_vector else kind
    letter = "f32" if isinstance(element, ir.FloatType) else "f64"
    suffix = f"v{kind.count}{letter}" if is_vector else letter
    insert: Any = cgutils.get_or_insert_function
    function_type = ir.FunctionType(kind, [kind] * len(values))
    return builder.call(insert(builder.module, function_type, f"llvm.{name}.{suffix}"), values)
