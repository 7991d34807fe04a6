"""``tf.einsum``: its grammar, which is narrower than NumPy's, and its rules on extents and dtypes.

Grammar: labels are ASCII letters; spaces are removed wherever they stand; one ``...`` a term; no
sublists. In implicit mode the ellipsis counts as a label, so it is kept only if one term has it.
Axes under an ellipsis broadcast, named ones never do, not even an extent of 1. Sources: TensorFlow
2.21's documentation, its ``special_math_ops.py``, and its behaviour. Where its eager mode accepts
two ellipses in one term and computes something else, this refuses, as its graph mode does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from einloom.expression import Expression
from einloom.frontends.build import check_order, contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import shape_text
from einloom.frontends.tensorflow_dtypes import einsum_dtype
from einloom.frontends.tensorflow_values import matched_to_tensor
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import DTypeError, ShapeError, SubscriptError
from einloom_compiler.extents import Extent, is_equal, text
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.language import expand, parse_string
from einloom_compiler.order.search import Optimize

_FORMAT = re.compile(r"([a-zA-Z0,]*)(->([a-zA-Z0]*))?")


@frontend("tensorflow.einsum", operands=("*inputs",), convert=matched_to_tensor, finish=as_tensor)
def einsum(equation: str, *inputs: Any, optimize: Optimize = True, name: str | None = None) -> Any:
    """Return the Einstein summation over the operands, as ``tf.einsum`` does.

    Args:
        equation: subscripts such as ``"...ij,...jk->...ik"``.
        inputs: one operand a term, all of one dtype; NumPy arrays are cast to the first tensor's.
        optimize: how the order of three and more operands is chosen, as in :func:`einloom.einsum`.
        name: ignored.

    Raises:
        SubscriptError: the equation is malformed or does not fit the operands' number or ranks.
        ShapeError: extents of one label differ, or axes under the ellipses do not broadcast.
        DTypeError: the dtypes differ, TensorFlow has no kernel for them on CPU, or ``optimize`` is
            none that is known.
        PathError: ``optimize`` is no path for these operands.

    Example:
        >>> import einloom.tensorflow as tf
        >>> tf.einsum("...ij,jk->...ik", tf.ones((9, 2, 3)), tf.ones((3, 4))).shape
        (9, 2, 4)
    """
    terms, output = _parse(equation, len(inputs))
    dtype = einsum_dtype([operand.dtype for operand in inputs])
    _check_ranks(terms, output, inputs)
    source = f"{','.join(terms)}->{output}".replace("0", "...")
    expr = expand(parse_string(source), [operand.ndim for operand in inputs])
    _check_extents(expr, inputs)
    check_order(expr, inputs, optimize)
    return contract(expr, *inputs, dtype=dtype, broadcast={"..."})


def _parse(equation: object, n_inputs: int) -> tuple[list[str], str]:
    """Return terms and output with 0 for the ellipsis, the output made explicit."""
    if not isinstance(equation, str):
        raise DTypeError(
            f"tf.einsum takes its equation as a string, not {type(equation).__name__}; "
            "einloom.einsum has the sublist form"
        )
    plain = equation.replace(" ", "")
    match = _FORMAT.fullmatch(plain.replace("...", "0"))
    if match is None or "0" in plain:
        raise SubscriptError(
            f"Subscripts have incorrect format: {plain}; write letters a-z and A-Z, ',', one '...' "
            "a term, and at most one '->' (einloom.einsum takes other letters)"
        )
    terms = match.group(1).split(",")
    if len(terms) != n_inputs:
        raise SubscriptError(
            f'Got {n_inputs} inputs for equation "{equation}", expecting {len(terms)}; give one '
            "operand a term"
        )
    for number, term in enumerate(terms):
        if term.count("0") > 1:
            shown = term.replace("0", "...")
            raise SubscriptError(
                f"Too many ellipses in input label {shown} (operand {number}); a term takes one"
            )
    counts = Counter("".join(terms))
    if match.group(2) is None:
        return terms, "".join(label for label in sorted(counts) if counts[label] == 1)
    output: str = match.group(3)
    if len(set(output)) != len(output):
        raise SubscriptError(
            f"Output subscripts contain a label appearing more than once: {equation}"
        )
    for label in output:
        if label != "0" and label not in counts:
            raise SubscriptError(
                f"Output subscripts contain the label {label} not present in the input "
                f"subscripts: {equation}"
            )
    return terms, output


def _check_ranks(terms: Sequence[str], output: str, operands: Sequence[Expression]) -> None:
    widest = 0
    for number, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        named = len(term.replace("0", ""))
        if operand.ndim != named and ("0" not in term or operand.ndim < named):
            least = "at least " if "0" in term else ""
            raise SubscriptError(
                f"Expected input {number} to have rank {least}{named} but got: {operand.ndim}; its "
                f"term is '{term.replace('0', '...')}', its shape {shape_text(operand.shape)}"
            )
        widest = max(widest, operand.ndim - named)
    if widest and "0" not in output:
        raise SubscriptError(
            f"Output contains {widest} broadcasting dimension(s) but no ellipsis (...) was found "
            "in the output subscripts; write '...' in the output. (Without '->' it is kept only if "
            "it stands in one term; einloom.einsum(..., optimize=True) sums over dropped ones.)"
        )


def _check_extents(expr: EinsumExpr, operands: Sequence[Expression]) -> None:
    """Refuse unequal extents of a label, and axes under the ellipses that do not broadcast."""
    seen: dict[Index, tuple[Extent, int]] = {}
    for number, (term, operand) in enumerate(zip(expr.terms, operands, strict=True)):
        for axis, (index, extent) in enumerate(zip(term, operand.shape, strict=True)):
            known, first = seen.setdefault(index, (extent, number))
            if is_equal(known, extent) is not False:
                continue
            if index.name == "...":
                if is_equal(extent, 1) is True:
                    continue
                if is_equal(known, 1) is True:
                    seen[index] = (extent, number)
                    continue
                shapes = [shape_text(operands[n].shape, "[]", ",") for n in (first, number)]
                raise ShapeError(
                    f"In[{first}] and In[{number}] must have compatible batch dimensions: "
                    f"{shapes[0]} vs. {shapes[1]}: an axis under '...' has extent {text(known)} "
                    f"and {text(extent)}; they must be equal, or one of them 1"
                )
            shape = shape_text(operand.shape, "[]", ",")
            raise ShapeError(
                f"Expected dimension {text(known)} at axis {axis} of the input shaped {shape} but "
                f"got dimension {text(extent)}: label '{index.name}' has extent {text(known)} in "
                f"operand {first} and {text(extent)} in operand {number}"
                + (
                    "; tf.einsum does not broadcast named extents of 1 (einloom.einsum does)"
                    if 1 in (known, extent)
                    else ""
                )
            )
