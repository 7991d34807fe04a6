"""The command line: explain, compile, build, model, doctor and cache; also ``python -m einloom``.

Bad input ends with one message on stderr and exit code 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

import einloom
from einloom.commands.terminal import allow_every_character
from einloom_compiler.errors import EinloomError, InternalCompilerError, SpecError

#: Exit code for bad input, the one that click gives for usage errors.
BAD_INPUT = 2
#: Exit code of ``doctor`` where it found a problem.
PROBLEM = 3
#: Exit code for a broken invariant of the compiler.
BUG = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(einloom.__version__, prog_name="einloom")
def cli() -> None:
    """Say what a framework's contraction means in einsum notation, and compile it for the CPU."""


@cli.command()
@click.argument("target")
@click.argument("shapes", nargs=-1)
@click.option("--axes", help="The call's axes: an integer or a pair, such as 1 or 1,2.")
@click.option("--version", "release", help="The Keras release whose meaning counts (batch_dot).")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another argument of the call, such as transpose_b=True.",
)
@click.option("--dtype", help="dtype of the operands; any where not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the expression as a JSON document.")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page."
)
@click.option("--code", is_flag=True, help="Show the schedule and the generated program too.")
def explain(
    target: str,
    shapes: tuple[str, ...],
    axes: str | None,
    release: str | None,
    settings: tuple[str, ...],
    dtype: str | None,
    as_json: bool,
    page: Path | None,
    code: bool,
) -> None:
    r"""Explain TARGET: notation, shapes, formula, cost and order.

    TARGET is a call as text, a function's name or an equation with SHAPES after it, the path of a
    JSON document, or - for one on stdin.

    \b
    einloom explain "K.dot(x[2,3,4], y[7,4,5])"
    einloom explain K.batch_dot 10,12,4,5 10,12,5,8 --version 2.3.1
    einloom explain "bij,bjk->bik" B,4,5 B,5,8 --code
    """
    from einloom.commands.target import expression_of
    from einloom.report.explain import explain as explained
    from einloom.report.explain import explain_html

    arguments = {"axes": axes, "version": release, **_settings(settings)}
    given = {name: value for name, value in arguments.items() if value is not None}
    expression = expression_of(target, shapes, given, dtype)
    if page is not None:
        _write(page, explain_html(expression, code=code))
    if expression.ambiguity is not None and as_json:
        click.echo(f"einloom: SemanticsWarning: {expression.ambiguity.message}", err=True)
    if as_json:
        click.echo(expression.to_json())
    elif page is None:
        click.echo(explained(expression, code=code))


@cli.command("compile")
@click.argument("specs", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Build libraries, as einloom build."
)
def compile_command(specs: Path, output: Path | None) -> None:
    """Compile each [[spec]] of the TOML file SPECS just in time, and print a summary.

    A spec with symbolic extents is compiled for every size and run once at a small one.
    """
    from einloom.commands.build import compile_specs, summary

    if output is not None:
        from einloom.commands.library import Options, build_libraries

        click.echo(build_libraries(specs, output, Options()))
        return
    click.echo(summary(compile_specs(specs)))


@cli.command("build")
@click.argument("target")
@click.argument("shapes", nargs=-1)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write."
)
@click.option("--name", help="The library's name; the folder's where not given.")
@click.option("--cpu", "cpus", multiple=True, help="A CPU level, or native; repeat for several.")
@click.option("--dtype", help="dtype of operands that have none.")
@click.option("--static", "is_static", is_flag=True, help="Write a static archive too.")
@click.option("--check", "is_checked", is_flag=True, help="Run it in a fresh process and compare.")
@click.option("--wheel", metavar="VERSION", help="Write an installable wheel of this version.")
@click.option("--batch", help="Of a Keras model: its batch size, or a range such as 1-64.")
@click.option("--layer", "layers", multiple=True, help="A layer to build apart; repeat for more.")
@click.option("--cut", "is_cut", is_flag=True, help="Cut a Keras model at what is not covered.")
@click.option(
    "--cut-shape",
    "cut_shapes",
    multiple=True,
    metavar="LAYER=SHAPE",
    help="What a layer gives where it is cut, if the file does not say: memory=B,16.",
)
def build_command(
    target: str,
    shapes: tuple[str, ...],
    output: Path,
    name: str | None,
    cpus: tuple[str, ...],
    dtype: str | None,
    is_static: bool,
    is_checked: bool,
    wheel: str | None,
    batch: str | None,
    layers: tuple[str, ...],
    is_cut: bool,
    cut_shapes: tuple[str, ...],
) -> None:
    """Build a C library of TARGET: a call, an equation with SHAPES, a specs file or Keras model.

    A model is the path of a .keras or .h5 file, which is read without Keras; its SHAPES are as
    recorded where none are given. With --check it is compared with Keras where that is installed.

    With --cut, a model with layers that are not covered (LSTM, Lambda, somebody's own) becomes a
    library for each piece between them; pieces.json and the output say how they connect.

    The folder holds all that a user ships: library, header, Python loader, example, manifest.

    \b
    einloom build "bi,ij->bj" B,784 784,512 --dtype float32 -o dist/dense --check
    einloom build specs.toml -o dist --cpu x86-64-v3
    einloom build model.keras -o dist/clf --name clf --batch 1-64 --check
    einloom build model.keras -o dist/clf --cut
    """  # noqa: D301 (click reads the character itself)
    from einloom.aot.targets import is_keras
    from einloom.commands.library import Options, build_libraries, read_batch, read_cut
    from einloom.commands.target import expression_of, is_document
    from einloom.text.calls import read_shapes

    found: Any = target
    operands: list[tuple[Any, ...]] = []
    if is_keras(target):
        operands = read_shapes(shapes)
    elif not target.endswith(".toml"):
        # What a document leaves open is settled by the build.
        found = expression_of(target, shapes, {}, None if is_document(target) else dtype)
    sizes, cut = read_batch(batch), read_cut(is_cut, cut_shapes)
    options = Options(name, cpus, dtype, is_static, is_checked, wheel, sizes, layers, cut)
    click.echo(build_libraries(found, output, options, operands))


@cli.command("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def model_command(file: Path, as_json: bool) -> None:
    """Say what the saved Keras model FILE (.keras, .h5) holds: layers, shapes, weights.

    Keras is not needed, and nothing in the file is executed.
    """
    from einloom.commands.model import described

    click.echo(described(file, as_json=as_json))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON object.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what there is on this machine, and what it means for speed.

    Exits with 3 where something costs speed or breaks calls, 0 where all is well.
    """
    from einloom.commands.doctor import as_data, as_text, findings

    found = findings()
    click.echo(json.dumps(as_data(found), indent=2) if as_json else as_text(found))
    context.exit(PROBLEM if any(finding.problem for finding in found) else 0)


@cli.group()
def cache() -> None:
    """Look at the folder of compiled kernels, or empty it."""


@cache.command("info")
def cache_info() -> None:
    """Say what the cache folder holds."""
    from einloom.commands.cache import information

    click.echo(information())


@cache.command("path")
def cache_path() -> None:
    """Print the cache folder's path."""
    from einloom_compiler.store import folder

    click.echo(folder.cache_path())


@cache.command("clear")
def cache_clear() -> None:
    """Delete what einloom keeps in the cache folder; it is made again when it is needed."""
    from einloom.commands.cache import clear

    click.echo(f"{clear()} files deleted")


def _settings(settings: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SpecError(f"--set {setting!r} is not NAME=VALUE, such as transpose_b=True")
        found[name.strip()] = value
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a bug in einloom, 2 bad input, 3 doctor."""
    allow_every_character()
    try:
        cli.main(args=arguments, prog_name="einloom")  # exits itself where nothing is raised
    except EinloomError as error:
        click.echo(f"einloom: {type(error).__name__}: {error}", err=True)
        sys.exit(BUG if isinstance(error, InternalCompilerError) else BAD_INPUT)
    raise AssertionError("click exits")


if __name__ == "__main__":
    main()
