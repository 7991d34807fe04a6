"""``einloom build``: libraries from what a command line names, with progress and a summary."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einloom.aot import api
from einloom.aot.building import Built, Progress
from einloom.aot.checking import Checked
from einloom.aot.piece_checking import CheckedPieces
from einloom.aot.pieces import BuiltPieces
from einloom.aot.wheel import check_version
from einloom.report.cost import cost_of
from einloom.report.tables import table
from einloom.text.calls import read_shapes
from einloom_compiler.errors import SpecError
from einloom_compiler.extents import factored


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides the target.

    Attributes:
        name: of the library, None for the folder's.
        cpus: CPU levels, none for all usual ones.
        dtype: of operands that have none.
        is_static: whether to write a static archive too.
        is_checked: whether to run each library in a fresh process.
        wheel: the version of a wheel to write, None for none.
        batch: of a Keras model: its one size, or least and largest; any where None.
        layers: the layers of a Keras model to build apart.
        cut: whether to cut a Keras model at layers that are not covered; in place of true, the
            shapes of what they give.
    """

    name: str | None = None
    cpus: tuple[str, ...] = ()
    dtype: str | None = None
    is_static: bool = False
    is_checked: bool = False
    wheel: str | None = None
    batch: int | tuple[int, int | None] | None = None
    layers: tuple[str, ...] = ()
    cut: bool | Mapping[str, Any] = False


def build_libraries(
    target: Any, folder: Path, options: Options, operands: Sequence[Any] = ()
) -> str:
    """Build what ``target`` names and return a summary.

    A specs file gives one folder a spec, below ``folder``; layers one each.

    Raises:
        EinloomError: as :func:`einloom.aot.build` and :meth:`Built.check`.
    """
    if options.wheel is not None:
        check_version(options.wheel)  # before what takes long
    with _progress() as progress:
        built = api.build(
            target,
            folder,
            *operands,
            name=options.name,
            cpu=options.cpus or None,
            dtype=options.dtype,
            static=options.is_static,
            batch=options.batch,
            layers=options.layers,
            cut=options.cut,
            progress=progress,
        )
        if isinstance(built, BuiltPieces):
            found = built.check() if options.is_checked else None
            if options.wheel is not None:
                built.wheel(options.wheel)
            return _pieces_summary(built, found)
        libraries = built if isinstance(built, tuple) else (built,)
        checked = [library.check() if options.is_checked else None for library in libraries]
        if options.wheel is not None:
            for library in libraries:
                library.wheel(options.wheel)
    return "\n\n".join(map(_summary, libraries, checked))


def _pieces_summary(built: BuiltPieces, checked: CheckedPieces | None) -> str:
    """Return what was built of a cut model: each piece, and how they connect."""
    found = checked.pieces if checked is not None else [None] * len(built.pieces)
    parts = [*map(_summary, built.pieces, found), f"{built.name} in {built.folder}"]
    parts.append(built.explain())
    if checked is not None and checked.joined is None:
        parts.append(f"The joined pieces were not compared with Keras: {checked.reason}.")
    elif checked is not None:
        parts.append(f"Joined, the pieces differ from Keras by {checked.joined:.1e} at most.")
    layers = ", ".join(dict.fromkeys(step.path for step in built.plan.outside))
    if layers:
        parts.append(
            f"Yours to compute: {layers}. {built.folder / 'example.py'} shows the functions, "
            "pieces.json the connections."
        )
    return "\n\n".join(parts)


def _summary(built: Built, checked: Checked | None) -> str:
    """Return what was built: signature, cost, files."""
    manifest = built.manifest
    cost = cost_of(built.source.roots, built.source.optimize)
    symbols = [
        f"{s['name']} ({s['least']} to {'any' if s['most'] is None else s['most']})"
        for s in manifest["symbols"]
    ]
    ports = {
        kind: ", ".join(
            f"{p['name']}: {p['dtype']}[{', '.join(p['shape'])}]" for p in manifest[kind]
        )
        for kind in ("inputs", "outputs")
    }
    levels = ", ".join(f"{cpu} ({manifest['kernels'][cpu]} kernels)" for cpu in manifest["cpu"])
    rows = [
        ("computes", manifest["equation"]),
        ("inputs", ports["inputs"]),
        ("outputs", ports["outputs"]),
        ("symbols", ", ".join(symbols) or "none"),
        ("guards", "; ".join(guard["text"] for guard in manifest["guards"]) or "none"),
        ("FLOPs", factored(cost.flops)),
        ("memory", f"{factored(cost.bytes)} bytes moved"),
        ("weights", _size(manifest["weights_bytes"])),
        ("CPUs", levels),
        ("needs", f"glibc {manifest['glibc']}, {', '.join(manifest['libraries'])}"),
    ]
    if checked is not None:
        sizes = "1 size" if checked.cases == 1 else f"{checked.cases} sizes"
        found = f"{sizes} on {checked.cpu} against {checked.against}"
        rows.append(("check", f"{found}, largest error {checked.error:.1e}"))
    files = [
        (path.name, _size(path.stat().st_size))
        for path in sorted(built.folder.iterdir())
        if path.is_file()
    ]
    return f"{built.name} in {built.folder}\n{table(('', ''), [*rows, *files])}"


def _size(n_bytes: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes = n_bytes / 1000  # type: ignore[assignment]
    return f"{n_bytes:.3g} GB"


def read_cut(is_cut: bool, shapes: Sequence[str]) -> bool | Mapping[str, Any]:
    """Return what ``--cut`` and ``--cut-shape memory=B,16`` say.

    Raises:
        SpecError: a shape is none, or names no layer.
    """
    found: dict[str, Any] = {}
    for text in shapes:
        layer, is_named, said = text.partition("=")
        if not layer or not is_named:
            raise SpecError(
                f"--cut-shape {text!r} must be a layer and what it gives: memory=B,16, or "
                "memory='B,16;B,4' for several outputs"
            )
        several = read_shapes(said.split(";"))
        found[layer] = several if len(several) > 1 else several[0]
    return found or is_cut


def read_batch(text: str | None) -> int | tuple[int, int | None] | None:
    """Return what ``--batch`` says: ``8``, or a range, ``1-64``.

    Raises:
        SpecError: it is neither.
    """
    if text is None:
        return None
    least, dash, most = text.partition("-")
    if least.isdecimal() and (most.isdecimal() or not dash):
        return (int(least), int(most)) if dash else int(least)
    raise SpecError(f"--batch {text!r} is neither a size, such as 8, nor a range, such as 1-64")


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a bar while libraries are built, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("einloom: {task.description}"), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("planning", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        yield show


__all__: Sequence[str] = ("Options", "build_libraries", "read_batch", "read_cut")
