"""Contenders in processes of their own."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.aot_turns import Worker, taken
from benchmarks.timing import Effort


def test_workers_take_turns_and_say_why_they_cannot(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    calls = {
        "array": "f = lambda x: np.log1p(x)",
        "list": "print('hello')\nf = lambda x: [np.log1p(x), None]",
        "none": "raise ValueError('no contender')",
    }
    workers = {
        name: Worker("import math", load, tmp_path / name, tmp_path / "x.npy")
        for name, load in calls.items()
    }
    with workers["array"], workers["list"], workers["none"]:
        with pytest.raises(RuntimeError, match="ValueError: no contender"):
            workers.pop("none").result()
        for worker in workers.values():
            np.testing.assert_array_equal(worker.result(), np.log1p(x))
        samples = taken(workers, Effort(rounds=3, turn=1e-4), seed=0)
    assert {name: len(found) for name, found in samples.items()} == {"array": 3, "list": 3}
    assert all(0 < seconds < 1 for found in samples.values() for seconds in found)
