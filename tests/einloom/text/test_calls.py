"""Calls as text: what is read, and what is refused where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.text.calls import MAX_CHARACTERS, parse, read_shapes
from einloom_compiler.errors import EinloomError
from einloom_compiler.extents import symbol


def shown(text: str, dtype: object = None) -> str:
    return str(parse(text, dtype))


@pytest.mark.parametrize(
    "text",
    [
        'einsum("ij,jk->ik", x[M,K], y[K,N])',
        "np.einsum('ij,jk->ik', x[M, K], y[K, N])",
        'el.einsum("ij,jk->ik", x[M,K], y[K,N])',
        '"ij,jk->ik"(x[M,K], y[K,N])',
        "ij,jk->ik (x[M,K], y[K,N])",
        "ij,jk->ik(x[M,K], y[K,N])",
        "np.einsum('ij,jk->ik',\n    x[M, K],\n    y[K, N],\n)",
        "np.matmul(x[M, K], y[K, N])",
    ],
)
def test_every_way_to_write_an_einsum_gives_one_expression(text: str) -> None:
    x, y = el.spec("M", "K", name="x"), el.spec("K", "N", name="y")
    expected = el.einsum("ij,jk->ik", x, y)
    assert parse(text).shape == expected.shape
    assert parse(text).equation == "ij,jk->ik"
    assert [operand.node for operand in parse(text).inputs] == [x.node, y.node]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("K.batch_dot(x[B,20,1], y[B,30,20], axes=(1, 2), version='2.2.4')", "[B, 1, 30]"),
        ("keras.backend.batch_dot(x[2,3,4,5], y[2,3,5,6], version='2.2.4')", "[2, 3, 4, 6]"),
        ("tf.keras.backend.batch_dot(x[2,3,4,5], y[2,3,5,6])", "[2, 3, 4, 3, 6]"),
        ("K.dot(K.transpose(x[4,3]), y[4,5])", "[3, 5]"),
        ("tf.matmul(x[2,4,3], y[2,4,5], transpose_a=True)", "[2, 3, 5]"),
        ("tf.tensordot(x[2,3,4], y[4,3,5], axes=[[1, 2], [1, 0]])", "[2, 5]"),
        ("tf.linalg.matvec(x[7,2,3], y[7,3])", "[7, 2]"),
        ("keras.ops.matmul(x[B,3,4], y[4,5])", "[B, 3, 5]"),
        ("ops.dot(x[2,3,4], y[7,4,5])", "[2, 3, 7, 5]"),
        ("keras.layers.Dot(axes=(1, 2))([x[B,3,4], y[B,5,3]])", "[B, 4, 5]"),
        ("keras.layers.dot([x[B,3], y[B,3]], axes=-1, normalize=True)", "[B, 1]"),
        ("np.tensordot(x[2,3], y[3,4], 1)", "[2, 4]"),
        ("np.linalg.multi_dot([x[2,3], y[3,4], z[4,5]])", "[2, 5]"),
        ("numpy.vecdot(x[B,3], y[B,3], axis=-1)", "[B]"),
    ],
)
def test_reads_the_calls_of_every_framework(text: str, expected: str) -> None:
    assert shown(text).endswith(expected)


@pytest.mark.parametrize(
    ("text", "equation", "shape"),
    [
        ("bij,bjk->bik", "bij,bjk->bik", "b, i, k"),
        ("ij,jk", "ij,jk->ik", "i, k"),
        ('"ii->"', "ii->", ""),
        ("ab,bc,cd,de,ef,fg,gh->ah", "ab,bc,cd,de,ef,fg,gh->ah", "a, h"),
        ("αβ,βγ->αγ", "αβ,βγ->αγ", "α, γ"),
    ],
)
def test_a_bare_einsum_gets_a_symbol_for_each_index(text: str, equation: str, shape: str) -> None:
    expression = parse(text)
    assert expression.equation == equation
    assert str(expression).endswith(f"[{shape}]")
    names = [operand.name for operand in expression.inputs]
    assert names == ["x", "y", "z", "w", "v", "u", "x0"][: len(names)]


def test_dtypes_stand_in_the_shape_or_beside_the_text() -> None:
    expression = parse("np.matmul(x[2, 3, 'float64'], y[3, 4])", dtype="float32")
    assert [str(operand.dtype) for operand in expression.inputs] == ["float64", "float32"]
    assert parse("np.einsum('->', x['int8'])").dtype == np.int8
    assert parse("np.einsum('->', x[()])").dtype is None
    assert parse("ij,jk->ik", dtype="int16").dtype == np.int16


def test_an_operand_may_be_named_again_by_its_name_alone() -> None:
    expression = parse("np.einsum('ij,kj->ik', x[M, 3], x)")
    assert len(expression.inputs) == 1
    assert shown("np.einsum('ij,kj->ik', x[M, 3], x[M, 3])") == str(expression)


def test_extents_are_integers_names_arithmetic_and_unknowns() -> None:
    expression = parse("np.einsum('ij,k->ijk', x[2*B + 1, None], y[_1])")
    first, second = expression.inputs
    assert first.shape[0] == 2 * symbol("B") + 1
    assert second.shape[0] != symbol("_1")  # a fresh unknown in every text
    again = parse("np.einsum('ij,k->ijk', x[_2, _2], y[_1])")
    assert again.inputs[0].shape[0] == again.inputs[0].shape[1] != again.inputs[1].shape[0]


def test_literals_may_be_operands() -> None:
    f = parse("np.einsum('i,i->i', x[3, 'float64'], [1, -2.5, 0])").compile()
    assert np.array_equal(f(np.ones(3)), [1, -2.5, 0])


def test_a_parsed_expression_computes() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    assert np.array_equal(el.compile("np.matmul(x[M, K], y[K, N])")(x, y), x @ y)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("K.dot(x[3,4], y[4,5]", ["never closed"], "(x[3"),
        ("np.matmul(x[3,4], y)", ["y has no shape yet", "y[B, 20, 1]"], "y)"),
        ("np.matmul(x[3,4], lambda: 1)", ["Lambda", "allowed are"], "lambda"),
        ("np.matmul(x[3,4], y[4,5] + 1)", ["arithmetic outside a shape"], "y[4,5] +"),
        ("np.matmul(x[3,4], y[4,5.5])", ["'5.5' is not an extent"], "5.5"),
        ("np.matmul(x[3,4], y[4,-5])", ["'-5' is not an extent"], "-5"),
        ("np.matmul(x[3,4], y[4,f(5)])", ["'f(5)' is not an extent"], "f(5)"),
        ("np.matmul(x[3,4], y[4,5].float32)", ["write a dtype as 'float32'"], "y[4"),
        ("np.matmul(x[3,1:2], y[3,4])", ["'1:2' is not an extent"], "1:2"),
        ("np.matmul(x[3,4], x[4,5])", ["x is already x[3, 4]"], "x[4,5]"),
        ("np.matmul(*x)", ["an unpacked list is not allowed"], "*x"),
        ("np.matmul(**{})", ["** is not allowed"], "{}"),
        ("np.matmul(x[3,4], y[4,5], foo=1)", ["np.matmul does not take", "foo"], "np.m"),
        ("np.matmull(x[3,4], y[4,5])", ["'np.matmull'", "did you mean np.matmul"], "np.m"),
        ("foo.dot(x[3,4], y[4,5])", ["'foo.dot'", "K.dot", "np.dot"], "foo.dot"),
        ("batch_dot(x[3,4], y[3,4])", ["two meanings", "einloom.keras.backend"], "batch_dot"),
        ("x[3](y[4])", ["a subscripted value cannot be called"], "x[3]"),
        ("np.matmul(3, 4)", ["at least one operand with a shape"], "np.m"),
        ("__import__('os').system('true')", ["the result of a call cannot be called"], "__imp"),
        ("keras.layers.Dot(x[3,4])", ["is a layer", "([x[B, 3], y[B, 3]])"], "keras"),
        ("np.dot(x[3], y[3])(z[3])", ["is a result and cannot be called"], "np.dot"),
        ("ij->(x[3,4])(y[4])", ["the result of an einsum cannot be called"], "ij->"),
        ('"ij->i"(x[3,4], axes=1)', ["takes operands only, no axes="], '"ij'),
        ("np.einsum('i\\x20', x[3])", ["a backslash is not allowed"], "\\x20"),
        ("é,i->(é[3], x[4.5])", ["'4.5' is not an extent"], "4.5"),
    ],
)
def test_the_message_points_at_the_place(text: str, words: list[str], place: str) -> None:
    with pytest.raises(el.SpecError) as caught:
        parse(text)
    message, line, caret = str(caught.value).rsplit("\n", 2)
    for word in words:
        assert word in message
    assert line == f"  {text}"
    assert caret.index("^") - 2 == text.index(place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the text is empty"),
        ("42", "neither a call nor an einsum|names no function"),
        ("(1, 2)", r"the value \(1, 2\), not a call"),
        ("ij", "write ij-> for a sum"),
        ("matmul", "matmul needs its operands"),
        ("K.batch_dott", "did you mean K.batch_dot"),
        ("...ij->ij", "operand 0 of '...ij->ij' has an ellipsis"),
        ("np.dot(" * 61, "nest 61 deep; at most 60"),
        ("x" * (MAX_CHARACTERS + 1), f"at most {MAX_CHARACTERS} are read"),
        (f"np.matmul(x[{'1,' * 65}], y[3,4])", "x has 65 axes; at most 64"),
        ("np.einsum('i->', x[9223372036854775808])", "at most 2[*][*]63 - 1"),
        ("{not json", "not a JSON document"),
        (f"K.dot(x[3], y[{'*'.join('B' * 900)}])", "nests too deeply"),
        (f"K.dot(x[3], {'-' * 5000}1)", "nests too deeply"),
        (f"{'a' * 65}->", "operand 0 has 65 indices; at most 64 axes"),
    ],
)
def test_what_is_no_call_is_refused(text: str, words: str) -> None:
    with pytest.raises(el.SpecError, match=words):
        parse(text)


def test_errors_of_the_called_function_keep_their_kind() -> None:
    with pytest.raises(el.ShapeError, match=r"4.*5|5.*4"):
        parse("np.einsum('i,i->', x[4], y[5])")
    with pytest.raises(el.SubscriptError):
        parse("np.einsum('i..', x[4])")
    with pytest.raises(el.DTypeError, match="must be numbers, not 'abc'"):
        parse("np.dot(x[3], 'abc')")
    with pytest.raises(el.DTypeError, match="must be numbers, not None"):
        parse("np.dot(x[3], None)")
    with pytest.raises(el.DTypeError, match="'float33' is not a dtype") as caught:
        parse("np.einsum('i->', x[4, 'float33'])")
    assert str(caught.value).endswith("^")


def test_a_long_text_shows_only_the_part_around_the_place() -> None:
    text = f"np.linalg.multi_dot([{', '.join(f'x{n}[3,3]' for n in range(99))}, 1 + 1])"
    with pytest.raises(el.SpecError) as caught:
        parse(text)
    _, line, caret = str(caught.value).rsplit("\n", 2)
    assert len(line) < 120
    assert line[caret.index("^") :].startswith("1 + 1")


_PIECES = st.sampled_from(
    [
        *("K.dot", "np.einsum", "tf.matmul", "K.batch_dot", "keras.layers.Dot", "x", "y", "B"),
        *("(", ")", "[", "]", ",", "=", "'ij,jk->ik'", "->", "3", "4", "None", "-", "+", "*"),
        *("axes", "version", "'2.3.1'", "lambda", ":", ".", "é", "\\", "\n", " ", "{", "...", "0"),
    ]
)


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_any_text_is_read_or_refused_with_an_error_of_ours(text: str) -> None:
    try:
        result = parse(text)
    except EinloomError as error:
        assert str(error)
    else:
        assert isinstance(result, el.Expression)


@given(st.text(max_size=40))
def test_any_characters_are_read_or_refused_with_an_error_of_ours(text: str) -> None:
    try:
        parse(text)
    except EinloomError as error:
        assert str(error)


def test_shapes_of_the_command_line_are_read() -> None:
    assert read_shapes(["10,12", "()", "(3,)", "B, 4"]) == [(10, 12), (), (3,), (symbol("B"), 4)]
    with pytest.raises(el.SpecError, match="'1,,2' is not a shape"):
        read_shapes(["1,,2"])


def test_what_is_computed_of_an_ambiguous_call_is_ambiguous() -> None:
    text = "K.dot(K.batch_dot(x[10,12,4,5], y[10,12,5,8]{version}), z[8,3])"
    with pytest.raises(el.AmbiguousMeaningError, match=r"version='2\.2\.4'"):
        el.compile(text.format(version=""))
    settled = el.compile(text.format(version=", version='2.3.1'"))
    assert settled.output_shape == (10, 12, 4, 12, 3)
