"""What one ``batch_dot`` call means in every Keras release: the meanings side by side.

Source: Keras 2.2.4, 2.2.5 and 2.3.1 and tf.keras of TensorFlow 1.13 to 2.2, run; commit 9148325b9c
of keras-team/keras, first released in 2.2.5, changed the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from einloom.expression import Expression
from einloom.frontends.dispatch import call
from einloom.report.statements import statements
from einloom.report.tables import table
from einloom_compiler.errors import EinloomError
from einloom_compiler.extents import text
from einloom_compiler.ir.graph import Contraction

#: Registered name of the function with versions.
BATCH_DOT = "keras.backend.batch_dot"

#: One release string a meaning, and which releases share it.
MEANINGS = (
    ("2.2.4", "Keras <= 2.2.4, tf.keras of TF <= 1.15"),
    ("2.2.5", "Keras >= 2.2.5, tf.keras of TF >= 2.0"),
    ("2.2.4-theano", "Keras <= 2.2.4 on Theano"),
)


def version_table(arguments: Mapping[str, Any]) -> str:
    """Return one row a meaning: version, equation, shape, batch axes, releases.

    A meaning that rejects the call has a line below the table that says why.

    Args:
        arguments: of ``batch_dot`` by name; a ``version`` among them does not matter.
    """
    rows, refusals = [], []
    for version, releases in MEANINGS:
        try:
            expression = call(BATCH_DOT, {**arguments, "version": version})
        except EinloomError as error:
            reason = re.split(r"\n|; |\. version=", str(error), maxsplit=1)[0]
            refusals.append(f"  {version} rejects the call: {reason}")
            rows.append((version, "rejected", "", "", releases))
            continue
        shape = ", ".join(map(text, expression.shape))
        rows.append((version, expression.equation, f"({shape})", batch_axes(expression), releases))
    head = ("version=", "einsum", "shape", "batch axes", "of")
    return "\n".join([table(head, rows), *refusals])


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
