from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.checking import WrongResultError, check, reference, tolerance
from benchmarks.measure import measure
from benchmarks.peers import PEERS, AbsentError, Peer, UnsupportedCaseError
from benchmarks.peers.einloom_peers import Einloom
from benchmarks.peers.loops import NumbaLoops, loops_source
from benchmarks.peers.matmul_by_hand import matmul_by_hand
from benchmarks.peers.numpy_peers import NumPy, NumPyPlain
from benchmarks.problems import Case, CaseError, case_from_json, load_cases, quick_names, select
from benchmarks.report import markdown, table, write
from benchmarks.results import (
    CALL,
    CaseResult,
    Measurement,
    Memory,
    Run,
    geometric_mean,
    run_from_json,
    run_to_json,
    summarised,
)
from benchmarks.run import by_turns
from benchmarks.timing import Effort, interleaved, timed

CASES = load_cases()
SMALL = Effort(rounds=2, turn=1e-5, limit=1.0, longest_plain=0.1)


def case(einsum: str = "ij,jk->ik", dtype: str = "float32", **extents: int) -> Case:
    letters = sorted(set(einsum) - set(",->"))
    sizes = {letter: 3 + place for place, letter in enumerate(letters)} | extents
    return case_from_json(
        {
            "name": f"{einsum} {dtype}",
            "group": "test",
            "einsum": einsum,
            "extents": sizes,
            "dtype": dtype,
            "source": "a test",
        }
    )


def measured(peer: str, minimum: float, median: float | None = None) -> Measurement:
    return Measurement(peer, "ok", "", 0.0, 0.25, minimum, median or 2 * minimum, 5)


def result(name: str, *measurements: Measurement, memory: Memory | None = None) -> CaseResult:
    extents = {"i": 2, "j": 3, "k": 4}
    return CaseResult(name, "gemm", "ij,jk->ik", "float32", extents, 48, 104, measurements, memory)


def canned_run(*cases: CaseResult) -> Run:
    machine: dict[str, Any] = {
        "cpu": "Some CPU (znver9)",
        "cores": 2,
        "vector_bytes": 64,
        "caches": {"L1d": "48K"},
        "threads": 2,
        "python": "3.11.0",
        "system": "Linux 6",
        "fma": {dtype: {"one": 1e11, "all": 2e11} for dtype in ("float32", "float64")},
        "blas_gemm": {"float32": 9e10, "float64": 8e10},
        "copy": {"one": 1e10, "all": 2e10},
    }
    options = {
        "command": "python -m benchmarks.run",
        "date": "2026-01-02",
        "rounds": 5,
        "seconds": 1.5,
        "foreign_cpu_share": 0.25,
    }
    peers = {"einloom": "0.1", "numpy": "2.4", "torch": "absent: not installed"}
    return Run(machine, options, peers, cases, {"gemm-2048": "the time budget was used up"})


# --- cases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", CASES, ids=lambda problem: problem.name)
def test_every_case_is_an_equation_numpy_accepts(problem: Case) -> None:
    # Extents of 2 stand for the real ones: the equation is what is checked.
    small = case_from_json(
        {
            "name": problem.name,
            "group": problem.group,
            "einsum": problem.einsum,
            "extents": dict.fromkeys(problem.extents, 2),
            "dtype": problem.dtype,
            "source": problem.source,
        }
    )
    computed = np.einsum(small.einsum, *small.operands())
    assert computed.shape == small.output_shape
    assert computed.dtype == problem.dtype
    assert problem.source
    # Several peers keep a copy of the operands beside the float64 reference.
    assert problem.n_bytes < 3 * 2**30


def test_the_cases_cover_every_group_and_the_quick_ones_a_few_of_each() -> None:
    groups = {problem.group for problem in CASES}
    expected = {"small", "tccg", "gemm", "integer", "attention", "contraction", "network"}
    assert groups == expected | {"transpose", "reduction", "broadcast"}
    quick = select(CASES, names=quick_names())
    assert {problem.group for problem in quick} == groups
    assert len(quick) < len(CASES) / 2


def test_groups_take_turns_and_no_case_is_lost() -> None:
    order = by_turns(CASES)
    assert sorted(problem.name for problem in order) == sorted(problem.name for problem in CASES)
    n_groups = len({problem.group for problem in CASES})
    assert len({problem.group for problem in order[:n_groups]}) == n_groups


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extents": {"i": 2, "j": 3}}, "extents are given for 'ij', but the indices are 'ijk'"),
        ({"einsum": "ij,jk"}, "is not an explicit einsum"),
        ({"einsum": "ij,jk->il"}, "is not an explicit einsum"),
        ({"einsum": "ij,jk->ii"}, "repeated in the output 'ii'"),
        ({"layout": ["C"]}, "layout needs 2"),
        ({"layout": ["C", "K"]}, "layout needs 2"),
    ],
)
def test_a_malformed_case_is_refused(change: dict[str, Any], message: str) -> None:
    record = {
        "name": "bad",
        "group": "test",
        "einsum": "ij,jk->ik",
        "extents": {"i": 2, "j": 3, "k": 4},
        "dtype": "float32",
        "source": "a test",
    }
    with pytest.raises(CaseError, match=message):
        case_from_json(record | change)
    with pytest.raises(CaseError, match="lacks dtype"):
        case_from_json({key: value for key, value in record.items() if key != "dtype"})


def test_an_unknown_group_or_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CaseError, match=r"no group is named 'gem'; known: .*gemm"):
        select(CASES, groups=["gem"])
    with pytest.raises(CaseError, match="no case is named 'x'"):
        select(CASES, names=["x"])


def test_layouts_change_strides_and_not_values() -> None:
    plain = case()
    laid_out = case_from_json(
        {
            "name": plain.name,
            "group": "test",
            "einsum": plain.einsum,
            "extents": plain.extents,
            "dtype": "float32",
            "source": "a test",
            "layout": ["F", "sliced"],
        }
    )
    first, second = laid_out.operands()
    assert first.flags.f_contiguous and not first.flags.c_contiguous
    assert second.strides[1] == 8
    for ours, others in zip((first, second), plain.operands(), strict=True):
        np.testing.assert_array_equal(ours, others)


def test_flops_and_bytes_are_those_of_the_cheapest_order() -> None:
    assert case("ij,jk->ik", i=10, j=20, k=30).flops == 2 * 10 * 20 * 30
    assert case("ij,jk->ik", "complex64", i=10, j=20, k=30).flops == 8 * 10 * 20 * 30
    assert case("ij->i", i=10, j=20).flops == 200
    assert case("ij->ji", i=10, j=20).flops == 0
    assert case("i,j->ij", i=10, j=20).flops == 200
    # (ij,jk),kl would cost 2 * 10 * 20 * 10 + 2 * 10 * 10 * 1 = 4200.
    chain = case("ij,jk,kl->il", i=10, j=20, k=10, l=1)
    assert chain.flops == 2 * 20 * 10 * 1 + 2 * 10 * 20 * 1
    assert case("ij,jk->ik", "float64", i=1, j=2, k=3).n_bytes == 8 * (2 + 6 + 3)


# --- checking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64", "float16"])
def test_the_checker_accepts_numpy_and_refuses_a_wrong_result(dtype: str) -> None:
    problem = case("ij,jk->ik", dtype, i=40, j=50, k=40)
    operands = problem.operands()
    expected = reference(problem, operands)
    right = np.einsum(problem.einsum, *operands)
    assert check(problem, right, expected) <= tolerance(problem)
    # Of the right shape, but with rows and columns exchanged, and with one element off.
    with pytest.raises(WrongResultError, match="off by"):
        check(problem, np.ascontiguousarray(right.T), expected)
    spoilt = right.copy()
    spoilt[3, 4] += 2
    with pytest.raises(WrongResultError, match="off by"):
        check(problem, spoilt, expected)


def test_a_reference_in_stretches_is_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for einsum in ("ij,jk->ik", "ij,ij->", "jk,ijkl->il", "bii->b"):
        problem = case(einsum, "complex64", i=7)
        operands = problem.operands()
        wide = [operand.astype("complex128") for operand in operands]
        monkeypatch.setattr("benchmarks.checking._CHUNK_BYTES", 100)
        np.testing.assert_allclose(
            reference(problem, operands), np.einsum(einsum, *wide), atol=1e-13, strict=True
        )


def test_the_checker_refuses_shape_dtype_and_nan() -> None:
    problem = case(i=4, j=5, k=4)
    operands = problem.operands()
    expected = reference(problem, operands)
    right = np.einsum(problem.einsum, *operands)
    with pytest.raises(WrongResultError, match=r"shape \(4,\), expected \(4, 4\)"):
        check(problem, right[0], expected)
    with pytest.raises(WrongResultError, match="dtype float64, expected float32"):
        check(problem, right.astype("float64"), expected)
    right[0, 0] = np.nan
    with pytest.raises(WrongResultError, match="off by nan"):
        check(problem, right, expected)


def test_a_contender_that_is_wrong_or_raises_is_reported_and_not_timed() -> None:
    class Doubled(NumPy):
        name = "doubled"

        def prepare(self, case: Case, operands: Any) -> Any:
            return super().prepare(case, [operands[0] * 2, *operands[1:]])

    class Broken(NumPy):
        name = "broken"

        def prepare(self, case: Case, operands: Any) -> Any:
            raise RuntimeError("no such thing")

    peers = [kind(1, 0.1) for kind in (NumPy, Doubled, Broken)]
    found = {m.peer: m for m in measure(case(), peers, SMALL).measurements}
    assert found["numpy"].status == "ok" and found["numpy"].n_samples == 2
    assert found["doubled"].status == "wrong" and "off by" in found["doubled"].reason
    assert found["broken"].reason == "RuntimeError: no such thing"
    assert math.isnan(found["doubled"].minimum)


def test_plain_loops_that_would_take_too_long_are_skipped_with_the_estimate() -> None:
    long = case("ij,jk,kl->il", i=1000, j=1000, k=1000, l=1000)
    found = {}
    for kind in (NumPyPlain, NumbaLoops):
        peer = kind(2, 0.1)
        found[kind] = measure_without_operands(peer, long)
    assert found == {
        NumPyPlain: "its loops over 1e+12 points would take about 7500 s",
        NumbaLoops: "one nest over 1e+12 points would take about 1000 s",
    }


def measure_without_operands(peer: Any, problem: Case) -> str:
    from benchmarks.peers import SkippedCaseError

    with pytest.raises(SkippedCaseError) as caught:
        peer.prepare(problem, [])
    return str(caught.value)


# --- peers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "einsum",
    [
        *("ij,jk->ik", "ik,jk->ij", "ki,kj->ij", "ij,jk->ki", "abij,abjk->abik", "abij,bajk->ibak"),
        *("abcr,ijrk->abcijk", "ia,eabc->eibc", "bij,bj->bi", "ij,j->i", "i,i->", "bi,bi->b"),
        *("aecd,abcd->acbe", "bhd,bkhd->bhk", "bqgrd,bkgd->bgrqk", "aced,eb->dcba"),
    ],
)
def test_matmul_by_hand_is_the_contraction(einsum: str) -> None:
    problem = case(einsum)
    found = matmul_by_hand(problem)
    assert found is not None
    operands = problem.operands()
    out = np.full(problem.output_shape, np.nan, "float32")
    first, second, target = found.arguments(operands[0], operands[1], out)
    np.matmul(first, second, out=target)
    check(problem, out, reference(problem, operands))


@pytest.mark.parametrize("einsum", ["i,j->ij", "ii,ij->ij", "dac,bcd->ba", "ij,ik->j"])
def test_what_is_no_batched_matrix_product_is_not_done_by_matmul(einsum: str) -> None:
    assert matmul_by_hand(case(einsum)) is None


@pytest.mark.parametrize(
    "einsum",
    [
        *("ij,jk->ik", "ik,jk->ij", "i,ij->j", "ij->", "bii->b", "abc->cab", "i,j,k->ijk"),
        *("bi,ij,bj->b", "ij->j", "x,x->"),
    ],
)
def test_the_plain_loops_are_the_contraction(einsum: str) -> None:
    problem = case(einsum)
    operands = problem.operands()
    out = np.full(problem.output_shape, np.nan, "float32")
    names: dict[str, Any] = {"prange": range}
    exec(loops_source(problem), names)
    names["loops"](*operands, out, np.float32(0))
    check(problem, out, reference(problem, operands))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.tensorflow] if "tensorflow" in kind.module else [])
        for kind in PEERS
    ],
    ids=lambda kind: str(kind.name),
)
def test_every_installed_peer_gives_the_result_in_c_order(kind: type[Peer]) -> None:
    # Not `start`, which settles threads and gradients for the whole process.
    pytest.importorskip(kind.module)
    peer = kind(2, 1.0)
    for einsum in ("ij,jk->ki", "abc->cab"):
        problem = case(einsum)
        operands = problem.operands()
        try:
            prepared = peer.prepare(problem, operands)
        except UnsupportedCaseError:
            assert kind.name == "numpy-matmul" and einsum == "abc->cab"
            continue
        result = prepared.to_numpy(prepared.call())
        check(problem, result, reference(problem, operands))
        assert result.flags.c_contiguous
        assert not any(np.may_share_memory(result, operand) for operand in operands)


def test_a_peer_reports_its_version_or_that_it_is_absent() -> None:
    class Missing(NumPy):
        module = "no_such_library"

    assert NumPy(1, 1.0).start() == f"{np.__version__}, einsum(optimize=True)"
    with pytest.raises(AbsentError, match="not installed .*no_such_library"):
        Missing(1, 1.0).start()


def test_einloom_is_measured_and_its_memory_compared_with_the_plan() -> None:
    problem = case("ij,jk,kl->il", i=200, j=2, k=2, l=200)
    outcome = measure(problem, [Einloom(1, 0.1), NumPy(1, 0.1)], SMALL)
    assert {m.peer: m.status for m in outcome.measurements} == {"einloom": "ok", "numpy": "ok"}
    assert outcome.memory_failure == ""
    assert outcome.memory is not None
    assert outcome.memory.predicted >= 200 * 2 * 4
    assert outcome.memory.is_within


# --- timing --------------------------------------------------------------------------------------


def test_every_contender_takes_one_turn_a_round() -> None:
    turns: list[str] = []
    calls = {name: (lambda name=name: turns.append(name)) for name in "ab"}
    effort = Effort(rounds=3, turn=1e-9, limit=100.0)
    samples = interleaved(calls, dict.fromkeys(calls, 1e-3), effort, seed=1)
    assert {name: len(times) for name, times in samples.items()} == {"a": 3, "b": 3}
    # Each turn is a call that is not timed and a timed one.
    rounds = [turns[start : start + 4] for start in range(0, 12, 4)]
    assert all(sorted(four) == ["a", "a", "b", "b"] for four in rounds)


def test_a_contender_over_its_limit_takes_one_turn_only() -> None:
    effort = Effort(rounds=4, turn=1e-9, limit=0.0)
    samples = interleaved({"slow": lambda: None}, {"slow": 1.0}, effort, seed=1)
    assert len(samples["slow"]) == 1


def test_the_time_of_a_call_is_averaged_over_the_repeats() -> None:
    calls: list[None] = []
    assert timed(lambda: calls.append(None), 7) > 0
    assert len(calls) == 7


# --- ratios and the report -----------------------------------------------------------------------


def test_a_ratio_is_best_peer_over_einloom() -> None:
    found = result(
        "gemm-64",
        measured("einloom", 2.0, 8.0),
        measured(CALL, 4.0),
        measured("numpy", 6.0, 7.0),
        measured("torch", 3.0, 12.0),
        Measurement("jax", "wrong", "off"),
    )
    assert found.ratio() == 3.0 / 2.0
    assert found.ratio(CALL) == 3.0 / 4.0
    # By median another peer is the best one.
    assert found.ratio(by="median") == 7.0 / 8.0
    assert found.best_peer is not None and found.best_peer.peer == "torch"
    assert math.isnan(result("x", measured("einloom", 1.0)).ratio())
    assert math.isnan(result("x", measured("numpy", 1.0)).ratio())


def test_a_geometric_mean_leaves_out_what_was_not_measured() -> None:
    assert geometric_mean([2.0, 8.0, math.nan]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([math.nan]))


def test_samples_are_summarised_by_minimum_and_median() -> None:
    found = summarised("numpy", [3.0, 1.0, 2.0], prepare=0.5, first=4.0, error=0.0)
    assert (found.minimum, found.median, found.n_samples, found.first) == (1.0, 2.0, 3, 4.0)


def test_a_run_survives_json() -> None:
    run = canned_run(
        result("gemm-64", measured("einloom", 2.0), memory=Memory(10, 20)),
        result("gemm-256", measured("numpy", 1.0), Measurement("jax", "failed", "ValueError: x")),
    )
    text = json.dumps(run_to_json(run), allow_nan=False)
    again = run_from_json(json.loads(text))
    assert run_to_json(again) == run_to_json(run)
    assert again.cases[0].memory == Memory(10, 20)
    assert again.cases[1].measurements[1].status == "failed"


def test_the_report_shows_wins_losses_and_what_was_not_timed() -> None:
    text = markdown(
        canned_run(
            result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)),
            result(
                "lost",
                measured("einloom", 2e-3),
                measured("numpy", 1e-3),
                Measurement("jax", "unsupported", "has no float16"),
                memory=Memory(1 << 30, 1 << 20),
            ),
        )
    )
    summary = "| gemm | 2 | 1.41 | – | 1 | ▼ 0.50 (lost) |"
    assert summary in text
    assert "## Where we lose the most (1 in all)" in text
    assert "| lost | `ij,jk->ik` | float32 | ▼ 0.50 | 2 ms | numpy 1 ms |" in text
    assert "| won | `ij,jk->ik` | float32 | 1 ms | – | numpy 4 ms | 4.00 | – | 4.8e-05 (0%)" in text
    assert "- jax unsupported: has no float16 (lost)" in text
    assert "- gemm-2048: the time budget was used up" in text
    assert "- torch: absent: not installed" in text
    assert "Other processes used 25% of the CPU time" in text
    assert "| lost | 1.02e+03 MiB | 1 MiB |" in text


def test_the_report_is_written_as_markdown_and_json(tmp_path: Path) -> None:
    run = canned_run(result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)))
    write(run, tmp_path / "new", plots=False)
    document = json.loads((tmp_path / "new" / "results.json").read_text())
    assert document["cases"][0]["ratio"] == 4.0
    assert (tmp_path / "new" / "report.md").read_text() == markdown(run_from_json(document))


def test_each_group_gets_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = canned_run(result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)))
    write(run, tmp_path)
    assert (tmp_path / "gemm.png").stat().st_size > 1000
    assert "![gemm](gemm.png)" in (tmp_path / "report.md").read_text()


def test_a_table_aligns_names_left_and_numbers_right() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| :-- | --: |\n| x | 1 |"
