"""Formulas in LaTeX and for terminals."""

from __future__ import annotations

import pytest

import einloom as el
from einloom.frontends.build import contract
from einloom.report.formula import formula, latex
from einloom.text.calls import parse
from einloom_compiler.ir.maps import Map

CASES = {
    "np.einsum('abij,abjk->abik', x[A,B,I,J], y[A,B,J,K])": (
        r"\mathrm{out}_{abik} = \sum_{j} x_{abij}\, y_{abjk}",
        "out[a,b,i,k] = Σ_j x[a,b,i,j] · y[a,b,j,k]",
    ),
    # The tensor c and the index c are different things.
    "np.einsum('abcr,ijrk->abcijk', c[1,2,3,4], x[8,7,4,5])": (
        r"\mathrm{out}_{abcijk} = \sum_{r} c_{abcr}\, x_{ijrk}",
        "out[a,b,c,i,j,k] = Σ_r c[a,b,c,r] · x[i,j,r,k]",
    ),
    "np.einsum('ij,ij->', x[3,4], some_y[3,4])": (
        r"\mathrm{out} = \sum_{ij} x_{ij}\, \mathrm{some\_y}_{ij}",
        "out = Σ_{i,j} x[i,j] · some_y[i,j]",
    ),
    "np.einsum('ij,ij->ij', x[1,4], y[3,4])": (
        r"\mathrm{out}_{ij} = x_{0j}\, y_{ij}",
        "out[i,j] = x[0,j] · y[i,j]",
    ),
    "np.vdot(x[3], y[3])": (
        r"\mathrm{out} = \sum_{i} \overline{x_{i}}\, y_{i}",
        "out = Σ_i conj(x[i]) · y[i]",
    ),
    "np.einsum('ii->i', x[3,3])": (r"\mathrm{out}_{i} = x_{ii}", "out[i] = x[i,i]"),
    "np.einsum('i,i->i', np.einsum('ij->i', out[M,3]), [1.0,2.0,3.0])": (
        "\\begin{aligned}\n"
        r"\mathrm{t1}_{i} &= \sum_{j} \mathrm{out}_{ij} \\"
        "\n"
        r"\mathrm{out2}_{i} &= \mathrm{t1}_{i}\, \mathrm{constant}_{i}"
        "\n\\end{aligned}",
        "t1[i] = Σ_j out[i,j]\nout2[i] = t1[i] · constant[i]",
    ),
    "K.batch_dot(x[B,20], y[B,20], axes=1, version='2.3.1')": (
        "\\begin{aligned}\n"
        r"\mathrm{t1}_{b} &= \sum_{i} x_{bi}\, y_{bi} \\"
        "\n"
        r"\mathrm{out} &= \operatorname{reshape}(\mathrm{t1}, (B, 1))"
        "\n\\end{aligned}",
        "t1[b] = Σ_i x[b,i] · y[b,i]\nout = reshape(t1, (B, 1))",
    ),
    "x[3,4]": ("x", "x"),
}


@pytest.mark.parametrize("text", CASES)
def test_formulas(text: str) -> None:
    expression = parse(text)
    assert (latex(expression), formula(expression)) == CASES[text]
    assert expression.latex() == latex(expression)


def test_an_epilogue_wraps_the_sum() -> None:
    maps = (Map("sqrt"), Map("maximum", (1e-7,)), Map("reciprocal"))
    x = el.spec("B", 3, name="x")
    norm = contract("bi,bi->b", x, x, dtype=None, epilogue=maps)
    assert formula(norm) == "out[b] = 1 / max(√(Σ_i x[b,i] · x[b,i]), 1e-07)"
    assert latex(norm) == (
        r"\mathrm{out}_{b} = \frac{1}{\max\left(\sqrt{\sum_{i} x_{bi}\, x_{bi}},\ 10^{-7}\right)}"
    )


def test_a_conjugated_epilogue_of_one_factor_keeps_its_parentheses() -> None:
    x = el.spec(3, name="x")
    value = contract("i->i", x, dtype=None, epilogue=(Map("reciprocal"),))
    total = contract("i->", x, dtype=None, epilogue=(Map("reciprocal"),))
    assert formula(value) == "out[i] = 1 / x[i]"
    assert formula(total) == "out = 1 / (Σ_i x[i])"
    assert latex(total) == r"\mathrm{out} = \frac{1}{\sum_{i} x_{i}}"


def test_more_indices_than_letters_are_still_told_apart() -> None:
    labels = list(range(60))
    x = el.spec(*[2] * 30, name="x")
    y = el.spec(*[2] * 30, name="y")
    expression = el.einsum(x, labels[:30], y, labels[30:], labels, optimize=True)
    head = formula(expression).partition(" = ")[0]
    letters = head.removeprefix("out[").removesuffix("]").split(",")
    assert len(set(letters)) == 60
