"""Floating-point formats as the texts of :mod:`.vmath` need them: constants and polynomials."""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.codegen.coefficients import COEFFICIENTS


@dataclass(frozen=True, slots=True)
class Format:
    """Numbers that describe one floating-point format to the texts.

    Attributes:
        name: NumPy's name of the dtype.
        integer: that of the integer of its width.
        mantissa: stored bits of the significand.
        bias: of the exponent.
        ln2: the natural logarithm of 2 in two parts; integers up to the greatest exponent times
            the first part are exact.
        exp_low: exp is 0 from here on down.
        exp_normal: exp is a normal number from here on up.
        exp_high: exp is infinite from here on up.
        expm1_low: expm1 is -1 from here on down.
        tanh_high: tanh is 1 from here on up.
        erf_high: erf is 1 from here on up.
        normal_high: the normal law's tail is 0 from here on up.
        normal_shift: k of the tail's polynomial in (a - k)/(a + k).
    """

    name: str
    integer: str
    mantissa: int
    bias: int
    ln2: tuple[float, float]
    exp_low: float
    exp_normal: float
    exp_high: float
    expm1_low: float
    tanh_high: float
    erf_high: float
    normal_high: float
    normal_shift: float

    @property
    def magic(self) -> float:
        """What added to x leaves round(x) plus the bias in the lowest bits of the sum."""
        return 1.5 * 2.0**self.mantissa + self.bias

    def number(self, value: float) -> str:
        """Return a constant of this format as source."""
        return f"np.{self.name}({value!r})"

    def bits(self, value: int) -> str:
        """Return an integer constant of this format's width as source."""
        return f"np.{self.integer}({value:#x})"

    def polynomial(self, name: str, variable: str) -> str:
        """Return lines that leave the polynomial ``name`` of ``variable`` in ``p``."""
        *lower, top = COEFFICIENTS[self.name][name]
        lines = [f"    p = vmuladd({variable}, {self.number(top)}, {self.number(lower.pop())})"]
        lines += [f"    p = vmuladd({variable}, p, {self.number(c)})" for c in reversed(lower)]
        return "\n".join(lines)

    def paired(self, name: str, variable: str, square: str) -> str:
        """Return lines that leave that polynomial in ``p``, pairs of terms computed side by side.

        Fewer operations wait for each other than in Horner's way, by one more rounding.
        """
        numbers = [self.number(c) for c in COEFFICIENTS[self.name][name]]
        pairs = [numbers[at : at + 2] for at in range(0, len(numbers), 2)]
        terms = [
            f"vmuladd({variable}, {pair[1]}, {pair[0]})" if len(pair) == 2 else pair[0]
            for pair in pairs
        ]
        lines = [f"    p = {terms.pop()}"]
        lines += [f"    p = vmuladd({square}, p, {term})" for term in reversed(terms)]
        return "\n".join(lines)


FORMATS = {
    "float32": Format(
        name="float32",
        integer="int32",
        mantissa=23,
        bias=127,
        ln2=(0.693145751953125, 1.4286068203094173e-06),
        exp_low=-104.0,
        exp_normal=-86.0,
        exp_high=89.0,
        expm1_low=-18.0,
        tanh_high=9.1,
        erf_high=4.0,
        normal_high=14.5,
        normal_shift=4.0,
    ),
    "float64": Format(
        name="float64",
        integer="int64",
        mantissa=52,
        bias=1023,
        ln2=(0.6931471805598903, 5.497923018708371e-14),
        exp_low=-746.0,
        exp_normal=-707.0,
        exp_high=710.0,
        expm1_low=-38.0,
        tanh_high=19.2,
        erf_high=6.0,
        normal_high=38.7,
        normal_shift=5.0,
    ),
}
