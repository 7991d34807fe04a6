"""Derive the polynomial coefficients of the elementary functions; run by hand, checked by tests.

``python tests/einloom_compiler/minimax.py`` prints every table of
:mod:`einloom_compiler.codegen.coefficients`. Method: the exchange algorithm of Remez, on a grid, in
multiple precision (Cheney, Introduction to Approximation Theory, chapter 3); then coefficients are
rounded to the dtype one after the other, lowest order first, the others fitted anew each time, so
that they make up for the rounding (the idea of Brisebarre and Chevillard, "Efficient polynomial
L-infinity approximations", ARITH 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np

Function = Callable[[Any], Any]
mp.mp.dps = 60


@dataclass(frozen=True)
class Fit:
    """One polynomial ``P(variable(x)) * factor(x)`` that approximates ``target(x)``.

    Attributes:
        low: start of the interval of x.
        high: its end.
        degree: of P.
        target: the function to approximate.
        factor: what P is multiplied by.
        scale: what errors are relative to.
        variable: the argument of P.
    """

    low: Any
    high: Any
    degree: int
    target: Function
    factor: Function
    scale: Function
    variable: Function = field(default=lambda x: x)

    def grid(self, n: int) -> list[Any]:
        """Return ``n`` Chebyshev points of the interval, never its ends."""
        middle, half = (mp.mpf(self.high) + self.low) / 2, (mp.mpf(self.high) - self.low) / 2
        return [middle - half * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]

    def error(self, coefficients: list[Any], n: int = 600) -> float:
        """Return the largest relative error of the polynomial on a grid of ``n`` points."""
        worst = mp.mpf(0)
        for x in self.grid(n):
            value = mp.polyval(coefficients[::-1], self.variable(x)) * self.factor(x)
            worst = max(worst, abs((value - self.target(x)) / self.scale(x)))
        return float(worst)


def remez(fit: Fit, fixed: list[Any]) -> list[Any]:
    """Return the best coefficients whose lowest ones are ``fixed``, to 60 digits."""
    first, n = len(fixed), fit.degree + 1 - len(fixed)
    xs = fit.grid(24 * (fit.degree + 2))
    variables = [fit.variable(x) for x in xs]
    # Errors alternate in sign once the sign of the weight, which may change, is taken away.
    weight = [
        abs(fit.factor(x) / fit.scale(x) * v**first) for x, v in zip(xs, variables, strict=True)
    ]
    powers = [[v**k for k in range(n)] for v in variables]
    wanted = [
        w * (fit.target(x) / fit.factor(x) - mp.polyval(fixed[::-1] or [0], v)) / v**first
        for x, v, w in zip(xs, variables, weight, strict=True)
    ]
    picked = [round((len(xs) - 1) * (1 - np.cos(np.pi * k / n)) / 2) for k in range(n + 1)]
    solution: Any = None
    for _ in range(60):
        matrix = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for row, i in enumerate(picked):
            for k in range(n):
                matrix[row, k] = weight[i] * powers[i][k]
            matrix[row, n] = (-1) ** row
            right[row] = wanted[i]
        solution = mp.lu_solve(matrix, right)
        errors = [
            wanted[i] - weight[i] * mp.fsum(solution[k] * powers[i][k] for k in range(n))
            for i in range(len(xs))
        ]
        found = _exchange(errors, n + 1)
        largest = max(abs(error) for error in errors)
        if found == picked or largest <= abs(solution[n]) * mp.mpf("1.0001"):
            break
        picked = found
    return [*fixed, *(solution[k] for k in range(n))]


def _exchange(errors: list[Any], count: int) -> list[int]:
    """Return ``count`` positions of alternating extremes of the errors, the largest among them."""
    extremes: list[int] = []
    for i, error in enumerate(errors):
        if extremes and (errors[extremes[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[extremes[-1]]):
                extremes[-1] = i
        else:
            extremes.append(i)
    while len(extremes) > count:
        if len(extremes) == count + 1:
            end = 0 if abs(errors[extremes[0]]) < abs(errors[extremes[-1]]) else -1
            del extremes[end]
            continue
        pair = min(
            range(len(extremes) - 1),
            key=lambda k: abs(errors[extremes[k]]) + abs(errors[extremes[k + 1]]),
        )
        del extremes[pair : pair + 2]
    return extremes


def rounded(fit: Fit, dtype: Any) -> list[float]:
    """Return the coefficients, lowest order first, each rounded to ``dtype``."""
    fixed: list[Any] = []
    for k in range(fit.degree + 1):
        best = remez(fit, fixed)
        fixed.append(mp.mpf(float(dtype(_nearest(best[k], dtype)))))
    return [float(c) for c in fixed]


def _nearest(value: Any, dtype: Any) -> Any:
    """Return ``value`` rounded once to ``dtype``."""
    with mp.workprec(np.finfo(dtype).nmant + 1):
        return dtype(float(+value))


def fits(dtype: str) -> dict[str, Fit]:
    """Return what each table of coefficients of ``dtype`` approximates, by name."""
    is_single = dtype == "float32"
    tiny, slack = mp.mpf("1e-30"), mp.mpf("1.0005")
    half_octave = mp.log(2) / 2 * slack
    low, high = mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1
    shift = 4 if is_single else 5

    def one(x: Any) -> Any:
        del x
        return mp.mpf(1)

    def log_over_s(z: Any) -> Any:
        return 2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z)

    def erf_over_x(z: Any) -> Any:
        return mp.erf(mp.sqrt(z)) / mp.sqrt(z)

    def scaled_tail(a: Any) -> Any:
        return mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2) * (a + shift)

    log = (
        Fit(  # log1p(f) = f - f*f/2 + f*f*f*P(f)
            *(low * slack, high * slack, 7),
            *(lambda f: mp.log1p(f) - f + f * f / 2, lambda f: f**3, mp.log1p),
        )
        if is_single
        else Fit(  # log1p(f) = 2*atanh(s) = 2*s + s*z*P(z), z = s*s, s = f/(2 + f)
            *(tiny, (high / (2 + high)) ** 2 * slack, 6),
            *(lambda z: log_over_s(z) - 2, lambda z: z, log_over_s),
        )
    )
    return {
        "expm1": Fit(  # expm1(r) = r + r*r*P(r)
            *(-half_octave, half_octave, 4 if is_single else 10),
            *(lambda r: mp.expm1(r) - r, lambda r: r * r, mp.expm1),
        ),
        "log": log,
        "log1p_unit": Fit(  # log1p(x) = x + x*x*P(x), 0 <= x <= 1
            *(tiny, mp.mpf(1), 8 if is_single else 20),
            *(lambda x: mp.log1p(x) - x, lambda x: x * x, mp.log1p),
        ),
        "erf": Fit(  # erf(x) = x + x*P(x*x), |x| <= 1
            *(tiny, mp.mpf(1), 6 if is_single else 11),
            *(lambda z: erf_over_x(z) - 1, one, erf_over_x),
        ),
        "erf_tail": Fit(  # erf(a) = 1 - exp(P(a - 2)), a >= 1
            *(mp.mpf(1), mp.mpf(4 if is_single else 6), 6 if is_single else 18),
            *(lambda a: mp.log(mp.erfc(a)), one, lambda a: mp.erf(a) / mp.erfc(a)),
            variable=lambda a: a - 2,
        ),
        "normal": Fit(  # Q(a) = exp(-a*a/2)/(a + k) * P((a - k)/(a + k)), a >= 0
            *(mp.mpf(0), mp.mpf(14.5 if is_single else 38.7), 9 if is_single else 22),
            *(scaled_tail, one, scaled_tail),
            variable=lambda a: (a - shift) / (a + shift),
        ),
    }


if __name__ == "__main__":
    for _dtype in ("float32", "float64"):
        print(f'    "{_dtype}": {{')
        for _name, _fit in fits(_dtype).items():
            _table = rounded(_fit, np.dtype(_dtype).type)
            print(f'        "{_name}": (  # {_fit.error([mp.mpf(c) for c in _table]):.1e}')
            for _number in _table:
                print(f"            {_number!r},")
            print("        ),")
        print("    },")
