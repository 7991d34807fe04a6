"""Call texts of expressions read back as equal expressions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.expression import Expression, constant
from einloom.frontends.build import contract
from einloom.text.calls import parse
from einloom.text.writing import to_text

#: Texts as to_text writes them: one for each way arguments are given.
CANONICAL = (
    "np.einsum('ij,jk->ik', x[M, K], y[K, N])",
    "np.einsum('ij,ij->', x[M, 2*B + 1, 'float32'], x)",
    "np.einsum('->', x['int8'])",
    "np.einsum('->', x[()])",
    "np.einsum('i,i->i', np.einsum('ij->i', x[M, 3]), y[M])",
    "np.matmul(a[B, 3, 4, 'complex64'], b[4, 5, 'complex64'])",
    "np.dot(a[3, 4], np.dot(b[4, 5], c[5, 6]))",
    "np.tensordot(a[2, 3], b[3, 4], axes=1)",
    "np.tensordot(a[2, 3], b[3, 2], axes=[[0, 1], [1, 0]])",
    "np.vdot(a[2, 3], b[6])",
    "np.kron(a[2, 3], b[4, 5])",
    "np.linalg.outer(x1[2], x2[3])",
    "np.vecdot(x1[2, B], x2[2, B], axis=0)",
    "np.linalg.multi_dot((a[2, 3], b[3, 4], c[4, 5]))",
    "K.dot(x[2, 3, 4], y[7, 4, 5])",
    "K.batch_dot(x[B, 20, 1], y[B, 30, 20], axes=(1, 2), version='2.2.4')",
    "K.batch_dot(x[2, 3, 4, 5], y[2, 3, 5, 6], version='2.3.1')",
    "K.batch_dot(x[B, 20], y[B, 20], axes=1, version='2.2.4-theano')",
    "keras.ops.matmul(x1[B, 3], x2[3, 4])",
    "keras.ops.einsum('ij,jk->ik', x[B, 3], y[3, 4])",
    "keras.layers.Dot(axes=(1, 2), dtype='float32')([x[B, 3, 4], y[B, 5, 3]])",
    "keras.layers.Dot(axes=-1, normalize=True, dtype='float64')([x[B, 3], y[B, 3]])",
    "tf.matmul(a[2, 4, 3], b[2, 4, 5], transpose_a=True)",
    "tf.matmul(a[2, 3, 'int8'], b[3, 4, 'int8'], output_type='int32')",
    "tf.linalg.matvec(a[B, 2, 3], b[B, 3])",
    "tf.transpose(a[2, 3, 4], perm=[2, 0, 1])",
    "K.expand_dims(K.squeeze(x[2, 1, 3], axis=1), axis=0)",
    "K.cast(K.reshape(x[2, 6], shape=(3, -1)), dtype='float64')",
    "K.permute_dimensions(x[2, 3, 4], pattern=(2, 0, 1))",
    "tf.tensordot(a[2, 3], b[3, 4], axes=1)",
    "tf.einsum('ij,jk->ik', x[B, 3], y[3, 4])",
)


@pytest.mark.parametrize("text", CANONICAL)
def test_a_canonical_text_is_written_as_it_is_read(text: str) -> None:
    expression = parse(text)
    written = to_text(expression)
    assert written == text
    assert parse(written) == expression


def test_the_later_tf_keras_meaning_is_written_with_its_version() -> None:
    expression = parse("tf.keras.backend.batch_dot(x[2,3,4,5], y[2,3,5,6])")
    written = to_text(expression)
    assert "version='" in written
    assert parse(written) == expression
    assert parse(written).shape == (2, 3, 4, 3, 6)


def test_constants_are_literals_where_literals_mean_the_same() -> None:
    text = "np.einsum('ij,i->i', x[2, 2], [1.5, -2.0])"
    assert to_text(parse(text)) == text
    x = el.spec(2, name="x")
    with pytest.raises(el.SpecError, match=r"dtype float32 and shape .2,. has no text"):
        to_text(el.einsum("i,i->", x, np.ones(2, np.float32)))
    with pytest.raises(el.SpecError, match="65 elements is too long"):
        to_text(el.einsum("i,i->", el.spec(65, name="x"), np.ones(65)))
    with pytest.raises(el.SpecError, match="inf has no text"):
        to_text(el.einsum("i,i->", x, np.array([np.inf, 1.0])))


def test_unnamed_operands_get_names_and_unknowns_stay_apart() -> None:
    x, y = el.spec(None, 3), el.spec(None, 3)
    assert to_text(el.einsum("ij,kj->ik", x, y)) == (
        "np.einsum('ij,kj->ik', x[None, 3], y[None, 3])"
    )


def test_an_unknown_that_two_operands_share_stays_shared() -> None:
    rows = el.spec(None, 3).shape[0]
    x, y = el.spec(rows, 3, name="x"), el.spec(rows, 4, name="y")
    again = parse(to_text(el.einsum("ij,ik->jk", x, y)))
    first, second = again.inputs
    assert first.shape[0] == second.shape[0]
    assert not again.guards


def test_what_no_front_end_made_has_no_text() -> None:
    bare = contract("ij->ji", el.spec(2, 3, name="x"), dtype=None)
    with pytest.raises(el.SpecError, match="not made by a front-end call"):
        to_text(bare)
    assert to_text(el.spec(2, 3, name="x")) == "x[2, 3]"
    assert to_text(constant(np.array([1.0]))) == "[1.0]"


_EXTENTS = st.sampled_from([1, 3, 7, "B", "T", "2*B", "B*T + 1", "B//2"])
_DTYPES = st.sampled_from([None, "float32", "int8", "complex128", "bool"])


@st.composite
def expressions(draw: st.DrawFn) -> Expression:
    """Draw einsums of up to three operands, some of them einsums themselves."""
    letters = draw(st.lists(st.sampled_from("ijkl"), min_size=1, max_size=4, unique=True))
    extents = {letter: draw(_EXTENTS) for letter in letters}
    dtype = draw(_DTYPES)
    terms, operands = [], []
    for number in range(draw(st.integers(1, 3))):
        term = draw(st.lists(st.sampled_from(letters), max_size=3, unique=True))
        operand = el.spec(tuple(extents[i] for i in term), dtype=dtype, name=f"x{number}")
        if draw(st.booleans()):
            term = [*reversed(term)]
            operand = el.einsum(f"{''.join(reversed(term))}->{''.join(term)}", operand)
        terms.append("".join(term))
        operands.append(operand)
    kept = [letter for letter in letters if any(letter in term for term in terms)]
    output = "".join(draw(st.permutations(kept))[: draw(st.integers(0, len(kept)))])
    result = el.einsum(f"{','.join(terms)}->{output}", *operands)
    assert isinstance(result, Expression)
    return result


@given(expressions())
def test_any_einsum_round_trips_through_its_text(expression: Expression) -> None:
    assert parse(to_text(expression)) == expression


@given(expressions())
def test_any_einsum_round_trips_through_json(expression: Expression) -> None:
    assert Expression.from_json(expression.to_json()) == expression
