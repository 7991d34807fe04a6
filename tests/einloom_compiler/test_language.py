"""The einsum grammar, held against NumPy's two parsers and opt_einsum's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import opt_einsum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einloom_compiler.errors import SubscriptError
from einloom_compiler.ir.einsum import EinsumExpr
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.language import expand, parse_string, parse_sublists

SQUARE = (3, 3)

#: Subscripts and operand shapes; every row is tried in the strict and in the wide dialect.
GRAMMAR: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    (" i j , j k -> i k ", ((2, 3), (3, 4))),
    ("ij - > ji", (SQUARE,)),
    ("ij-> ji", (SQUARE,)),
    (". ..", (SQUARE,)),
    ("i\tj", (SQUARE,)),
    ("i\nj", (SQUARE,)),
    ("bA", (SQUARE,)),
    ("ba", (SQUARE,)),
    ("ii", (SQUARE,)),
    ("ii->i", (SQUARE,)),
    ("iij->ij", ((3, 3, 2),)),
    ("ij->iij", (SQUARE,)),
    ("ij->ik", (SQUARE,)),
    ("...", (SQUARE,)),
    ("...i", (SQUARE,)),
    ("i...", (SQUARE,)),
    ("i...j", ((2, 3, 4),)),
    ("i...->i", (SQUARE,)),
    ("i...->...", (SQUARE,)),
    ("ij->...ij", (SQUARE,)),
    ("...ij,...jk", ((5, 2, 3), (5, 3, 4))),
    ("...ij,...jk->...ik", ((5, 2, 3), (6, 5, 3, 4))),
    ("...ij,jk->...ik", ((5, 2, 3), (3, 4))),
    ("i......j", ((2, 3, 4),)),
    ("i..j", ((2, 3, 4),)),
    ("i....j", ((2, 3, 4),)),
    ("i.j", (SQUARE,)),
    ("", ((),)),
    ("->", ((),)),
    (",", ((), ())),
    (",ij->ij", ((), (2, 3))),
    ("i,j,", ((2,), (3,))),
    ("ij>ji", (SQUARE,)),
    ("ij-ji", (SQUARE,)),
    ("ij->->ji", (SQUARE,)),
    ("ij;ji", (SQUARE,)),
    ("ij->j,i", (SQUARE,)),
    ("i1", (SQUARE,)),
    ("i_", (SQUARE,)),
    ("i%", (SQUARE,)),
    ("ij,kl->ik", ((2, 3), (4, 5))),
    ("ijk", (SQUARE,)),
    ("i", (SQUARE,)),
    ("ij", (SQUARE, SQUARE)),
]


def _outcome(evaluate: Callable[[], Any]) -> Any:
    try:
        return np.asarray(evaluate())
    except (ValueError, TypeError, IndexError):
        return None


def _ours(subscripts: str, operands: list[Any], *, is_strict: bool) -> EinsumExpr:
    return expand(
        parse_string(subscripts, is_strict=is_strict), [operand.ndim for operand in operands]
    )


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize(("subscripts", "shapes"), GRAMMAR)
def test_grammar_accepts_and_means_what_numpy_does(
    subscripts: str, shapes: tuple[tuple[int, ...], ...], is_strict: bool
) -> None:
    rng = np.random.default_rng(7)
    operands = [rng.random(shape) for shape in shapes]
    expected = _outcome(lambda: np.einsum(subscripts, *operands, optimize=not is_strict))
    if expected is None:
        with pytest.raises(SubscriptError):
            _ours(subscripts, operands, is_strict=is_strict)
        return
    written = print_einsum(_ours(subscripts, operands, is_strict=is_strict))
    again = np.einsum(written, *operands)
    np.testing.assert_allclose(again, expected)


@pytest.mark.parametrize("subscripts", ["αβ,βγ->αγ", "αβ,βγ", "éa,aÀ->éÀ"])
def test_letters_beyond_ascii_are_opt_einsums(subscripts: str) -> None:
    rng = np.random.default_rng(8)
    x, y = rng.random((2, 3)), rng.random((3, 4))
    expr = _ours(subscripts, [x, y], is_strict=False)
    letters = {index: chr(ord("a") + n) for n, index in enumerate(expr.indices)}
    plain = ",".join("".join(letters[i] for i in term) for term in expr.terms)
    output = "".join(letters[i] for i in expr.output)
    expected = opt_einsum.contract(subscripts, x, y)
    np.testing.assert_allclose(np.einsum(f"{plain}->{output}", x, y), expected)


@pytest.mark.parametrize(
    ("subscripts", "ranks", "words"),
    [
        ("ij->ii", [2], "includes output subscript 'i' multiple times"),
        ("ij->k", [2], "included output subscript 'k' which never appeared in an input"),
        ("ijk", [2], "too many subscripts for operand 0"),
        ("i", [2], "no '...' ellipsis provided to broadcast the extra dimensions"),
        ("ij,jk", [2], "fewer operands provided to einstein sum function than specified"),
        ("ij", [2, 2], "more operands provided to einstein sum function than specified"),
        ("i.j", [2], "that is not part of an ellipsis"),
        ("i%j", [2], "invalid subscript '%' in einstein sum subscripts string"),
    ],
)
def test_messages_keep_numpys_words(subscripts: str, ranks: list[int], words: str) -> None:
    with pytest.raises(SubscriptError) as caught:
        expand(parse_string(subscripts), ranks)
    assert words in str(caught.value)


def test_a_bad_character_is_pointed_at() -> None:
    with pytest.raises(SubscriptError) as caught:
        parse_string("ij,j%->i")
    _, source, pointer = str(caught.value).split("\n")
    assert source[pointer.index("^")] == "%"


def test_sublists_of_any_hashable_label() -> None:
    equation = parse_sublists([["x", "y"], ["y", (1, 2)]], ["x", (1, 2)])
    assert print_einsum(expand(equation, [2, 2])) == "xy,ya->xa"


def test_integer_sublists_are_numpys_letters() -> None:
    expr = expand(parse_sublists([[26, 0], [0, 1]], None), [2, 2])
    assert print_einsum(expr) == "aA,AB->Ba"


def test_labels_that_do_not_compare_need_an_output() -> None:
    with pytest.raises(SubscriptError, match="give the output sublist"):
        parse_sublists([["x", 1]], None)
    assert len(expand(parse_sublists([["x", 1]], [1, "x"]), [2]).output) == 2


def test_strict_sublists_take_0_to_51_only() -> None:
    with pytest.raises(SubscriptError, match=r"valid range \[0, 52\)"):
        parse_sublists([[0, 52]], None, is_strict=True)


_TERM = st.text("abcdef", min_size=0, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(_TERM, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_printed_expressions_parse_back(terms: list[str], random: Any) -> None:
    letters = sorted(set("".join(terms)))
    random.shuffle(letters)
    source = f"{','.join(terms)}->{''.join(letters[: len(letters) // 2])}"
    ranks = [len(term) for term in terms]
    expr = expand(parse_string(source), ranks)
    assert print_einsum(expr) == source
    assert expand(parse_string(print_einsum(expr)), ranks) == expr
