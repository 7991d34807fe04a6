"""What one ``batch_dot`` call means in every Keras release: the meanings side by side.

Source: Keras 2.2.4, 2.2.5 and 2.3.1 and tf.keras of TensorFlow 1.13 to 2.2, run; commit 9148325b9c
of keras-team/keras, first released in 2.2.5, changed the meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einloom.expression import Expression
from einloom.frontends.dispatch import call
from einloom.report.statements import statements
from einloom_compiler.errors import EinloomError
from einloom_compiler.extents import text
from einloom_compiler.ir.graph import Contraction

#: Registered name of the function with versions.
BATCH_DOT = "keras.backend.batch_dot"

#: One release string a meaning, and which releases share it.
MEANINGS = (
    ("2.2.4", "Keras up to 2.2.4, tf.keras up to TensorFlow 1.15"),
    ("2.2.5", "Keras 2.2.5 and later, tf.keras from TensorFlow 2.0, Keras 3"),
    ("2.2.4-theano", "Keras up to 2.2.4 on Theano"),
)


def version_rows(arguments: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return one row a meaning: version, releases, equation, shape, batch axes; or its error."""
    rows = []
    for version, releases in MEANINGS:
        try:
            expression = call(BATCH_DOT, {**arguments, "version": version})
        except EinloomError as error:
            reason = str(error).partition("\n")[0].partition("; ")[0]
            rows.append((version, releases, "rejects the call", reason, ""))
            continue
        shape = ", ".join(map(text, expression.shape))
        rows.append((version, releases, expression.equation, f"({shape})", batch_axes(expression)))
    return rows


def batch_axes(expression: Expression) -> str:
    """Return which axes of each operand are batch in its contraction, such as ``x 0,1; y 0,1``.

    A batch index is one that two operands share and the result keeps.
    """
    for statement in reversed(statements(expression)):
        if not isinstance(statement.node, Contraction) or len(statement.factors) < 2:
            continue
        terms = [set(factor.letters) for factor in statement.factors]
        shared = {
            letter for letter in statement.letters if sum(letter in term for term in terms) > 1
        }
        parts = []
        for factor in statement.factors:
            axes = [str(axis) for axis, letter in enumerate(factor.letters) if letter in shared]
            parts.append(f"{factor.name} {','.join(axes) or 'none'}")
        return "; ".join(parts)
    return ""
