"""Memory of large results: it is the array's own, kept when dropped, and never shared."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import einloom as el
from einloom.native import load

Array = npt.NDArray[Any]

pytestmark = pytest.mark.skipif(load().module is None, reason="needs the native runtime")

#: Rows of 1024 float32 from which a result has memory of its own kind: 1 MB.
LARGE = 256


def _outer(rows: int, value: float) -> Array:
    x, y = np.full(rows, value, np.float32), np.ones(1024, np.float32)
    result: Array = el.einsum("i,j->ij", x, y)
    return result


def _prepared(rows: int) -> None:
    """Let calls of this size be made by the native runtime."""
    _outer(rows, 0.0)
    _outer(rows, 0.0)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def test_dropped_memory_serves_the_next_result() -> None:
    _prepared(4 * LARGE)
    first = _outer(4 * LARGE, 1.0)
    address = _address(first)
    assert first.flags.owndata
    assert address % 64 == 0
    del first
    second = _outer(4 * LARGE, 2.0)
    assert _address(second) == address
    assert (second == 2.0).all()


def test_results_that_are_alive_are_never_written_again() -> None:
    sizes = [LARGE - 1, LARGE, LARGE + 1, 2 * LARGE, 3 * LARGE, 9 * LARGE]
    for rows in sizes:
        _prepared(rows)
    rng = random.Random(0)
    alive: list[tuple[float, Array]] = []
    for number in range(200):
        rows = rng.choice(sizes)
        alive.append((float(number), _outer(rows, number)))
        assert alive[-1][1].shape == (rows, 1024)
        while len(alive) > 4:
            alive.pop(rng.randrange(len(alive)))
    for value, array in alive:
        assert (array == value).all()


def test_views_keep_the_memory() -> None:
    _prepared(LARGE)
    view = _outer(LARGE, 5.0)[3:4, ::2]
    for value in range(3):
        _outer(LARGE, value)
    assert (view == 5.0).all()


def test_a_result_can_be_resized() -> None:
    _prepared(LARGE)
    array = _outer(LARGE, 3.0)
    array.resize((40 * LARGE, 1024), refcheck=False)
    assert (array[:LARGE] == 3.0).all()
    assert not array[LARGE:].any()
    array.resize((1, 4), refcheck=False)
    assert array.tolist() == [[3.0] * 4]


def test_other_arrays_are_allocated_as_before() -> None:
    _prepared(LARGE)
    result = _outer(LARGE, 1.0)
    assert _handler(result) == "einloom"
    assert _handler(np.empty((LARGE, 1024), np.float32)) == _handler(np.empty(3))
    assert _handler(np.empty(3)) != "einloom"


def _handler(array: Array) -> str:
    from numpy._core.multiarray import get_handler_name

    return str(get_handler_name(array))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_memory_of_its_own() -> None:
    _prepared(LARGE)
    kept = _outer(LARGE, 1.0)
    child = os.fork()
    if child == 0:
        is_right = (_outer(LARGE, 2.0) == 2.0).all() and (kept == 1.0).all()
        del kept
        is_right = is_right and (_outer(LARGE, 3.0) == 3.0).all()
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (kept == 1.0).all()
