"""The shared fixtures themselves: what a golden file or a slow mark does to a run."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
ONE_GOLDEN = """
def test_text(golden):
    golden("nest/plain.txt", "for i\\n  for k")
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Give an empty project which has our conftest.py."""
    pytester.makeconftest(CONFTEST.read_text())
    return pytester


def write_golden(project: pytest.Pytester, text: str) -> Path:
    path = project.path / "golden" / "nest" / "plain.txt"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_same_text_passes(project: pytest.Pytester) -> None:
    write_golden(project, "for i\n  for k\n")
    project.makepyfile(ONE_GOLDEN)
    project.runpytest().assert_outcomes(passed=1)


def test_other_text_fails_and_shows_the_lines_that_differ(project: pytest.Pytester) -> None:
    path = write_golden(project, "for i\n  for j\n")
    project.makepyfile(ONE_GOLDEN)
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*differs*nest/plain.txt*", " for i", "-  for j", "+  for k"])
    assert path.read_text() == "for i\n  for j\n"


def test_missing_file_fails(project: pytest.Pytester) -> None:
    project.makepyfile(ONE_GOLDEN)
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*nest/plain.txt* does not exist*"])
    assert not (project.path / "golden").exists()


@pytest.mark.parametrize("before", [None, "for i\n  for j\n"], ids=["missing", "different"])
def test_update_writes_the_file(project: pytest.Pytester, before: str | None) -> None:
    if before is not None:
        write_golden(project, before)
    project.makepyfile(ONE_GOLDEN)
    project.runpytest("--update-golden").assert_outcomes(passed=1)
    assert (project.path / "golden" / "nest" / "plain.txt").read_text() == "for i\n  for k\n"
    project.runpytest().assert_outcomes(passed=1)


def test_name_outside_the_folder_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile('def test_text(golden):\n    golden("../elsewhere.txt", "")\n')
    result = project.runpytest("--update-golden")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: golden file '../elsewhere.txt' lies outside*"])


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ([], {"passed": 1, "deselected": 1}),
        (["--run-slow"], {"passed": 2}),
        (["-m", "slow"], {"passed": 1, "deselected": 1}),
    ],
)
def test_slow_tests_run_only_when_asked_for(
    project: pytest.Pytester, arguments: list[str], outcome: dict[str, int]
) -> None:
    project.makepyfile(
        """
        import pytest

        def test_fast(): pass

        @pytest.mark.slow
        def test_slow(): pass
        """
    )
    project.runpytest(*arguments).assert_outcomes(**outcome)


def test_a_thinned_test_keeps_a_case_at_least(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.thinned(10**6)
        @pytest.mark.parametrize("number", range(5))
        def test_one(number): pass

        @pytest.mark.thinned(10**6)
        @pytest.mark.parametrize("number", range(3))
        def test_other(number): pass
        """
    )
    project.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=2, deselected=6)
    project.runpytest("-p", "no:cacheprovider", "--run-slow").assert_outcomes(passed=8)
