"""Compiled functions: guards, dtypes, out, threads, constants, and what is shared."""

import os
import threading
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom_compiler.codegen import jit
from einloom_compiler.errors import (
    DTypeError,
    ShapeError,
    SpecError,
    SubscriptError,
    UnsupportedError,
)


def _matmul() -> Any:
    return el.compile("ij,jk->ik", el.spec("M", "K", name="x"), el.spec("L", "N", name="y"))


def test_a_kernel_is_compiled_for_structure_and_dtype_not_for_sizes() -> None:
    f = el.compile("bij,bjk->bik", el.spec("B", 4, 5), el.spec("B", 5, "N"))
    rng = np.random.default_rng(0)
    before = jit.build.cache_info().currsize
    for b, n in [(2, 40), (7, 64), (64, 300), (3, 96), (5, 77), (9, 1000), (1, 101), (2, 640)]:
        x, y = rng.random((b, 4, 5)), rng.random((b, 5, n))
        np.testing.assert_allclose(f(x, y), x @ y)
    # A few widths of register blocks serve all extents; without a batch the structure is another.
    assert jit.build.cache_info().currsize <= before + 4


def test_differently_lettered_and_ordered_equations_share_a_kernel() -> None:
    x, y = np.ones((50, 60)), np.ones((60, 70))  # too long for kernels of one extent
    el.einsum("ij,jk->ik", x, y)
    before = jit.build.cache_info().currsize
    el.einsum("ab,bc->ac", x, y)
    el.einsum("bc,ab->ac", y, x)
    assert jit.build.cache_info().currsize == before


def test_symbolic_shapes_are_inspectable() -> None:
    f = el.compile("bij,bjk->bik", el.spec("B", 4, 5), el.spec("B", 5, 8))
    assert f.equation == "bij,bjk->bik"
    assert str(f.output_shape) == "(B, 4, 8)"
    assert str(f.cost.flops) == "320*B"
    plan = f.plan_for((3, 4, 5), (3, 5, 8))
    assert plan.flops == 960
    assert plan.peak_bytes == 0
    assert plan.memory_bytes() == plan.memory_bytes(threads=2) == 0
    assert "kernel_1" in f.source
    assert "define" in f.llvm
    assert "ret" in f.asm


def test_an_equation_that_might_hold_is_checked_at_call_time() -> None:
    f = _matmul()
    assert [str(guard) for guard in f.expression.guards] == [
        "K == L  (index 'j': axis 1 of operand 0 and axis 0 of operand 1)"
    ]
    assert f(np.ones((2, 3)), np.ones((3, 4))).shape == (2, 4)
    with pytest.raises(ShapeError, match=r"the guard K == L does not hold: 3 != 4"):
        f(np.ones((2, 3)), np.ones((4, 5)))


def test_an_equation_that_cannot_hold_is_an_error_at_once() -> None:
    with pytest.raises(ShapeError, match=r"K \+ 1 == K cannot hold|K == K \+ 1 cannot hold"):
        el.compile("ij,jk->ik", el.spec("M", "K"), el.spec("K + 1", "N"))


def test_one_symbol_is_one_extent_across_operands() -> None:
    f = el.compile("bi,bj->bij", el.spec("B", 2, name="x"), el.spec("B", 3, name="y"))
    with pytest.raises(ShapeError) as caught:
        f(np.ones((4, 2)), np.ones((5, 3)))
    assert str(caught.value) == (
        "extent B is 4 in axis 0 of operand 'x' (shape (4, 2)) but 5 in axis 0 of operand 'y' "
        "(shape (5, 3)); it must be the same"
    )


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((4, 3), (5, 8)), r"operand 'x' has rank 2 \(shape \(4, 3\)\) but was declared with rank"),
        (((1, 4, 6), (1, 5, 8)), "axis 2 of operand 'x' has extent 6"),
    ],
)
def test_shapes_that_were_not_declared_are_named(shapes: Any, words: str) -> None:
    f = el.compile("bij,bjk->bik", el.spec("B", 4, 5, name="x"), el.spec("B", 5, 8, name="y"))
    with pytest.raises(ShapeError, match=words):
        f(*(np.ones(shape) for shape in shapes))


def test_empty_batches_are_legal() -> None:
    f = el.compile("bij,bjk->bik", el.spec("B", 4, 5), el.spec("B", 5, 8))
    assert f(np.ones((0, 4, 5)), np.ones((0, 5, 8))).shape == (0, 4, 8)
    g = _matmul()
    np.testing.assert_array_equal(g(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))


def test_without_dtype_each_call_settles_it() -> None:
    f = _matmul()
    assert f.dtype is None
    for dtype in ("float32", "float64", "int32"):
        got = f(np.ones((2, 3), dtype), np.ones((3, 2), dtype))
        assert got.dtype == dtype
    assert f(np.ones((2, 3), "int32"), np.ones((3, 2), "float32")).dtype == np.float64


def test_a_given_dtype_is_never_cast_to() -> None:
    f = el.compile("i,i->", el.spec("N", dtype="float32", name="v"), el.spec("N", dtype="float32"))
    with pytest.raises(DTypeError, match=r"operand 'v' has dtype float64 but was declared as"):
        f(np.ones(3), np.ones(3, "f4"))


def test_an_array_among_the_operands_is_a_constant() -> None:
    w = np.arange(6.0).reshape(3, 2)
    f = el.compile("bi,ij->bj", el.spec("B", 3, dtype="float64"), w)
    x = np.ones((4, 3))
    np.testing.assert_allclose(f(x), x @ w)
    assert len(f.expression.inputs) == 1


def test_out_is_written_and_may_overlap() -> None:
    f = el.compile("ij,jk->ik", el.spec("M", "M"), el.spec("M", "M"))
    x = np.arange(9.0).reshape(3, 3)
    expected = x @ x
    out = np.empty((3, 3), order="F")
    assert f(x, x, out=out) is out
    np.testing.assert_allclose(out, expected)
    f(x, x, out=x)
    np.testing.assert_allclose(x, expected)


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        (np.zeros((3, 2)), ShapeError, r"out has shape \(3, 2\)"),
        (np.zeros((2, 2), "f4"), DTypeError, "out has dtype float32"),
        ([[0.0]], DTypeError, "must be a NumPy array"),
        (np.broadcast_to(np.zeros(2), (2, 2)), ShapeError, "read-only"),
    ],
)
def test_an_unfit_out_is_refused(out: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        _matmul()(np.ones((2, 3)), np.ones((3, 2)), out=out)


def test_a_result_never_aliases_an_operand() -> None:
    f = el.compile("ij->ji", el.spec("M", "N"))
    x = np.arange(6.0).reshape(2, 3)
    got = f(x)
    np.testing.assert_array_equal(got, x.T)
    assert not np.shares_memory(got, x)


@pytest.mark.parametrize("threads", [0, -1, "two", True, 1.5])
def test_threads_are_positive_integers(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads must be a positive integer"):
        _matmul()(np.ones((2, 2)), np.ones((2, 2)), threads=threads)


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from einloom.runtime.threads import available_threads

    monkeypatch.setenv("EINLOOM_NUM_THREADS", "3")
    assert available_threads() == 3
    monkeypatch.setenv("EINLOOM_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="EINLOOM_NUM_THREADS must be a positive integer"):
        available_threads()


def test_python_threads_may_call_one_function_at_once() -> None:
    f = _matmul()
    x = np.random.default_rng(1).random((40, 40))
    expected = f(x, x, threads=1)
    results: list[bool] = []

    def work() -> None:
        results.extend(np.array_equal(f(x, x, threads=2), expected) for _ in range(20))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_after_the_parent_used_threads() -> None:
    f = _matmul()
    x = np.random.default_rng(1).random((40, 40))
    expected = f(x, x, threads=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(f(x, x, threads=2), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("ij,jk->ik", (2, 3)), SubscriptError),
        (("ij,jk->ik", (2, 3), (4, 5)), ShapeError),
        (("ij;jk", (2, 3), (4, 5)), SubscriptError),
        ((5,), SpecError),
    ],
)
def test_bad_targets_are_refused_before_anything_is_compiled(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    before = jit.build.cache_info().currsize
    with pytest.raises(error):
        el.compile(*arguments)
    assert jit.build.cache_info().currsize == before


def test_dtypes_without_a_kernel_are_named() -> None:
    with pytest.raises(UnsupportedError, match="no kernel is generated for dtype object"):
        el.compile("i->", el.spec("N"))(np.array([1, 2], dtype=object))


def test_the_number_of_arrays_is_checked() -> None:
    with pytest.raises(SpecError, match=r"takes 2 arrays \(x, y\), but 1 given"):
        _matmul()(np.ones((2, 3)))


def test_two_operands_of_one_name_must_be_one_operand() -> None:
    x = el.spec(3, 3, name="x")
    assert el.compile("ij,jk->ik", x, x)(np.eye(3)).shape == (3, 3)
    with pytest.raises(SpecError, match="two different operands are called 'x'"):
        el.compile("ij,jk->ik", x, el.spec(3, 4, name="x"))


def test_a_spec_refuses_to_become_an_array() -> None:
    with pytest.raises(SpecError, match="symbolic and has no values"):
        np.asarray(el.spec(2, 3))


@pytest.mark.parametrize("name", ["batch_dot", "Dot", "bmm"])
def test_names_that_depend_on_a_framework_say_where_to_look(name: str) -> None:
    with pytest.raises(AttributeError, match=r"einloom\.") as caught:
        getattr(el, name)
    assert name in str(caught.value)


def test_batch_dot_names_both_namespaces_and_their_difference() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = el.batch_dot
    message = str(caught.value)
    assert "einloom.keras.backend.batch_dot" in message
    assert "einloom.tensorflow.keras.backend.batch_dot" in message
    assert "only the first axis is batch" in message


def test_calls_of_a_seen_layout_are_checked_as_well_as_the_first() -> None:
    f = el.compile("ij,jk->ik", el.spec("M", "K"), el.spec("K", "N"))
    rng = np.random.default_rng(2)
    x, y = rng.random((3, 4)), rng.random((4, 5))
    for _ in range(3):
        np.testing.assert_allclose(f(x, y), x @ y)
        np.testing.assert_allclose(f(x[:, ::-1], y[::-1]), x @ y)
    out = np.empty((3, 5))
    for _ in range(3):
        assert f(x, y, out=out) is out
    np.testing.assert_allclose(out, x @ y)
    square = rng.random((4, 4))
    expected = square @ square @ square
    f(square, square, out=np.empty((4, 4)))
    overlapping = square.copy()
    f(overlapping, square, out=overlapping)
    f(overlapping, square, out=overlapping)
    np.testing.assert_allclose(overlapping, expected)
    out.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        f(x, y, out=out)
    with pytest.raises(ShapeError):
        f(x, y.T)
    with pytest.raises(SpecError, match="takes 2 arrays"):
        f(x)


def test_each_result_is_a_new_array() -> None:
    f = el.compile("ij,jk->ik", el.spec(2, 2), el.spec(2, 2))
    first = f(np.eye(2), np.eye(2))
    second = f(2 * np.eye(2), np.eye(2))
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, np.eye(2))
