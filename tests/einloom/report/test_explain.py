"""The explanation as a whole, in golden files, and its parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

import einloom as el
from einloom.report.explain import explain, explain_html
from einloom.text.calls import parse

Golden = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("post_batch_dot", "K.batch_dot(x[10,12,4,5], y[10,12,5,8], version='2.2.4')"),
        ("post_batch_dot_ambiguous", "K.batch_dot(x[10,12,4,5], y[10,12,5,8])"),
        ("later_only", "K.batch_dot(x[2,3,4], y[2,5,4,6], version='2.3.1')"),
        ("reshaped", "K.batch_dot(x[B,20], y[B,20], axes=1, version='2.3.1')"),
        ("post_dot", "K.dot(c[1,2,3,4,'float32'], x[8,7,4,5,'float32'])"),
        ("symbolic", "np.einsum('bij,bjk->bik', x[B,I,J], y[B,L,K])"),
        ("three_operands", "np.einsum('ij,jk,kl->il', x[2,30], y[30,4], z[4,50])"),
        ("nested", "np.einsum('i,i->i', np.einsum('ij->i', x[M,3]), [1.0,2.0,3.0])"),
        ("operand", "x[B,3,'int8']"),
    ],
)
def test_explanations(name: str, text: str, golden: Golden) -> None:
    golden(f"explain/{name}.txt", explain(parse(text)))


def test_code_adds_schedule_and_a_program() -> None:
    expression = parse("ij,jk->ik")
    plain, full = explain(expression), explain(expression, code=True)
    assert full.startswith(plain)
    assert "\n\nschedule\n" in full
    source = full.partition("\n\ngenerated code\n")[2]
    compile(source, "program", "exec")
    assert "def run(x, y)" in source
    assert source.strip() == expression.compile().source.strip()


def test_every_version_of_batch_dot_is_shown_side_by_side() -> None:
    text = explain(parse("K.batch_dot(x[2,3,4,5], y[2,3,5,6], version='2.2.4')"))
    rows = re.findall(r"^  (2\.\S+) +(\S+) +(\(.*?\)) +(x \S+; y \S+)", text, re.MULTILINE)
    assert rows == [
        ("2.2.4", "abij,abjk->abik", "(2, 3, 4, 6)", "x 0,1; y 0,1"),
        ("2.2.5", "abij,acjk->abick", "(2, 3, 4, 3, 6)", "x 0; y 0"),
        ("2.2.4-theano", "abij,acjk->abick", "(2, 3, 4, 3, 6)", "x 0; y 0"),
    ]


def test_a_version_that_rejects_the_call_says_why() -> None:
    text = explain(parse("K.batch_dot(x[2,3,4], y[2,5,4,6], version='2.3.1')"))
    assert re.search(r"^  2\.2\.4 +rejected", text, re.MULTILINE)
    assert re.search(r"^  2\.2\.4 rejects the call: .*3.*5", text, re.MULTILINE)


def test_guards_are_said_to_be_checked_at_each_call() -> None:
    text = explain(parse("np.einsum('i,i->', x[M], y[N])"))
    assert "M == N" in text
    assert "checked at each call" in text
    assert "guards" not in explain(parse("np.einsum('i,i->', x[M], y[M])"))


def test_no_line_ends_in_a_space_or_colour() -> None:
    text = explain(parse("K.batch_dot(x[10,12,4,5], y[10,12,5,8])"), code=True)
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert "\x1b" not in text


def test_an_expression_explains_itself() -> None:
    expression = el.einsum("ij,jk->ik", el.spec("M", 3, name="x"), el.spec(3, "N", name="y"))
    assert isinstance(expression, el.Expression)
    assert expression.explain() == explain(expression)
    compiled = expression.compile().explain()
    assert compiled.startswith(explain(expression) + "\n\nplan\n  ij,jk->ik\n")
    assert "\n\nmachine\n  " in compiled


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_the_same_text_and_refers_to_nothing_outside() -> None:
    expression = parse("np.einsum('ij,jk->ik', x[M,3], y[3,N])")
    page = _Page()
    page.feed(explain_html(expression))
    assert "script" not in page.tags
    shown = "".join(page.text)
    for line in explain(expression).splitlines():
        assert line in shown
