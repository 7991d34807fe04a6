"""Results as data: what was measured, the ratios, and their JSON form."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: ``ok`` was timed; ``wrong`` gave another result; ``failed`` raised; the others give a reason.
Status = Literal["ok", "absent", "unsupported", "skipped", "failed", "wrong"]

#: The contenders that are einloom: the compiled function writing to ``out=``, and a plain call.
COMPILED = "einloom"
CALL = "einloom-call"
OURS = (COMPILED, CALL)


@dataclass(frozen=True)
class Measurement:
    """One contender on one case; times in seconds.

    Attributes:
        peer: the contender.
        status: whether it was timed.
        reason: why not, else empty.
        prepare: building what is called: an expression, a traced function.
        first: the first call, compiling included.
        minimum, median: of a warm call.
        n_samples: turns that were timed.
        error: the largest absolute error of its result.
    """

    peer: str
    status: Status
    reason: str = ""
    prepare: float = 0.0
    first: float = 0.0
    minimum: float = math.nan
    median: float = math.nan
    n_samples: int = 0
    error: float = 0.0


@dataclass(frozen=True)
class Memory:
    """What one warm call of the compiled function allocates beyond its result, in bytes.

    Attributes:
        measured: the most held at once, intermediates and scratch.
        predicted: the plan's peak of intermediates and scratch.
    """

    measured: int
    predicted: int

    @property
    def is_within(self) -> bool:
        """Whether the prediction holds, up to 64 KiB of Python's own objects."""
        return self.measured <= self.predicted + (1 << 16)


@dataclass(frozen=True)
class CaseResult:
    """All contenders on one case."""

    name: str
    group: str
    einsum: str
    dtype: str
    extents: Mapping[str, int]
    flops: int
    n_bytes: int
    measurements: Sequence[Measurement]
    memory: Memory | None = None
    memory_failure: str = ""

    def of(self, peer: str) -> Measurement | None:
        """Return the measurement of a contender, None where it was not timed."""
        for measurement in self.measurements:
            if measurement.peer == peer and measurement.status == "ok":
                return measurement
        return None

    @property
    def best_peer(self) -> Measurement | None:
        """The fastest contender that is not einloom, by minimum."""
        timed = [m for m in self.measurements if m.status == "ok" and m.peer not in OURS]
        return min(timed, key=lambda m: m.minimum, default=None)

    def ratio(self, ours: str = COMPILED, *, by: Literal["minimum", "median"] = "minimum") -> float:
        """Return time of the best peer / time of einloom: above 1 einloom is faster.

        The best peer is the one with the smallest time of the kind compared. NaN where either is
        missing.
        """
        mine = self.of(ours)
        peers = [
            getattr(m, by) for m in self.measurements if m.status == "ok" and m.peer not in OURS
        ]
        if mine is None or not peers:
            return math.nan
        return float(min(peers) / getattr(mine, by))


@dataclass(frozen=True)
class Run:
    """A whole run.

    Attributes:
        machine: what it ran on: CPU, caches, measured peaks, versions, threads.
        options: how it was run.
        peers: version of each contender that took part, reason for each that did not.
        cases: the results.
        not_run: cases that were chosen but not reached, with the reason.
    """

    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    peers: Mapping[str, str]
    cases: Sequence[CaseResult]
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[CaseResult]]:
        """The results by group, in order of first appearance."""
        groups: dict[str, list[CaseResult]] = {}
        for case in self.cases:
            groups.setdefault(case.group, []).append(case)
        return groups


def summarised(
    peer: str, samples: Sequence[float], *, prepare: float, first: float, error: float
) -> Measurement:
    """Return the measurement of a contender that was timed."""
    return Measurement(
        peer,
        "ok",
        prepare=prepare,
        first=first,
        minimum=min(samples),
        median=statistics.median(samples),
        n_samples=len(samples),
        error=error,
    )


def geometric_mean(ratios: Iterable[float]) -> float:
    """Return the geometric mean of the finite ratios; NaN where there are none."""
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    if not finite:
        return math.nan
    return math.exp(math.fsum(math.log(ratio) for ratio in finite) / len(finite))


def run_to_json(run: Run) -> dict[str, Any]:
    """Return the run as JSON data; a time that is missing is null."""
    document = asdict(run)
    for case, result in zip(document["cases"], run.cases, strict=True):
        case["ratio"] = _finite(result.ratio())
        case["call_ratio"] = _finite(result.ratio(CALL))
        for measurement in case["measurements"]:
            for key in ("prepare", "first", "minimum", "median", "error"):
                measurement[key] = _finite(measurement[key])
    return document


def run_from_json(document: Mapping[str, Any]) -> Run:
    """Return the run that :func:`run_to_json` wrote."""
    cases = []
    for record in document["cases"]:
        fields = {k: v for k, v in record.items() if k not in ("ratio", "call_ratio")}
        fields["measurements"] = tuple(map(_measurement_from_json, record["measurements"]))
        fields["memory"] = Memory(**record["memory"]) if record["memory"] else None
        cases.append(CaseResult(**fields))
    return Run(**{**document, "cases": tuple(cases)})


def _measurement_from_json(record: Mapping[str, Any]) -> Measurement:
    fields: dict[str, Any] = {k: math.nan if v is None else v for k, v in record.items()}
    return Measurement(**fields)


def _finite(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
