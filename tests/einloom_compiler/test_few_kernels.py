"""Shipped code: few kernels of contractions serve all sizes, each nearly as fast as its best."""

from functools import partial

from einloom_compiler import families
from einloom_compiler.families.base import Problem
from einloom_compiler.families.few import TOLERANCE, Choice, few_kernels
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.formula import open_symbol
from einloom_compiler.lowering.iteration import c_strides, iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import named_machine

_ROWS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 512, 4096)


def _product(rows: int, columns: int = 128) -> Problem:
    """Return a product of open rows with a constant matrix, as libraries have it."""
    expr = expand(parse_string("ij,jk->ik"), [2, 2])
    size = open_symbol(rows, "B", 0)
    shapes = [(size, 64), (64, columns)]
    strides = [c_strides(shape) for shape in shapes]
    space = iteration_space(expr, shapes, strides, c_strides((size, columns)), letters_of(expr))
    arithmetics = Arithmetics(("float32",) * 2, "float32", "float32", (False, False))
    return Problem(space, arithmetics, named_machine("x86-64-v3"), (False, True))


def _seconds(problem: Problem, choice: Choice) -> float:
    family, schedule = choice
    return family.seconds(problem, schedule)


def test_few_schedules_serve_all_sizes_nearly_as_fast_as_the_best() -> None:
    problems = [_product(rows) for rows in _ROWS]
    with few_kernels() as kernels:
        drafts = [kernels.draft(partial(families.choose, problem)) for problem in problems]
        kernels.settle()
        final = [kernels.final(draft) for draft in drafts]
    alone = [families.choose(problem) for problem in problems]
    assert [draft.result for draft in drafts] == alone
    assert len(set(final)) < len(set(alone))
    assert set(final) <= set(alone)
    for problem, choice, best in zip(problems, final, alone, strict=True):
        choice[0].check(problem, choice[1])
        assert _seconds(problem, choice) <= TOLERANCE * _seconds(problem, best)


def test_plans_are_made_again_where_they_would_choose_otherwise() -> None:
    problems = [_product(rows) for rows in _ROWS]
    made: list[int] = []

    def plan(number: int) -> Choice:
        made.append(number)
        return families.choose(problems[number])

    with few_kernels() as kernels:
        drafts = [kernels.draft(partial(plan, number)) for number in range(len(problems))]
        kernels.settle()
        made.clear()
        final = [kernels.final(draft) for draft in drafts]
        assert final == [families.choose(problem) for problem in problems]
    assert made == [n for n, draft in enumerate(drafts) if draft.result != final[n]]
    assert 0 < len(made) < len(problems)


def test_a_problem_that_comes_later_has_its_own_where_none_of_the_few_serves_it() -> None:
    few, many, other = _product(2), _product(4096), _product(96, columns=1)
    with few_kernels() as kernels:
        kernels.draft(partial(families.choose, few))
        kernels.settle()
        assert families.choose(few) == families.choose(_product(2))
        later = [families.choose(many), families.choose(other)]
    assert later == [families.choose(many), families.choose(other)]
    assert later[0] != families.choose(few)
