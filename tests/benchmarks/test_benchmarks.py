from __future__ import annotations

import math
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
from benchmarks.run import by_turns
from benchmarks.timing import Effort, spelled

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


def test_plain_loops_that_would_take_too_long_are_skipped_with_the_limit() -> None:
    long = case("ij,jk,kl->il", i=1000, j=1000, k=1000, l=1000)
    found = {}
    for kind in (NumPyPlain, NumbaLoops):
        peer = kind(2, 0.1)
        found[kind] = measure_without_operands(peer, long)
    assert found == {
        NumPyPlain: "its loops over all points would take more than 0.1 s",
        NumbaLoops: "one nest over all points would take more than 0.1 s",
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
    with pytest.raises(AbsentError, match=r"not installed .*no_such_library"):
        Missing(1, 1.0).start()


def test_einloom_is_measured_and_its_memory_compared_with_the_plan() -> None:
    problem = case("ij,jk,kl->il", i=200, j=2, k=2, l=200)
    outcome = measure(problem, [Einloom(1, 0.1), NumPy(1, 0.1)], SMALL)
    assert {m.peer: m.status for m in outcome.measurements} == {"einloom": "ok", "numpy": "ok"}
    assert outcome.memory_failure == ""
    assert outcome.memory is not None
    assert outcome.memory.predicted >= 200 * 2 * 4
    assert outcome.memory.is_within


def test_a_spelled_call_passes_on_its_arguments_and_result() -> None:
    def function(*arguments: Any, **keywords: Any) -> Any:
        return arguments, keywords

    out = np.empty(3)
    arguments, keywords = spelled(function, 1, "two", out=out, optimize=True)()
    assert arguments == (1, "two")
    assert list(keywords) == ["out", "optimize"]
    assert keywords["out"] is out
    assert spelled(function)() == ((), {})
