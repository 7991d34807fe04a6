"""Diff what is generated for all cases before and after a change: ``python -m benchmarks.replay``.

A change that is meant to change nothing shows an empty diff; any other shows just which schedules
and kernels it touches. Two processes print every case, one from a checkout of the base revision in
a folder of its own, one from the working tree. The idea is tinygrad's process replay.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
#: Exit code where something differs.
DIFFERENT = 1


@click.command()
@click.option("--base", default="HEAD", help="Revision to compare the working tree with.")
@click.option("--group", "groups", multiple=True, help="Only this group's cases; repeatable.")
@click.option("--case", "names", multiple=True, help="Only this case; repeatable.")
@click.option("--schedules", is_flag=True, help="Compare orders and schedules only, no source.")
@click.option(
    "--print", "is_printing", is_flag=True, help="Print this tree's text as JSON; no diff."
)
def main(
    base: str,
    groups: tuple[str, ...],
    names: tuple[str, ...],
    schedules: bool,
    is_printing: bool,
) -> None:
    """Show how the generated source of the cases differs from that of another revision."""
    chosen = [f"--group={group}" for group in groups] + [f"--case={name}" for name in names]
    if is_printing:
        json.dump(generated(groups, names, only_schedules=schedules), sys.stdout)
        return
    if schedules:
        chosen.append("--schedules")
    with checkout(base) as folder:
        before = printed_by(folder, chosen)
    after = printed_by(ROOT, chosen)
    n_different = 0
    for name in dict.fromkeys([*before, *after]):
        lines = difference(before.get(name, ""), after.get(name, ""), name)
        n_different += bool(lines)
        for line in lines:
            click.echo(line)
    click.echo(f"{n_different} of {len(after)} cases differ from {base}", err=True)
    sys.exit(DIFFERENT if n_different else 0)


def generated(
    groups: tuple[str, ...], names: tuple[str, ...], *, only_schedules: bool = False
) -> dict[str, str]:
    """Return order, schedule and source of each case, by name; an error's text where one is raised.

    Nothing is compiled or run.
    """
    import einloom as el
    from benchmarks.problems import load_cases, select

    texts: dict[str, str] = {}
    for case in select(load_cases(), groups, names):
        specs = [el.spec(shape, dtype=case.dtype) for shape in case.shapes]
        # A revision may lack what a case needs: its message is what there is to compare.
        try:
            report = el.compile(case.einsum, *specs).plan_for(*case.shapes)
            parts = [report.order, report.schedule]
            texts[case.name] = "\n".join(parts if only_schedules else [*parts, report.source])
        except el.EinloomError as error:
            texts[case.name] = f"{type(error).__name__}: {error}"
    return texts


def difference(before: str, after: str, name: str) -> list[str]:
    """Return the unified diff of a case's texts, empty where they are the same."""
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"before/{name}", f"after/{name}", lineterm=""
        )
    )


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Give a folder with the tree of ``revision``, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run(
            [*git, "add", "--quiet", "--detach", str(tree), revision],
            check=False,
            capture_output=True,
            text=True,
        )
        if added.returncode:
            raise click.UsageError(f"no tree of {revision!r}: {added.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def printed_by(tree: Path, arguments: list[str]) -> Mapping[str, str]:
    """Return what the compiler in ``tree`` generates, by this tree's program and cases."""
    # The program and the cases are this tree's, so that old revisions need not have them.
    paths = [str(tree / "src"), str(tree / "compiler"), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.replay", "--print", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
    )
    texts: dict[str, str] = json.loads(process.stdout)
    return texts


if __name__ == "__main__":
    main()
