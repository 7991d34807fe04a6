"""Libraries of the pieces of a cut model, and what joins them.

pieces.json          which step takes and gives which values; names, versions, files
NAME.py              imports NumPy and nothing else; NAME.join(functions) is the model
example.py           joins the pieces with functions that are yours to write
NAME_0/, NAME_1/     the pieces, each a folder like any library's
outside/LAYER.npz    weights of the layers that are not compiled
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import einloom
from einloom.aot.building import (
    EMBEDDED_BYTES,
    Built,
    Progress,
    all_or_nothing,
    build_folder,
    check_folder,
)
from einloom.aot.cpus import Cpus
from einloom.aot.keras_targets import lowered_source
from einloom.aot.naming import identifiers
from einloom.aot.piece_example import example
from einloom.aot.targets import example_sizes
from einloom.keras.lowering.target import BATCH
from einloom.keras.pieces import joining
from einloom.keras.pieces.described import description, told
from einloom.keras.pieces.joining import Joined
from einloom.keras.pieces.plan import Plan, plan_at, symbols_of
from einloom.keras.pieces.target import Cut, Functions, cut_plan
from einloom_compiler.errors import SpecError

if TYPE_CHECKING:
    from einloom.aot.piece_checking import CheckedPieces


#: Characters that are kept of a layer's path in names of files and functions.
_NAME = 40


@dataclass(frozen=True, slots=True)
class BuiltPieces:
    """A built folder of a cut model.

    Attributes:
        folder: where it is.
        name: the model's library name.
        manifest: ``pieces.json`` as it was written.
        pieces: the libraries, in order of running.
        plan: what they were built from.
        target: the live model or the path of its file, else None.
        functions: those of a live model's layers between the pieces.
        ranges: least and largest value of symbols that have one.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    pieces: tuple[Built, ...]
    plan: Plan
    target: Any
    functions: Functions
    ranges: Mapping[str, Any]

    def explain(self) -> str:
        """Return which step takes and gives what, for people."""
        return told(self.manifest)

    def load(self) -> Joined:
        """Return the model; where the target is live, with Keras's layers as its functions."""
        from einloom.aot.api import load_pieces

        return load_pieces(self.folder).join(self.functions)

    def check(self) -> CheckedPieces:
        """Run every piece in a fresh process without einloom, and all joined against Keras.

        Raises:
            CheckError: results differ, or a process fails.
        """
        from einloom.aot.piece_checking import check_pieces

        return check_pieces(self)

    def wheel(self, version: str = "1.0") -> Path:
        """Write a wheel of the libraries and what joins them into the folder; return its path.

        Raises:
            SpecError: the version is none.
        """
        from einloom.aot.wheel import write_pieces_wheel

        return write_pieces_wheel(self.folder, self.name, self.pieces, version)


def build_pieces(
    target: Any,
    specs: Sequence[Any],
    cut: Cut,
    name: str,
    path: Path,
    cpus: Cpus,
    *,
    batch: int | tuple[int, int | None] | None = None,
    ranges: Mapping[str, Any] | None = None,
    is_static: bool = False,
    embedded_bytes: int = EMBEDDED_BYTES,
    progress: Progress | None = None,
) -> BuiltPieces:
    """Write the folder of a cut model, all of it or nothing.

    Args:
        target: a live Keras 3 model, the path of a ``.keras`` or ``.h5`` file, or a record.
        specs: operands or shapes of the inputs, in Keras's order; as recorded where none is given.
        cut: true, or shapes of what layers give that are not covered, by path.
        name: the model's, a C identifier; of a piece it is ``NAME_0``.
        path: the folder.
        cpus: CPU levels.
        batch: the one batch size, or least and largest; any where None.
        ranges: least and largest value of further symbols.
        is_static: whether to write static archives too.
        embedded_bytes: constants of more bytes are mapped from a file beside a library.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        SpecError: the target is no model, a range is none, or the folder holds something else.
        UnsupportedError, ShapeError, ModelFileError: as :func:`cut_plan`.
    """
    check_folder(path)
    plan, functions = cut_plan(target, specs, cut)
    plan, given = _in_ranges(plan, batch, ranges)
    names = [f"{name}_{number}" for number in range(len(plan.pieces))]
    with all_or_nothing(path) as (_, result):
        built: list[Built] = []
        for called, piece in zip(names, plan.pieces, strict=True):
            symbols = symbols_of(replace(plan, inputs=piece.takes, steps=(piece,)))
            own = {symbol: bounds for symbol, bounds in given.items() if symbol in symbols}
            source = lowered_source(piece.lowered, ranges=own)
            built.append(
                build_folder(
                    called,
                    source,
                    result / called,
                    cpus,
                    example_sizes(source, called),
                    is_static=is_static,
                    embedded_bytes=embedded_bytes,
                    progress=progress,
                )
            )
        manifest = _write(result, name, plan, built)
    moved = tuple(replace(each, folder=path / each.name) for each in built)
    return BuiltPieces(path, name, manifest, moved, plan, target, functions, given)


def _in_ranges(
    plan: Plan, batch: int | tuple[int, int | None] | None, ranges: Mapping[str, Any] | None
) -> tuple[Plan, Mapping[str, Any]]:
    """Return the plan at its batch size, and the ranges of all symbols that have one."""
    given = dict(ranges or {})
    if isinstance(batch, int):
        if batch < 1:
            raise SpecError(f"batch must be positive, not {batch}")
        if BATCH not in symbols_of(plan):
            raise SpecError(f"no input of {plan.name!r} has the extent {BATCH}: its batch is fixed")
        plan = plan_at(plan, {BATCH: batch})
    elif batch is not None:
        given[BATCH] = batch
    unknown = sorted(set(given) - symbols_of(plan))
    if unknown:
        listed = ", ".join(sorted(symbols_of(plan))) or "it has none"
        raise SpecError(f"{unknown[0]!r} is no symbol of {plan.name!r}: {listed}")
    return plan, given


def names_of_outside(plan: Plan) -> Mapping[str, str]:
    """Return an identifier, short enough for a file's name, for each layer that is not compiled."""
    paths = list(dict.fromkeys(step.path for step in plan.outside))
    return dict(zip(paths, identifiers([path[-_NAME:] for path in paths]), strict=True))


def _write(folder: Path, name: str, plan: Plan, built: Sequence[Built]) -> dict[str, Any]:
    """Write what stands beside the pieces."""
    described = description(plan, [each.name for each in built])
    files = names_of_outside(plan)
    for step in plan.outside:
        if step.layer.weights:
            (folder / "outside").mkdir(exist_ok=True)
            arrays = {weight.name: weight.array for weight in step.layer.weights}
            _write_arrays(folder / "outside" / f"{files[step.path]}.npz", arrays)
    for item in described["steps"]:
        if "layer" in item:
            weights = f"outside/{files[item['layer']]}.npz"
            item["weights"] = weights if (folder / weights).exists() else None
    loader = Path(joining.__file__).read_text(encoding="utf-8")
    loader += f"\n\n{name} = load(os.path.dirname(os.path.abspath(__file__)))\n"
    (folder / f"{name}.py").write_text(loader, encoding="utf-8")
    (folder / "example.py").write_text(example(name, described, files), encoding="utf-8")
    hashes = {
        file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = {"einloom": einloom.__version__, "name": name, **described, "files": hashes}
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / "pieces.json").write_text(text, encoding="utf-8")
    return manifest


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an npz file, of the same bytes for the same arrays."""
    import io
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(member, stream.getvalue())
