"""Calls seen before: which are, that all else is checked anew, and that nothing leaks."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import pydoc
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import einloom as el
from einloom.compiled import CompiledFunction
from einloom.native import load
from einloom.runtime.prepared import PreparedCalls, PreparedFunction, unprepared
from einloom_compiler.errors import DTypeError, IndicesError, ShapeError, SpecError

Array = npt.NDArray[Any]

needs_native = pytest.mark.skipif(load().module is None, reason="needs the native runtime")


@pytest.fixture
def product() -> CompiledFunction:
    return el.compile("ij,jk->ik", el.spec("M", "K", name="x"), el.spec("K", "N", name="y"))


def _arrays(seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.random((3, 4)), rng.random((4, 5))


def _kept(function: Any) -> int:
    assert isinstance(function, PreparedCalls)
    return function._n_kept


# --- what is kept --------------------------------------------------------------------------------


def test_a_layout_is_kept_once(product: CompiledFunction) -> None:
    for seed in range(3):
        x, y = _arrays(seed)
        np.testing.assert_allclose(product(x, y), x @ y)
        np.testing.assert_allclose(product(x, y, out=np.empty((3, 5))), x @ y)
    assert _kept(product) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1],
        lambda x: x.astype("f4"),
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x[:2],
        lambda x: np.broadcast_to(x[:1], (3, 4)),
        lambda x: np.lib.stride_tricks.as_strided(x, (3, 4), (8, 8)),
        lambda x: _unaligned(x),
        lambda x: x.view(np.matrix).view(type("Sub", (np.ndarray,), {})),
        lambda x: x.tolist(),
        lambda x: x.astype(complex),
        lambda x: x.astype(np.longlong),
    ],
)
def test_another_layout_is_another_call(
    product: CompiledFunction, change: Callable[[Array], Any]
) -> None:
    x, y = _arrays()
    product(x, y)
    for _ in range(3):
        other = change(x)
        np.testing.assert_allclose(product(other, y), np.asarray(other) @ y, rtol=1e-5)
        np.testing.assert_allclose(product(x, y), x @ y)


def _unaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.empty((3, 6)), ShapeError),
        (np.empty((3, 5), "f4"), DTypeError),
        (np.broadcast_to(0.0, (3, 5)), ShapeError),
        ("text", DTypeError),
    ],
)
def test_an_unfit_out_is_refused_after_a_fit_one(
    product: CompiledFunction, out: Any, error: type[Exception]
) -> None:
    x, y = _arrays()
    for _ in range(2):
        product(x, y, out=np.empty((3, 5)))
    with pytest.raises(error):
        product(x, y, out=out)


def test_a_readonly_out_of_a_kept_layout_is_refused(product: CompiledFunction) -> None:
    x, y = _arrays()
    out = np.empty((3, 5))
    for _ in range(2):
        product(x, y, out=out)
    out.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        product(x, y, out=out)


def test_outs_of_many_layouts(product: CompiledFunction) -> None:
    x, y = _arrays()
    memory = np.zeros((6, 10))
    for out in (
        np.empty((3, 5), order="F"),
        memory[::2, ::2],
        memory[2::-1, 4::-1],
        _unaligned(np.zeros((3, 5))),
    ):
        for _ in range(3):
            out[...] = np.nan
            assert product(x, y, out=out) is out
            np.testing.assert_allclose(out, x @ y)


@settings(max_examples=60)
@given(start=st.integers(0, 40), step=st.sampled_from([-2, -1, 1, 2, 3]))
def test_an_out_that_may_overlap_an_operand(start: int, step: int) -> None:
    function = el.compile("i,i->i", el.spec("N", dtype="f8"), el.spec("N", dtype="f8"))
    memory = np.arange(64.0)
    x = memory[20:29]
    stop = start + 9 * step
    if stop < -1 or stop > 64:
        return
    for _ in range(3):
        memory[...] = np.arange(64.0)
        out = memory[start : stop if stop >= 0 else None : step][:9]
        if out.size != 9:
            return
        expected = x * x
        function(x, x, out=out)
        np.testing.assert_array_equal(out, expected)


def test_the_number_and_names_of_arguments_are_checked(product: CompiledFunction) -> None:
    x, y = _arrays()
    for _ in range(2):
        product(x, y, out=np.empty((3, 5)), threads=1)
    with pytest.raises(SpecError, match="takes 2 arrays"):
        product(x)
    with pytest.raises(SpecError, match="takes 2 arrays"):
        product(x, y, x)
    with pytest.raises(TypeError, match="dtype"):
        product(x, y, dtype="f4")  # type: ignore[call-arg]
    unfit: list[Any] = [0, -1, True, 1.5, "two"]
    for threads in unfit:
        with pytest.raises(ValueError, match="threads must be"):
            product(x, y, threads=threads)
    with pytest.raises(TypeError, match="threads"):
        el.einsum("ij,jk->ik", x, y, threads=2)  # type: ignore[call-arg]


def test_plain_arguments_are_told_apart_by_type_and_value() -> None:
    x, y = np.arange(16.0).reshape(4, 4), np.arange(16.0).reshape(4, 4) - 3
    several: list[Any] = [1, 2, ([0], [1]), ((1,), (0,)), [[1, 0], [0, 1]], ([0, 1], [0, 1]), 1, 2]
    for axes in several:
        for _ in range(2):
            np.testing.assert_allclose(el.tensordot(x, y, axes=axes), np.tensordot(x, y, axes=axes))
            np.testing.assert_allclose(el.tensordot(x, y, axes), np.tensordot(x, y, axes))
    axes_list: Any = [[0], [1]]
    for _ in range(3):
        el.tensordot(x, y, axes=axes_list)
    axes_list[1][0] = 0
    np.testing.assert_allclose(el.tensordot(x, y, axes=axes_list), np.tensordot(x, y, axes_list))


def test_operands_by_name_are_not_mixed_up() -> None:
    x, y = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2).T.copy() + 7
    for _ in range(3):
        np.testing.assert_array_equal(el.dot(x, x), x @ x)
        np.testing.assert_array_equal(el.dot(b=x, a=x), x @ x)
        np.testing.assert_array_equal(el.dot(b=y, a=x), x @ y)
        np.testing.assert_array_equal(el.dot(x, b=y), x @ y)
        np.testing.assert_array_equal(el.dot(x, y), x @ y)


def test_einsum_by_all_its_options() -> None:
    x, y = _arrays()
    seen: set[Any] = set()
    for _ in range(3):
        for options in (
            {},
            {"order": "C"},
            {"order": "F"},
            {"dtype": np.float32, "casting": "same_kind"},
            {"dtype": np.dtype("f4"), "casting": "same_kind"},
            {"dtype": "complex128"},
            {"optimize": False},
            {"optimize": "greedy"},
            {"optimize": ["einsum_path", (0, 1)]},
        ):
            got = el.einsum("ij,jk->ki", x, y, **options)
            expected = np.einsum("ij,jk->ki", x, y, **options)
            assert got.dtype == expected.dtype
            seen.add(got.strides)
            np.testing.assert_allclose(got, expected, rtol=1e-5)
        out = np.empty((5, 3))
        assert el.einsum("ij,jk->ki", x, y, out=out) is out
        np.testing.assert_allclose(out, (x @ y).T)
        scalar = el.einsum("ij,ij->", x, x)
        assert type(scalar) is np.float64
        np.testing.assert_allclose(scalar, (x * x).sum())
    assert len(seen) > 1


def test_memory_order_is_kept() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for operand in (x, x.transpose(2, 0, 1), np.asfortranarray(x)):
        first = el.einsum("abc,abc->abc", operand, operand)
        again = el.einsum("abc,abc->abc", operand, operand)
        assert first.strides == again.strides == np.multiply(operand, operand).strides
        np.testing.assert_array_equal(first, again)


def test_keras_tensors_stay_tensors() -> None:
    from einloom.frontends.values import Tensor
    from einloom.keras import backend as K

    x, y = K.ones((2, 3)), K.ones((3, 4))
    for _ in range(3):
        got = K.dot(x, y)
        assert type(got) is Tensor
        assert got.numpy().tolist() == [[3.0] * 4] * 2
        assert type(K.dot(np.ones((2, 3), "f4"), np.ones((3, 4), "f4"))) is Tensor


def test_an_ambiguous_call_warns_each_time() -> None:
    from einloom.keras import backend as K
    from einloom_compiler.errors import SemanticsWarning

    x = np.ones((2, 3, 4, 4), "f4")
    for _ in range(3):
        with pytest.warns(SemanticsWarning):
            K.batch_dot(x, x)


def test_constants_and_three_operands() -> None:
    rng = np.random.default_rng(0)
    w = rng.random((4, 4))
    function = el.compile("ij,jk,kl->il", el.spec("M", 4), w, el.spec(4, "N"))
    x, y = rng.random((3, 4)), rng.random((4, 2))
    for _ in range(3):
        np.testing.assert_allclose(function(x, y), x @ w @ y)
    assert _kept(function) == 1


def test_many_layouts_are_bounded(product: CompiledFunction) -> None:
    y = np.ones((2, 2))
    for n in range(1, 1100):
        x = np.full((n, 2), 1.0)
        assert product(x, y)[-1, -1] == 2.0
    assert _kept(product) == 1024
    np.testing.assert_array_equal(product(np.ones((1, 2)), y), [[2.0, 2.0]])
    product._forget()
    assert _kept(product) == 0
    np.testing.assert_array_equal(product(np.ones((1, 2)), y), [[2.0, 2.0]])


# --- several results, lookups -------------------------------------------------------------------


def _several() -> CompiledFunction:
    x, y = el.spec("M", "K", dtype="f8", name="x"), el.spec("K", "N", dtype="f8", name="y")
    return el.compile((el.matmul(x, y), x + 1.0, el.einsum("ij,ij->", x, x)))


@el.jit
def _arranged(x: Any, y: Any) -> Any:
    product = x @ y
    return {"product": product, "both": [product * 2.0, (x, product)]}


@el.jit
def _looked_up(table: Any, rows: Any) -> Any:
    return el.take(table, rows) * 2.0


def test_several_results_are_kept() -> None:
    function = _several()
    for seed in range(3):
        x, y = _arrays(seed)
        results = function(x, y)
        assert type(results) is tuple
        for result, expected in zip(results, (x @ y, x + 1.0, (x * x).sum()), strict=True):
            np.testing.assert_allclose(result, expected)
            assert result.flags.writeable
        assert _kept(function) == 1
    outs = np.empty((3, 5)), np.empty((3, 4)), np.empty(())
    x, y = _arrays(3)
    assert function(x, y, out=outs)[1] is outs[1]
    np.testing.assert_allclose(outs[0], x @ y)


def test_nested_results_are_kept_and_arranged_anew() -> None:
    before = _kept(_arranged)
    for seed in range(3):
        x, y = _arrays(seed)
        found = _arranged(x, y)
        np.testing.assert_allclose(found["product"], x @ y)
        assert type(found["both"]) is list
        np.testing.assert_allclose(found["both"][0], 2.0 * x @ y)
        np.testing.assert_array_equal(found["both"][1][0], x)
        np.testing.assert_allclose(found["both"][1][1], x @ y)
    assert _kept(_arranged) <= before + 1


_TABLES: dict[str, Callable[[Array], Array]] = {
    "rows": lambda t: t,
    "columns": lambda t: np.asfortranarray(t),
    "steps": lambda t: np.repeat(t, 2, axis=1)[::1, ::2],
    "backwards": lambda t: t[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("name", list(_TABLES))
def test_lookups_are_kept(name: str, dtype: str) -> None:
    table = _TABLES[name](np.arange(7 * 6, dtype="f4").reshape(7, 6))
    rng = np.random.default_rng(0)
    whole = el.compile(el.take(el.spec(7, 6, dtype="f4"), el.spec("B", "T", dtype=dtype)))
    turned = el.jit(lambda t, i: el.transpose(el.take(t, i), (2, 0, 1)))
    for _ in range(3):
        for rows in (
            rng.integers(0, 7, (3, 4)).astype(dtype),
            rng.integers(0, 7, (4, 3)).astype(dtype).T,
        ):
            np.testing.assert_array_equal(whole(table, rows), table[rows])
            np.testing.assert_array_equal(turned(table, rows), table[rows].transpose(2, 0, 1))
    assert _kept(whole) == 2


@pytest.mark.parametrize(
    ("dtype", "wrong"), [("i8", -1), ("i4", 5), ("u8", 2**63 + 1), ("u4", 2**32 - 1)]
)
def test_kept_lookups_refuse_what_is_not_there(dtype: str, wrong: int) -> None:
    table = np.random.default_rng(0).random((5, 3))
    rows = np.zeros((400, 5), dtype)
    looked_up = el.compile(el.take(el.spec(5, 3, dtype="f8"), el.spec("B", "T", dtype=dtype)))
    for threads in (1, 2):
        np.testing.assert_array_equal(looked_up(table, rows, threads=threads), table[rows])
    assert _kept(looked_up) == 1
    rows[399, 2] = wrong
    for threads in (1, 2):
        with pytest.raises(IndicesError, match=f"the index {wrong}, .* extent 5"):
            looked_up(table, rows, threads=threads)
    rows[399, 2] = 4
    np.testing.assert_array_equal(looked_up(table, rows), table[rows])


# --- memory --------------------------------------------------------------------------------------


def _calls() -> dict[str, partial[Any]]:
    x, y = _arrays()
    out = np.empty((3, 5))
    function = el.compile("ij,jk->ik", el.spec(3, 4, dtype="f8"), el.spec(4, 5, dtype="f8"))
    chain = el.compile("ij,jk,kl->il", *(el.spec("N", "N", dtype="f8") for _ in range(3)))
    square = np.ones((70, 70))
    return {
        "out": partial(function, x, y, out=out),
        "new": partial(function, x, y),
        "threads": partial(function, x, y, out=out, threads=2),
        "chain": partial(chain, square, square, square),
        "scalar": partial(el.einsum, "ij,ij->", x, x),
        "order": partial(el.einsum, "ij,jk->ki", x, y, order="C"),
        "axes": partial(el.tensordot, x, y, axes=([1], [0])),
        "slow": partial(function, x.tolist(), y),
        "several": partial(_several(), x, y),
        "arranged": partial(_arranged, x, y),
        "lookup": partial(_looked_up, x, np.array([2, 0])),
        "refused": partial(pytest.raises, ShapeError, function, y, x),
    }


@pytest.mark.parametrize("name", list(_calls()))
def test_calls_leak_neither_references_nor_memory(name: str) -> None:
    call = _calls()[name]
    # Small numbers are everybody's.
    watched = [v for v in (*call.args, *call.keywords.values()) if not isinstance(v, int)]
    for _ in range(5):
        call()
    before = [sys.getrefcount(value) for value in watched]
    tracemalloc.start()
    try:
        for _ in range(50):
            call()
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(500):
            call()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(value) for value in watched] == before
    assert grown < 500 * 16


def test_a_function_in_a_cycle_can_be_collected() -> None:
    x, y = _arrays()
    function: Any = el.compile("ij,jk->ik", el.spec("M", "K"), el.spec("K", "N"))
    function(x, y)
    function.myself = function  # a cycle
    reference = weakref.ref(function)
    del function
    gc.collect()
    assert reference() is None


# --- what Python users expect of a function ------------------------------------------------------


def test_functions_look_like_functions() -> None:
    assert str(inspect.signature(el.einsum)).startswith("(subscripts: 'Any' = None, *operands")
    assert list(inspect.signature(el.matmul).parameters) == ["x1", "x2", "out", "axes"]
    assert el.einsum.__name__ == el.einsum.__qualname__ == "einsum"
    assert el.einsum.__module__ == "einloom.frontends.numpy"
    assert "Einstein summation" in (el.einsum.__doc__ or "")
    assert inspect.isroutine(el.einsum)
    page = pydoc.plain(pydoc.render_doc(el.einsum))
    assert "subscripts: 'Any'" in page
    assert pickle.loads(pickle.dumps(el.einsum)) is el.einsum
    assert copy.deepcopy(el.matmul) is el.matmul
    assert isinstance(el.einsum, PreparedFunction)
    assert repr(el.einsum) == "<einloom function einsum>"


def test_a_function_becomes_a_method_in_a_class() -> None:
    class Product:
        multiply = el.matmul

        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.eye(2)

    for _ in range(3):
        got = Product().multiply(np.ones((2, 2)))
        np.testing.assert_array_equal(got, np.ones((2, 2)))


def test_compiled_functions_look_like_functions(product: CompiledFunction) -> None:
    signature = "(*arrays: 'Any', out: 'Any' = None, threads: 'int | None' = None) -> 'Any'"
    assert str(inspect.signature(product)) == signature
    assert "optimize" in inspect.signature(CompiledFunction).parameters
    x, y = _arrays()
    product(x, y)
    again = pickle.loads(pickle.dumps(product))
    np.testing.assert_array_equal(again(x, y), product(x, y))
    assert again.equation == product.equation
    np.testing.assert_array_equal(copy.copy(product)(x, y), product(x, y))
    np.testing.assert_array_equal(product.__call__(x, y), product(x, y))


def test_a_subclass_that_overrides_the_call_is_asked() -> None:
    class Doubled(CompiledFunction):
        def __call__(self, *arrays: Any, out: Any = None, threads: Any = None) -> Any:
            return 2 * super().__call__(*arrays, out=out, threads=threads)

    class Same(CompiledFunction):
        pass

    expression = el.compile("ij,jk->ik", el.spec("M", "K"), el.spec("K", "N")).expression
    x, y = _arrays()
    doubled, same = Doubled(expression), Same(expression)
    for _ in range(3):
        np.testing.assert_allclose(doubled(x, y), 2 * (x @ y))
        np.testing.assert_allclose(partial(doubled, x)(y), 2 * (x @ y))
        np.testing.assert_allclose(same(x, y), x @ y)


def test_a_replaced_call_is_asked(
    product: CompiledFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    from einloom.runtime.prepared import adopted

    @adopted
    class Own(CompiledFunction):
        def __call__(self, *arrays: Any, out: Any = None, threads: Any = None) -> Any:
            return super().__call__(*arrays, out=out, threads=threads)

    class Derived(Own):
        pass

    own, derived = Own(product.expression), Derived(product.expression)
    x, y = _arrays()
    for _ in range(2):
        own(x, y)
        derived(x, y)
    monkeypatch.setattr(Own, "__call__", lambda self, *arrays: "replaced")
    assert own(x, y) == "replaced"
    assert partial(own, x)(y) == "replaced"
    assert derived(x, y) == "replaced"


def test_calls_can_be_made_as_if_they_were_new(product: CompiledFunction) -> None:
    x, y = _arrays()
    product(x, y)
    with unprepared():
        np.testing.assert_allclose(product(x, y), x @ y)
    np.testing.assert_allclose(product(x, y), x @ y)
    assert _kept(product) == 1


@needs_native
@pytest.mark.parametrize("kind", ["compiled", "derived", "traced", "front end"])
def test_a_kept_call_runs_no_python(kind: str, product: CompiledFunction) -> None:
    class Derived(CompiledFunction):
        pass

    functions: dict[str, Any] = {
        "compiled": product,
        "derived": Derived(product.expression),
        "traced": el.jit(lambda x, y: x @ y),
        "front end": el.matmul,
    }
    function = functions[kind]
    x, y = _arrays()
    function(x, y)
    called: list[str] = []

    def profile(frame: Any, event: str, argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        function(x, y)
    finally:
        sys.setprofile(None)
    assert called == []
