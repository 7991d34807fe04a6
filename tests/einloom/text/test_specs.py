"""Specs files."""

from __future__ import annotations

from pathlib import Path

import pytest

import einloom as el
from einloom.text.specs import parse_specs, read_specs
from einloom_compiler.errors import EinloomError

EXAMPLE = Path(__file__).parents[3] / "examples" / "specs.toml"


def test_the_example_reads_and_names_what_it_says() -> None:
    specs = {spec.name: spec.expression for spec in read_specs(EXAMPLE)}
    assert specs["blocks"].equation == "abij,abjk->abik"
    assert specs["blocks_across"].equation == "abij,acjk->abick"
    assert specs["outer_batches"].shape == (2, 3, 7, 5)
    assert {str(spec.dtype) for spec in specs.values()} == {"float32", "float64"}


def test_a_dtype_goes_to_operands_without_one() -> None:
    text = """
        [[spec]]
        name = "mixed"
        call = "np.matmul(x[2, 3, 'float64'], y[3, 4])"
        dtype = "float32"
    """
    (spec,) = parse_specs(text)
    assert [str(operand.dtype) for operand in spec.expression.inputs] == ["float64", "float32"]


def test_a_json_document_stands_for_a_call() -> None:
    document = el.parse("np.matmul(x[2, 3], y[3, 4])").to_json()
    (spec,) = parse_specs(f"[[spec]]\nname = 'product'\ncall = '''{document}'''\n")
    assert spec.expression == el.parse("np.matmul(x[2, 3], y[3, 4])")


def table(**keys: str) -> str:
    return "[[spec]]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items()) + "\n"


CALL = '"ij,jk->ik"'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[spec]", "is not a TOML file.*line 1"),
        ("", r"no \[\[spec\]\] table"),
        ("[spec]\nname = 'a'", r"write \[\[spec\]\], not \[spec\]"),
        ("spec = [1]", r"'spec' must be tables"),
        ("[[spek]]\nname = 'a'", "unknown table or key 'spek'"),
        (table(name='"a"', call=CALL, dtyp='"int8"'), r"f.toml, spec 1 \(a\): unknown key 'dtyp'"),
        (table(call=CALL), "f.toml, spec 1: the key 'name' is missing"),
        (table(name='"a"'), r"spec 1 \(a\): the key 'call' is missing"),
        (table(name='"a b"', call=CALL), "'a b' is not an identifier"),
        (table(name='"../a"', call=CALL), "is not an identifier"),
        (table(name="3", call=CALL), "name must be text, not 3"),
        (
            table(name='"a"', call=CALL, cpu="[4]"),
            r"cpu must be text or a list of texts, not \[4\]",
        ),
        (table(name='"a"', call=CALL) * 2, "f.toml, spec 2: the name 'a' is given twice"),
        (table(name='"a"', call=CALL, dtype='"float33"'), r"spec 1 \(a\): 'float33' is not a dty"),
        (table(name='"a"', call='"foo(x[3])"'), r"spec 1 \(a\): 'foo' names no function"),
        (table(name='"a"', call='"np.dot(x[3], y[4])"'), r"spec 1 \(a\): .*3.*4"),
        (table(name='"a"', call='"x[3]"'), "the call is only an operand"),
    ],
)
def test_a_malformed_file_names_the_table_and_the_key(text: str, words: str) -> None:
    with pytest.raises(EinloomError, match=words):
        parse_specs(text, "f.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(el.SpecError, match=r"cannot read the specs file .*nowhere.toml: No such"):
        read_specs(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(el.SpecError, match=r"binary.toml.*decode"):
        read_specs(tmp_path / "binary.toml")
