"""Runs what README.md shows.

A section is what stands under one ``#`` or ``##`` heading; its blocks run from top to bottom, in
one namespace and one scratch folder:

- a ``python`` block is executed. If the next block of the section is a ``text`` block, that is
  what it must print (to any other use of ``text`` right after ``python``, give another language);
- in a ``console`` or ``bash`` block, each line starting with ``$ einloom`` is run in a shell, and
  the lines up to the next ``$`` line, if any, are what it must print. Other commands are not run.

In expected output ``...`` stands for any text, and spaces at the end of a line do not count.
``<!-- needs: torch -->`` on a line before a block skips the section from there on where that
module is not installed.
"""

from __future__ import annotations

import contextlib
import difflib
import doctest
import io
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
WIDTH = 100


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is the number of its first line of content, from 1."""

    section: str
    language: str
    line: int
    text: str
    needs: str | None


@dataclass(frozen=True)
class Command:
    """A shell command and what it prints, or None if the block does not show it."""

    command: str
    output: str | None


def blocks_of(markdown: str) -> Iterator[Block]:
    """Yield the fenced blocks in order; a heading inside a fence is content."""
    section, needs = "", None
    fence, language, start, content = "", "", 0, list[str]()
    for number, line in enumerate(markdown.splitlines(), start=1):
        if fence:
            if line.strip() == fence:
                yield Block(section, language, start, "".join(content), needs)
                fence, needs = "", None
            else:
                content.append(line + "\n")
        elif opening := re.match(r"(`{3,})\s*([\w-]*)", line):
            fence, language = opening.groups()
            start, content = number + 1, []
        elif heading := re.match(r"##?\s+(.*)", line):
            section = heading[1].strip()
        elif comment := re.match(r"<!--\s*needs:\s*([\w.]+)\s*-->", line):
            needs = comment[1]
    if fence:
        raise ValueError(f"the fence opened above line {start} is never closed")


def commands_of(text: str) -> Iterator[Command]:
    """Yield the ``$ einloom`` commands of a console block; a trailing backslash continues one."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    for part in parts:
        shown = re.match(r"(?:.*\\\n)*.*\n?", part)
        assert shown is not None
        command, output = shown[0].strip(), part[shown.end() :].strip("\n")
        if command.split()[:1] == ["einloom"]:
            yield Command(command, output + "\n" if output else None)


def assert_printed(want: str, got: str, where: str) -> None:
    """Fail with a diff unless ``got`` is ``want``, in which ``...`` matches anything."""
    __tracebackhide__ = True
    want, got = (re.sub(r"[ \t]+$", "", text, flags=re.M).strip("\n") for text in (want, got))
    if not doctest.OutputChecker().check_output(want + "\n", got + "\n", doctest.ELLIPSIS):
        diff = difflib.unified_diff(
            want.splitlines(), got.splitlines(), where, "this run", lineterm=""
        )
        pytest.fail(f"{where} shows another output:\n" + "\n".join(diff), pytrace=False)


def run_python(block: Block, namespace: dict[str, object], output: Block | None) -> None:
    printed = io.StringIO()
    # The empty lines give a traceback README.md's own line numbers.
    code = compile("\n" * (block.line - 1) + block.text, str(README), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    if output is not None:
        assert_printed(output.text, printed.getvalue(), f"README.md:{output.line}")


def run_command(command: Command, where: str) -> None:
    __tracebackhide__ = True
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.command],
        env=os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(
            f"{where}: {command.command!r} exited with {done.returncode}:\n"
            f"{done.stdout}{done.stderr}",
            pytrace=False,
        )
    if command.output is not None:
        assert_printed(command.output, done.stdout, where)


def run_section(blocks: list[Block]) -> None:
    """Run the blocks of one section in the current folder."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block.needs is not None:
            pytest.importorskip(block.needs)
        if block.language == "python":
            shows_output = following is not None and following.language == "text"
            run_python(block, namespace, following if shows_output else None)
        elif block.language in ("console", "bash"):
            for command in commands_of(block.text):
                run_command(command, f"README.md:{block.line}")


def sections_of(markdown: str) -> dict[str, list[Block]]:
    sections: dict[str, list[Block]] = {}
    for block in blocks_of(markdown):
        sections.setdefault(block.section, []).append(block)
    return sections


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on a terminal of fixed width without colours."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "section" in metafunc.fixturenames:
        markdown = README.read_text(encoding="utf-8") if README.is_file() else ""
        metafunc.parametrize("section", list(sections_of(markdown)))


def test_readme_has_python() -> None:
    assert any(block.language == "python" for block in blocks_of(README.read_text("utf-8")))


@pytest.mark.usefixtures("scratch")
def test_section_does_what_it_shows(section: str) -> None:
    run_section(sections_of(README.read_text("utf-8"))[section])


# The rest tests the runner itself, on small texts of its own.


def run_markdown(markdown: str) -> None:
    for blocks in sections_of(markdown).values():
        run_section(blocks)


@pytest.mark.usefixtures("scratch")
def test_a_section_shares_its_names_and_the_next_does_not() -> None:
    run_markdown("# A\n```python\nx = 1\n```\n### a\n```python\nprint(x)\n```\n```text\n1\n```\n")
    with pytest.raises(NameError):
        run_markdown("# A\n```python\nx = 1\n```\n## B\n```python\nprint(x)\n```\n")


@pytest.mark.usefixtures("scratch")
def test_other_output_fails() -> None:
    run_markdown("```python\nprint('took 3 s')\n```\nIt prints:\n\n```text\ntook ... s\n```\n")
    with pytest.raises(pytest.fail.Exception, match=r"README.md:6 shows another output"):
        run_markdown("\n```python\nprint(1)\n```\n```text\n2\n```\n")


def test_only_einloom_commands_are_run() -> None:
    text = "$ make demo\nhello\n$ einloom a \\\n    b\none\n\ntwo\n$ einloom c\n$ einloomed\n"
    assert list(commands_of(text)) == [
        Command("einloom a \\\n    b", "one\n\ntwo\n"),
        Command("einloom c", None),
    ]


@pytest.mark.usefixtures("scratch")
def test_a_command_that_fails_or_prints_something_else_fails() -> None:
    run_command(Command("echo a | cat", "a\n"), "here")
    with pytest.raises(pytest.fail.Exception, match="here shows another output"):
        run_command(Command("echo a", "b\n"), "here")
    with pytest.raises(pytest.fail.Exception, match=r"exited with 3:\nwhy"):
        run_command(Command("echo why >&2; exit 3", None), "here")


@pytest.mark.usefixtures("scratch")
def test_a_missing_module_skips_the_rest_of_a_section() -> None:
    with pytest.raises(pytest.skip.Exception):
        run_markdown("<!-- needs: no_such_module -->\n```python\nraise SystemExit\n```\n")
