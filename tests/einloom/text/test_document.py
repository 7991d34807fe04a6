"""JSON documents: what is written reads back, what is not ours is refused."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.expression import Expression, constant
from einloom.frontends.build import contract
from einloom.text import document
from einloom.text.calls import parse
from einloom_compiler.errors import EinloomError

from_json = Expression.from_json


@pytest.mark.parametrize(
    "text",
    [
        "np.einsum('ij,jk->ik', x[M, K], y[K, N])",
        "np.einsum('i,i->i', np.einsum('ij->i', x[M, 3, 'float32']), y[M, 'float32'])",
        "K.batch_dot(x[B, 20], y[B, 20], axes=1, version='2.2.4')",
        "K.batch_dot(x[2, 3, 4, 5], y[2, 3, 5, 6], version='2.3.1')",
        "K.dot(K.transpose(x[4, 3]), y[4, 5])",
        "K.reshape(x[4, 3], (2, -1))",
        "keras.layers.Dot(axes=[1, 2], normalize=True)([x[B, 3, 4], y[B, 5, 3]])",
        "tf.matmul(a[2, 4, 3], b[2, 4, 5], transpose_a=True)",
        "np.linalg.multi_dot([a[2, 3], b[3, 4], c[4, 5]])",
        "keras.ops.tensordot(a[2, 3], b[3, 2], axes=[[0, 1], [1, 0]])",
        "x[2*B + 1, 3]",
    ],
)
def test_documents_round_trip(text: str) -> None:
    expression = parse(text)
    again = from_json(expression.to_json())
    assert again == expression
    assert again.to_json() == expression.to_json()
    assert parse(expression.to_json()) == expression


def test_a_document_states_arguments_and_derived_facts() -> None:
    expression = parse("K.batch_dot(x[B, 20, 1, 'float32'], y[B, 30, 20, 'float32'], axes=(1, 2))")
    data = json.loads(expression.to_json())
    assert data["einloom"] == document.SCHEMA
    assert data["operands"][0] == {"name": "x", "shape": ["B", 20, 1], "dtype": "float32"}
    assert data["expression"]["call"] == "keras.backend.batch_dot"
    assert data["expression"]["arguments"] == {
        "x": {"operand": "x"},
        "y": {"operand": "y"},
        "axes": {"tuple": [1, 2]},
        "version": "2.2.4",
    }
    assert data["derived"] == {
        "call": "K.batch_dot(x[B, 20, 1, 'float32'], y[B, 30, 20, 'float32'], axes=(1, 2), "
        "version='2.2.4')",
        "equation": expression.equation,
        "shape": ["B", 1, 30],
        "dtype": "float32",
    }


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        np.array([[np.nan, np.inf, -0.0], [1, 2, 3]]),
        np.asfortranarray(np.arange(6).reshape(2, 3) * (1 + 2j)),
        np.array([[True, False, True], [False] * 3]),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.zeros((2, 0, 3)),
    ],
    ids=str,
)
def test_constants_keep_every_bit(array: Any) -> None:
    letters = "abc"[: array.ndim]
    expression = el.einsum(f"a,{letters}->a", el.spec(2, dtype="float32", name="x"), array)
    again = from_json(expression.to_json())
    kept = again.node.operands[1].array  # type: ignore[union-attr]
    assert kept.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(kept, array)
    assert kept.tobytes() == np.ascontiguousarray(array, kept.dtype).tobytes()


def test_bfloat16_constants_are_kept() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    again = from_json(el.einsum("i,i->", el.spec(2, name="x"), array).to_json())
    kept = again.node.operands[1].array  # type: ignore[union-attr]
    assert kept.dtype == array.dtype
    assert kept.tobytes() == array.tobytes()


def test_unknown_extents_are_fresh_and_stay_equal() -> None:
    rows = el.spec(None).shape[0]
    x, y = el.spec(rows, 3, name="x"), el.spec(rows, 4, name="y")
    again = from_json(el.einsum("ij,ik->jk", x, y).to_json())
    first, second = again.inputs
    assert first.shape[0] == second.shape[0] != rows
    assert not again.guards


# --- tampering -----------------------------------------------------------------------------------

GOOD = json.loads(
    parse("np.einsum('ij,jk->ik', x[M, 3, 'float32'], [[1.0], [2.0], [3.0]])").to_json()
)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    data = copy.deepcopy(GOOD)
    change(data)
    return json.dumps(data)


def _operand(data: dict[str, Any]) -> dict[str, Any]:
    operand: dict[str, Any] = data["operands"][0]
    return operand


def _arguments(data: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = data["expression"]["arguments"]
    return arguments


def _constant(data: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = _arguments(data)["operands"]["tuple"][1]
    return entry


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(einloom=2), "schema 2; this einloom reads 1"),
        (lambda d: d.update(einloom=True), "schema True"),
        (lambda d: d.update(extra=1), "the document: unknown key 'extra'"),
        (lambda d: d.pop("derived"), "the key 'derived' is missing"),
        (lambda d: d.update(operands={}), "operands: must be a list"),
        (lambda d: d["operands"].append(_operand(d)), "two operands called 'x'"),
        (lambda d: _operand(d).update(name="not a name"), "must be a Python identifier"),
        (lambda d: _operand(d).update(name=3), r"operands\[0\].name: must be text"),
        (lambda d: _operand(d).update(shape=["M", -3]), "non-negative, not -3"),
        (lambda d: _operand(d).update(shape=["M", 3.5]), "not 3.5"),
        (lambda d: _operand(d).update(shape=[1] * 65), "has 65 axes; at most 64"),
        (lambda d: _operand(d).update(shape=["M", "*".join(["(A+1)"] * 11)]), "at most 10 of"),
        (lambda d: _operand(d).update(shape=["f(M)", 3]), "is not an extent"),
        (lambda d: _operand(d).update(dtype="object"), "no kernel is generated for dtype 'object'"),
        (lambda d: _operand(d).update(dtype="float33"), "is not a dtype"),
        (lambda d: _operand(d).update(dtype="O,O"), "no kernel is generated|not a dtype"),
        (lambda d: d["expression"].update(call="os.system"), "names no front-end function"),
        (lambda d: d["expression"].update(call="numpy.einsun"), "did you mean numpy.einsum"),
        (lambda d: d["expression"].update(call=["numpy.einsum"]), "call: must be text"),
        (lambda d: d.update(expression=3), "is the value 3, not a call"),
        (lambda d: d.update(expression={"operand": "q"}), "no operand 'q'; declared: x"),
        (lambda d: d.update(expression={"foo": 1}), "has the keys 'foo'"),
        (lambda d: _arguments(d).update(out=None), "unknown key 'out'"),
        (lambda d: _arguments(d).pop("subscripts"), "the key 'subscripts' is missing"),
        (lambda d: _arguments(d).update(operands=[]), "operands: must be a tuple"),
        (lambda d: _arguments(d).update(operands={"tuple": []}), "no operand"),
        (lambda d: _arguments(d).update(operands={"tuple": 3}), "must be a list"),
        (lambda d: _arguments(d).update(subscripts=5), "does not take|must be|subscripts"),
        (lambda d: _constant(d).update(constant="!!"), "is not base64"),
        (lambda d: _constant(d).update(constant="AAAA"), "has 3 bytes, but shape"),
        (lambda d: _constant(d).update(shape=[3, 10**15]), "has 24 bytes, but shape"),
        (lambda d: _constant(d).update(shape=[-3, -1]), "must be non-negative integers"),
        (lambda d: _constant(d).update(dtype="object"), "no kernel is generated"),
        (lambda d: d["derived"].update(equation="ij,jk->ki"), "derived.equation: is 'ij,jk->ki'"),
        (lambda d: d["derived"].update(shape=["M", 2]), r"derived.shape: is \['M', 2\]"),
        (lambda d: d["derived"].update(shape=["M"]), "derived.shape"),
        (lambda d: d["derived"].update(dtype="float32"), "calls give 'float64'"),
    ],
)
def test_a_changed_document_is_refused(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(EinloomError, match=words):
        from_json(changed(change))


def test_the_unchanged_document_is_accepted() -> None:
    assert from_json(json.dumps(GOOD)).equation == "ij,jk->ik"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a JSON document"),
        ("{", "in line 1, column 2"),
        ("[]", "the document: must be an object"),
        ('{"einloom": NaN}', "NaN is not allowed"),
        ('{"einloom": 1, "einloom": 1}', "'einloom' is given twice"),
        ("[" * 100_000, "not a JSON document"),
    ],
)
def test_what_is_no_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(el.SpecError, match=words):
        from_json(text)


def test_a_call_tree_too_deep_or_too_wide_is_refused() -> None:
    def nest(data: dict[str, Any]) -> None:
        for _ in range(document.MAX_DEPTH + 1):
            data["expression"] = {
                "call": "numpy.einsum",
                "arguments": {
                    "subscripts": "ij->ij",
                    "operands": {"tuple": [data["expression"]]},
                    "optimize": True,
                },
            }

    with pytest.raises(el.SpecError, match="more than 64 deep"):
        from_json(changed(nest))
    with pytest.raises(el.SpecError, match="more than 10000 values"):
        from_json(changed(lambda d: _arguments(d).update(subscripts=[0] * 10_001)))
    deep = el.spec(2, 2, name="x")
    for _ in range(20):  # each step names the one before twice: a million values when unfolded
        deep = el.einsum("ij,jk->ik", el.spec(2, 2, name="x"), deep)
    assert from_json(deep.to_json()) == deep


def test_an_operand_that_is_not_used_is_refused() -> None:
    extra = {"name": "unused", "shape": [3], "dtype": None}
    with pytest.raises(el.SpecError, match="does not use unused"):
        from_json(changed(lambda d: d["operands"].append(extra)))


def test_an_error_of_the_call_keeps_its_kind() -> None:
    with pytest.raises(el.ShapeError, match="'j'"):
        from_json(changed(lambda d: _operand(d).update(shape=["M", 4])))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(el.SpecError, match="not made by a front-end call"):
        contract("ij->ji", el.spec(2, 3, name="x"), dtype=None).to_json()
    with pytest.raises(el.SpecError, match="dtype object cannot be written"):
        constant(np.array([None])).to_json()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["operand", "constant", "call", "arguments", "tuple", "dtype", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["operands", "expression", "derived", "einloom"]), _VALUES)
def test_any_value_in_any_place_is_refused_with_an_error_of_ours(key: str, value: Any) -> None:
    data = {**GOOD, key: value}
    if value == GOOD[key]:
        return
    with pytest.raises(EinloomError):
        from_json(json.dumps(data))


def test_base64_is_of_little_endian_c_order() -> None:
    raw = base64.b64decode(_constant(copy.deepcopy(GOOD))["constant"])
    assert np.frombuffer(raw, "<f8").tolist() == [1.0, 2.0, 3.0]


def test_operands_without_names_read_back_equal() -> None:
    expression = el.einsum("bij,bjk->bik", el.spec("B", 4, 5), el.spec("B", 5, 8))
    again = el.Expression.from_json(expression.to_json())
    assert again == expression
    assert hash(again) == hash(expression)
    assert el.einsum("bij,bjk->bik", el.spec("B", 4, 5), el.spec("B", 5, 9)) != expression
