"""How many threads large work gets: variables, affinity, control groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import einloom as el
from einloom.runtime import threads
from einloom.runtime.threads import Limit, ThreadsError, available_threads, cgroup_cpus, limits


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the system say 8, and no variable anything."""
    for name in ("EINLOOM_NUM_THREADS", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EINLOOM_THREADS_BACKEND", raising=False)
    monkeypatch.setattr(threads, "_system_limits", lambda: (Limit("CPU affinity", 8),))
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (8, "CPU affinity")),
        ({"OMP_NUM_THREADS": "4"}, (4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "3,2,1"}, (3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "12"}, (8, "CPU affinity")),
        ({"OMP_NUM_THREADS": "4", "SLURM_CPUS_PER_TASK": "2"}, (2, "SLURM_CPUS_PER_TASK")),
        ({"OMP_NUM_THREADS": "many", "SLURM_CPUS_PER_TASK": "0"}, (8, "CPU affinity")),
        ({"OMP_NUM_THREADS": ""}, (8, "CPU affinity")),
        ({"EINLOOM_NUM_THREADS": "16", "OMP_NUM_THREADS": "1"}, (16, "EINLOOM_NUM_THREADS")),
    ],
)
def test_the_least_limit_counts_unless_ours_is_set(
    variables: dict[str, str], expected: tuple[int, str], system: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        system.setenv(name, value)
    decisive = threads.least(limits())
    assert (decisive.threads, decisive.source) == expected
    assert available_threads() == expected[0]


@pytest.mark.parametrize("value", ["0", "-2", "many", "1.5", ""])
def test_our_variable_must_be_a_number(value: str, system: pytest.MonkeyPatch) -> None:
    system.setenv("EINLOOM_NUM_THREADS", value)
    with pytest.raises(ThreadsError, match="EINLOOM_NUM_THREADS must be a positive integer"):
        available_threads()


def test_affinity_and_quota_are_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(threads, "_read_at", float("-inf"))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(threads, "cgroup_cpus", lambda: 2.3)
    read = threads._system_limits()
    assert read == (Limit("CPU affinity", 4), Limit("CPU quota of the control group", 3))
    monkeypatch.setattr(threads, "cgroup_cpus", lambda: None)
    clock[0] += 0.5
    assert threads._system_limits() == read
    clock[0] += 1.0
    assert threads._system_limits() == (Limit("CPU affinity", 4),)
    monkeypatch.setattr(threads, "_read_at", float("-inf"))


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        # The group around it allows less.
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/job/cpu.max": "200000 100000\n",
            },
            2.0,
        ),
        # In a container the path named is not mounted.
        (
            {
                "proc/self/cgroup": "0::/../../pod/abc\n",
                "sys/fs/cgroup/cpu.max": "300000 100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n0::/\n",
                "sys/fs/cgroup/unified/cpu.max": "broken\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
    ],
)
def test_control_groups(files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    assert cgroup_cpus(_write(tmp_path, files)) == expected


def test_an_unknown_backend_is_refused(system: pytest.MonkeyPatch) -> None:
    operands = el.spec("N"), el.spec("N")
    with pytest.raises(ThreadsError, match="threads_backend must be 'pool' or 'numba', not 'omp'"):
        el.compile("i,i->", *operands, threads_backend="omp")  # type: ignore[arg-type]
    system.setenv("EINLOOM_THREADS_BACKEND", "tbb")
    with pytest.raises(ThreadsError, match="EINLOOM_THREADS_BACKEND must be 'pool' or 'numba'"):
        el.compile("i,i->", *operands)
    assert el.compile("i,i->", *operands, threads_backend="pool")(np.ones(2), np.ones(2)) == 2
