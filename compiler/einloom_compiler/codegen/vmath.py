"""Elementary functions of generated source: vectorisable, without calls of a mathematics library.

Each function is a text for each of float32 and float64, called ``<function>_<dtype>``, made of
arithmetic, selects and views of bits only. It takes a scalar (inside a loop LLVM's vectoriser
widens it), a SIMD vector, or un-jitted a NumPy array (:mod:`.simd_elementwise`). The functions are
compiled without fast-math flags whatever the kernel around them has, since their exactness rests on
the order of operations; none depends on multiply-adds being rounded once.

Largest errors in units in the last place over dense samples, all magnitudes included, against
references of twice the precision; where the CPU rounds multiply-adds once, and where it does not::

                float32       float64
    exp          0.9  1.2      0.9  1.2
    expm1        1.6  1.6      1.9  1.9
    log          0.9  0.9      0.8  0.9
    log1p        1.5  1.5      1.2  1.2
    tanh         2.0  2.5      2.1  2.5
    sigmoid      1.6  1.6      1.7  1.6
    erf          1.2  1.3      1.0  1.3
    rsqrt        1.5  1.5      1.5  1.5
    normal_cdf   5.3  5.3+q    5.9  5.9+q    q = x * x / 2 for x < 0

Special values are those of IEEE 754: exp(-inf) = 0, log(0) = -inf, log(x < 0) = nan, signed zeros
of odd functions stay, subnormals are not flushed, NaN propagates.

Sources of the algorithms: argument reduction by a constant in two parts (Cody and Waite, Software
Manual for the Elementary Functions, 1980); rounding by adding 1.5 * 2**m and the arrangement of
expm1 and log1p (Tang, ACM TOMS 15 and 16, 1989 and 1990; Muller, Elementary Functions, chapter 11);
log through atanh (Tang, and FreeBSD's description of e_log.c); the tail of the normal law as a
polynomial in (a - k)/(a + k) (Schonfelder, Mathematics of Computation 32, 1978).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from einloom_compiler.codegen.vmath_formats import FORMATS, Format

#: Options of these functions: inlined into the kernel's loop, so that it can be vectorised.
#: Without ``fastmath=False`` Numba would compile them with their caller's flags.
OPTIONS = 'forceinline=True, error_model="numpy", fastmath=False'

DTYPES = ("float32", "float64")


def _exp_reduced(t: Format, magic: float, more: str = "") -> str:
    """Return lines that split x, leaving exp(r) in ``p`` and n in the lowest bits of ``n``."""
    high, low = t.ln2
    return f"""\
    n = vmuladd(x, {t.number(1 / (high + low))}, {t.number(magic)})
    k = n - {t.number(magic)}
    r = vmuladd(k, {t.number(-high)}, x)
    r = vmuladd(k, {t.number(-low)}, r){more}
{t.polynomial("expm1", "r")}
    p = vmuladd(vmuladd(p, r, {t.number(1.0)}), r, {t.number(1.0)})"""


def _exp_core(t: Format) -> str:
    lift = 64
    return f'''\
def exp_core_{t.name}(x, more):
    """Return exp(x + more) for x that is neither huge nor very negative, |more| < 0.06.

    x = n * log(2) + r, exp(x) = exp(r) * 2**(n - 1) * 2, with an exponent raised by {lift} before
    and lowered after the last rounding where the result may be subnormal.
    """
{_exp_reduced(t, t.magic - 1, " + more")}
    is_low = x < {t.number(t.exp_normal)}
    raised = vplus(vbits(n), vselect(is_low, np.{t.integer}({lift}), np.{t.integer}(0)))
    lowered = vselect(is_low, {t.number(2.0 ** (1 - lift))}, {t.number(2.0)})
    return p * vfloat(vshl(raised, {t.mantissa})) * lowered
'''


def _exp_normal(t: Format) -> str:
    return f'''\
def exp_normal_{t.name}(x):
    """Return exp(x) where that is a normal number and not near infinity."""
{_exp_reduced(t, t.magic)}
    return p * vfloat(vshl(vbits(n), {t.mantissa}))
'''


def _exp_weight(t: Format) -> str:
    log_2 = sum(t.ln2)
    return f'''\
def exp_weight_{t.name}(x):
    """Return exp(x) for x <= 0 as a weight beside one of 1: errors are relative to that one.

    What the rounded logarithm of 2 is off by grows with -x, slower than the weight falls. From
    2**-{t.bias} down, where powers of 2 have no exponent left, weights are 0.
    """
    x = vmax(x, {t.number(-t.bias * log_2)})
    n = vmuladd(x, {t.number(1 / log_2)}, {t.number(t.magic)})
    k = n - {t.number(t.magic)}
    r = vmuladd(k, {t.number(-log_2)}, x)
    square = r * r
{t.paired("expm1", "r", "square")}
    p = vmuladd(p, square, r + {t.number(1.0)})
    return p * vfloat(vshl(vbits(n), {t.mantissa}))
'''


def _exp(t: Format) -> str:
    return f'''\
def exp_{t.name}(x):
    """Return e to the power of x."""
    x = vmin(vmax(x, {t.number(t.exp_low)}), {t.number(t.exp_high)})
    return exp_core_{t.name}(x, {t.number(-0.0)})
'''


def _half_expm1(t: Format) -> str:
    high, low = t.ln2
    magic = t.magic - 1
    return f'''\
def half_expm1_{t.name}(x):
    """Return (exp(x) - 1) / 2 for x that is neither huge nor very negative.

    x = n * log(2) + r, and that is s * expm1(r) + (s - 1/2) where s = 2**(n - 1).
    """
    n = vmuladd(x, {t.number(1 / (high + low))}, {t.number(magic)})
    k = n - {t.number(magic)}
    r = vmuladd(k, {t.number(-high)}, x)
    r = vmuladd(k, {t.number(-low)}, r)
{t.polynomial("expm1", "r")}
    p = vmuladd(p * r, r, r)
    s = vfloat(vshl(vbits(n), {t.mantissa}))
    return vmuladd(s, p, s - {t.number(0.5)})
'''


def _expm1(t: Format) -> str:
    return f'''\
def expm1_{t.name}(x):
    """Return exp(x) - 1, exact for small x, too."""
    y = vmin(vmax(x, {t.number(t.expm1_low)}), {t.number(t.exp_high)})
    y = half_expm1_{t.name}(y)
    return vcopysign(y + y, x)
'''


def _log_parts(t: Format) -> str:
    """Return lines that split ``y`` > 0 into 2**e * m, m between the square roots of 1/2 and 2.

    ``e`` is still too great by an offset; ``i`` has the exponent in its bits.
    """
    root, one = _SQRT_HALF[t.name], t.bias << t.mantissa
    return f"""\
    i = vplus(vbits(y), {t.bits(one - root)})
    m = vfloat(vplus(vand(i, {t.bits((1 << t.mantissa) - 1)}), {t.bits(root)}))
    e = vfloat(vor(vshr(i, {t.mantissa}), {t.bits((t.bias + t.mantissa) << t.mantissa)}))"""


#: Bits of the square root of 1/2.
_SQRT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}


def _log_core(t: Format) -> str:
    high, low = t.ln2
    if t.name == "float32":
        series = f"""\
{t.polynomial("log", "f")}
    w = vmuladd(f * f, vmuladd(f, p, {t.number(-0.5)}), e * {t.number(low)})
    return vmuladd(e, {t.number(high)}, f + w)"""
    else:
        series = f"""\
    half = {t.number(0.5)} * f * f
    s = f / (f + {t.number(2.0)})
    z = s * s
{t.polynomial("log", "z")}
    w = vmuladd(s, vmuladd(z, p, half), e * {t.number(low)})
    return vmuladd(e, {t.number(high)}, f - (half - w))"""
    return f'''\
def log_core_{t.name}(e, f):
    """Return log(2**e * (1 + f)) for 1 + f between the square roots of 1/2 and 2."""
{series}
'''


def _log(t: Format) -> str:
    offset = 2.0**t.mantissa + t.bias
    lift = t.mantissa + 1
    return f'''\
def log_{t.name}(x):
    """Return the natural logarithm of x."""
    is_tiny = x < {t.number(2.0 ** (1 - t.bias))}
    y = vselect(is_tiny, x * {t.number(2.0**lift)}, x)
{_log_parts(t)}
    e = e - vselect(is_tiny, {t.number(offset + lift)}, {t.number(offset)})
    y = vselect(x < {t.number(float("inf"))}, log_core_{t.name}(e, m - {t.number(1.0)}), x)
    outside = vselect(x == {t.number(0.0)}, {t.number(float("-inf"))}, {t.number(float("nan"))})
    return vselect(x > {t.number(0.0)}, y, outside)
'''


def _log1p(t: Format) -> str:
    return f'''\
def log1p_{t.name}(x):
    """Return log(1 + x), exact for small x, too: what 1 + x loses in rounding is put back."""
    y = x + {t.number(1.0)}
    b = y - {t.number(1.0)}
    lost = ({t.number(1.0)} - (y - b)) + (x - b)
{_log_parts(t)}
    e = e - {t.number(2.0**t.mantissa + t.bias)}
    twice = {t.bits(2 * t.bias << t.mantissa)}
    scale = vfloat(vminus(twice, vand(i, {t.bits((2 * t.bias + 1) << t.mantissa)})))
    scale = vselect(x < {t.number(2.0**60)}, scale, {t.number(0.0)})
    f = vmuladd(lost, scale, m - {t.number(1.0)})
    y = vselect(x < {t.number(float("inf"))}, vcopysign(log_core_{t.name}(e, f), x), x)
    outside = vselect(x == {t.number(-1.0)}, {t.number(float("-inf"))}, {t.number(float("nan"))})
    return vselect(x > {t.number(-1.0)}, y, outside)
'''


def _log1p_unit(t: Format) -> str:
    return f'''\
def log1p_unit_{t.name}(x):
    """Return log(1 + x) for x from 0 to 1: x + x * x * P(x)."""
{t.polynomial("log1p_unit", "x")}
    return vmuladd(x * p, x, x)
'''


def _tanh(t: Format) -> str:
    return f'''\
def tanh_{t.name}(x):
    """Return the hyperbolic tangent of x: -m / (1 + m) where 2 * m = exp(-2 * |x|) - 1.

    It is written as m * (m / (1 + m)) - m, the greater part of which is not divided.
    """
    a = vmin(vabs(x), {t.number(t.tanh_high)})
    m = half_expm1_{t.name}(a * {t.number(-2.0)})
    return vcopysign(vmuladd(m / (m + {t.number(1.0)}), m, -m), x)
'''


def _exp_falling(t: Format) -> str:
    return f'''\
def exp_falling_{t.name}(x):
    """Return exp(-|x|)."""
    return exp_core_{t.name}(vmax(-vabs(x), {t.number(t.exp_low)}), {t.number(-0.0)})
'''


def _sigmoid(t: Format) -> str:
    return f'''\
def sigmoid_{t.name}(x):
    """Return 1 / (1 + exp(-x)): y - y * q where q = e / (1 + e), e = exp(-|x|)."""
    e = exp_falling_{t.name}(x)
    y = vselect(x < {t.number(0.0)}, e, {t.number(1.0)})
    return vmuladd(-(e / (e + {t.number(1.0)})), y, y)
'''


def _erf(t: Format) -> str:
    return f'''\
def erf_{t.name}(x):
    """Return the error function of x: x + x * P(x * x), from 1 on 1 - exp(P(|x| - 2))."""
    z = x * x
{t.polynomial("erf", "z")}
    near = vmuladd(x, p, x)
    a = vabs(x)
    d = vmin(a, {t.number(t.erf_high)}) - {t.number(2.0)}
{t.polynomial("erf_tail", "d")}
    far = {t.number(1.0)} - exp_normal_{t.name}(p)
    return vselect(a < {t.number(1.0)}, near, vcopysign(far, x))
'''


def _normal_cdf(t: Format) -> str:
    return f'''\
def normal_cdf_{t.name}(x):
    """Return (1 + erf(x / sqrt(2))) / 2, exact where it is small, too.

    What the square of a = |x| loses in rounding is put back where multiply-adds are rounded once.
    """
    a = vmin(vabs(x), {t.number(t.normal_high)})
    square = a * a
    rest = vmuladd(a, a, -square) * {t.number(-0.5)}
    inverse = {t.number(1.0)} / (a + {t.number(t.normal_shift)})
    d = (a - {t.number(t.normal_shift)}) * inverse
{t.polynomial("normal", "d")}
    tail = p * inverse * exp_core_{t.name}(square * {t.number(-0.5)}, rest)
    return vselect(x > {t.number(0.0)}, {t.number(1.0)} - tail, tail)
'''


def _rsqrt(t: Format) -> str:
    return f'''\
def rsqrt_{t.name}(x):
    """Return 1 / sqrt(x)."""
    return {t.number(1.0)} / vsqrt(x)
'''


_WRITERS: dict[str, Callable[[Format], str]] = {
    "exp_core": _exp_core,
    "exp_normal": _exp_normal,
    "exp_weight": _exp_weight,
    "exp": _exp,
    "exp_falling": _exp_falling,
    "half_expm1": _half_expm1,
    "expm1": _expm1,
    "log_core": _log_core,
    "log": _log,
    "log1p": _log1p,
    "log1p_unit": _log1p_unit,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "normal_cdf": _normal_cdf,
    "rsqrt": _rsqrt,
}


@cache
def helpers() -> dict[str, str]:
    """Return the text of each function by name, those before it that it calls."""
    return {
        f"{name}_{dtype}": f"@njit({OPTIONS})\n" + _constants_named(writer(FORMATS[dtype]))
        for name, writer in _WRITERS.items()
        for dtype in DTYPES
    }


def _constants_named(text: str) -> str:
    """Return a text whose infinities and NaN are NumPy's."""
    return re.sub(r"\((-?)(inf|nan)\)", r"(\1np.\2)", text)
