"""Measure one case: prepare every contender, check its result, then time all in rounds."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.checking import WrongResultError, check, reference
from benchmarks.peers import Peer, Prepared, SkippedCaseError, UnsupportedCaseError
from benchmarks.peers.base import Array
from benchmarks.peers.einloom_peers import measured_memory
from benchmarks.problems import Case, case_from_json
from benchmarks.results import COMPILED, CaseResult, Measurement, summarised
from benchmarks.timing import Effort, interleaved, timed

#: Evaluated once by every contender before the first case, so that what a library sets up in a
#: process (compilers, thread pools) is not counted as some case's first call.
WARM_UP = case_from_json(
    {
        "name": "warm-up",
        "group": "warm-up",
        "einsum": "xyz,zyw->wx",
        "extents": {"x": 40, "y": 30, "z": 20, "w": 50},
        "dtype": "float32",
        "source": "no case has this structure",
    }
)


def warm_up(peers: Sequence[Peer]) -> None:
    """Evaluate :data:`WARM_UP` by every peer that supports it."""
    operands = WARM_UP.operands()
    for peer in peers:
        prepared = _prepared(peer, WARM_UP, operands)
        if isinstance(prepared, Prepared):
            prepared.call()


def measure(case: Case, peers: Sequence[Peer], effort: Effort) -> CaseResult:
    """Return all contenders' measurements on a case.

    A contender whose result is wrong, or that raises, is reported as such and not timed.
    """
    operands = case.operands()
    expected = reference(case, operands)
    failed: list[Measurement] = []
    calls: dict[str, Callable[[], Any]] = {}
    facts: dict[str, dict[str, float]] = {}
    estimates: dict[str, float] = {}
    for peer in peers:
        start = time.perf_counter()
        prepared = _prepared(peer, case, operands)
        built = time.perf_counter()
        if isinstance(prepared, Measurement):
            failed.append(prepared)
            continue
        # A contender may raise anything of its own; it is reported with its message.
        try:
            result = prepared.call()
            first = time.perf_counter() - built
            error = check(case, prepared.to_numpy(result), expected)
        except WrongResultError as wrong:
            failed.append(Measurement(peer.name, "wrong", str(wrong)))
            continue
        except Exception as problem:
            failed.append(Measurement(peer.name, "failed", _message(problem)))
            continue
        del result
        calls[peer.name] = prepared.call
        facts[peer.name] = {"prepare": built - start, "first": first, "error": error}
        estimates[peer.name] = first if first > effort.limit else timed(prepared.call, 1)
    del expected
    samples = interleaved(calls, estimates, effort, seed=zlib.crc32(case.name.encode()))
    memory, memory_failure = None, ""
    if COMPILED in calls:
        # Like a result: a failure here is reported, and ends no run of an hour.
        try:
            memory = measured_memory(case, operands)
        except Exception as problem:
            memory_failure = _message(problem)
    ok = [summarised(name, times, **facts[name]) for name, times in samples.items()]
    return CaseResult(
        name=case.name,
        group=case.group,
        einsum=case.einsum,
        dtype=case.dtype,
        extents=case.extents,
        flops=case.flops,
        n_bytes=case.n_bytes,
        measurements=tuple(_in_order(peers, [*ok, *failed])),
        memory=memory,
        memory_failure=memory_failure,
    )


def _prepared(peer: Peer, case: Case, operands: Sequence[Array]) -> Prepared | Measurement:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peer.prepare(case, operands)
    except UnsupportedCaseError as reason:
        return Measurement(peer.name, "unsupported", str(reason))
    except SkippedCaseError as reason:
        return Measurement(peer.name, "skipped", str(reason))
    except Exception as problem:
        return Measurement(peer.name, "failed", _message(problem))


def _message(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200] if lines else ''}"


def _in_order(peers: Sequence[Peer], measurements: Sequence[Measurement]) -> list[Measurement]:
    place = {peer.name: number for number, peer in enumerate(peers)}
    return sorted(measurements, key=lambda measurement: place[measurement.peer])
