"""``einloom.aot.build`` and ``einloom.aot.load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einloom.aot.building import EMBEDDED_BYTES, Built, Progress, build_folder
from einloom.aot.cpus import Cpus, cpus_of
from einloom.aot.lowering import Source
from einloom.aot.shipped import calls, loader
from einloom.aot.targets import example_sizes, is_keras, source_of, specs_of
from einloom_compiler.errors import DTypeError, IndicesError, ShapeError, SpecError

if TYPE_CHECKING:
    from einloom.aot.pieces import BuiltPieces
    from einloom.keras.pieces.joining import Joined


@dataclass(frozen=True, slots=True)
class _Library:
    """One of the libraries that a call of :func:`build` writes."""

    name: str
    folder: Path
    source: Source
    cpus: Cpus


def build(
    target: Any,
    path: str | Path,
    *operands: Any,
    name: str | None = None,
    cpu: str | Sequence[str] | None = None,
    dtype: object = None,
    ranges: Mapping[str, Any] | None = None,
    static: bool = False,
    batch: int | tuple[int, int | None] | None = None,
    layers: Sequence[str] = (),
    cut: bool | Mapping[str, Any] = False,
    embedded_bytes: int = EMBEDDED_BYTES,
    progress: Progress | None = None,
) -> Built | tuple[Built, ...] | BuiltPieces:
    """Write a library of ``target`` to the folder ``path``.

    A specs file gives a library a spec, in the folder of its name below ``path``, and a tuple; so
    do ``layers``.

    Args:
        target: a compiled function, a function made by ``el.jit`` (with specs), an expression or
            a tuple or dict of them (keys name outputs), an equation (with operands), a call as
            text, the path of a specs file; or a Keras layer or model, the path of a ``.keras`` or
            ``.h5`` file, or what :func:`einloom.keras.compile` made of one. Files are read without
            Keras.
        path: the folder; what an earlier build wrote there is replaced.
        operands: of an equation, as in :func:`einloom.compile`; specs or shapes of what a layer,
            model or traced function takes.
        name: the library's, a C identifier; the folder's name where None.
        cpu: CPU levels to make code for: ``x86-64-v2``, ``x86-64-v3``, ``x86-64-v4``, ``aarch64``,
            or ``native`` for this machine's; all of this machine's architecture where None. The
            best that a CPU runs is chosen when the library is loaded. A spec's own come first.
        dtype: of operands that have none.
        ranges: least and largest value of symbolic extents, as in :func:`einloom.compile`.
        static: whether to write a static archive too.
        batch: of a Keras layer or model: its one batch size, or least and largest; any where None.
        layers: names of layers of a Keras model; each becomes a library of its own.
        cut: whether to cut a Keras model at layers that are not covered: its pieces become
            libraries in folders below ``path``, and ``pieces.json`` there says how they connect. In
            place of true, the shapes of what such layers give that the file does not state:
            ``{"memory": ("B", 16)}``.
        embedded_bytes: constants of more bytes are mapped from a file beside the library.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        SpecError: the name is no identifier, the target is none, an operand has no dtype, or the
            folder holds something else.
        UnsupportedError: this system, CPU level or target cannot be built for.
        ToolchainError: there is no C compiler, or it fails.
    """
    folder, cpus = Path(path).absolute(), cpus_of(cpu)
    if cut is not False:
        from einloom.aot.pieces import build_pieces

        if not is_keras(target) or layers or dtype is not None:
            raise SpecError("cut is for whole Keras models and their files; dtypes are theirs")
        return build_pieces(
            target,
            operands,
            cut,
            checked_name(folder.name if name is None else name),
            folder,
            cpus,
            batch=batch,
            ranges=ranges,
            is_static=static,
            embedded_bytes=embedded_bytes,
            progress=progress,
        )
    if (specs := specs_of(target)) is not None:
        if operands or ranges or name or batch or layers:
            raise SpecError("a specs file names its libraries and operands; give none beside it")
        wanted = [
            _Library(
                checked_name(spec.name),
                folder / spec.name,
                source_of(spec.expression, (), dtype, None),
                cpus_of(spec.cpus) if spec.cpus else cpus,
            )
            for spec in specs
        ]
    else:
        wanted = _wanted(
            target, operands, folder, name, cpus, dtype, ranges=ranges, batch=batch, layers=layers
        )  # fmt: skip
    examples = [example_sizes(library.source, library.name) for library in wanted]
    built = tuple(
        build_folder(
            library.name,
            library.source,
            library.folder,
            library.cpus,
            sizes,
            is_static=static,
            embedded_bytes=embedded_bytes,
            progress=progress,
        )
        for library, sizes in zip(wanted, examples, strict=True)
    )
    return built if specs is not None or layers else built[0]


def _wanted(
    target: Any,
    operands: tuple[Any, ...],
    folder: Path,
    name: str | None,
    cpus: Cpus,
    dtype: object,
    *,
    ranges: Mapping[str, Any] | None,
    batch: int | tuple[int, int | None] | None,
    layers: Sequence[str],
) -> list[_Library]:
    """Return what to write of a target that is no specs file: one library, or one for each layer.

    Raises:
        SpecError: the arguments are not for a target of this kind.
    """
    if layers and is_keras(target):
        return _layers(target, layers, folder, cpus, ranges, batch, is_named=bool(name or operands))
    called = checked_name(folder.name if name is None else name)
    if is_keras(target):
        from einloom.aot.keras_targets import keras_source

        source = keras_source(target, operands, batch=batch, ranges=ranges)
    elif batch is not None or layers:
        raise SpecError("batch and layers are for Keras layers, models and their files")
    else:
        source = source_of(target, operands, dtype, ranges)
    return [_Library(called, folder, source, cpus)]


def _layers(
    target: Any,
    layers: Sequence[str],
    folder: Path,
    cpus: Cpus,
    ranges: Mapping[str, Any] | None,
    batch: int | tuple[int, int | None] | None,
    *,
    is_named: bool,
) -> list[_Library]:
    from einloom.aot.keras_targets import keras_source

    if is_named:
        raise SpecError("layers name their libraries and operands; give none beside them")
    return [
        _Library(
            checked_name(each),
            folder / each,
            keras_source(target, layer=each, batch=batch, ranges=ranges),
            cpus,
        )
        for each in layers
    ]


def checked_name(name: str) -> str:
    """Return the name of a library.

    Raises:
        SpecError: it is no C identifier, or one that Python or the driver reserves.
    """
    from keyword import iskeyword

    is_plain = name.isidentifier() and name.isascii() and not name.startswith("_")
    if not is_plain or iskeyword(name) or name in _DRIVER_WORDS:
        raise SpecError(
            f"name={name!r} must be an identifier of ASCII letters, digits and '_' that neither "
            "Python nor the driver reserves; give another one (--name)"
        )
    return name


class _Loaded(loader.Function):
    """A function of a built folder, with einloom's own errors."""

    shape_error = ShapeError
    dtype_error = DTypeError
    index_error = IndicesError

    def _module(self) -> Any:
        return calls


def load(path: str | Path) -> loader.Function:
    """Return the function of a built folder.

    The function is what ``NAME.py`` of the folder defines, with einloom's errors instead of its
    own.

    Args:
        path: the folder that :func:`build` wrote.

    Raises:
        SpecError: the folder was not built by einloom, or holds a model in pieces.
    """
    import json

    folder = Path(path)
    if (folder / "pieces.json").is_file():
        raise SpecError(f"{folder} holds a model in pieces; use einloom.aot.load_pieces")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        name = manifest["name"]
    except (OSError, ValueError, KeyError) as error:
        raise SpecError(f"{folder} is no folder that einloom.aot.build wrote: {error}") from None
    return _Loaded(str(folder.absolute()), name, manifest)


def load_pieces(path: str | Path) -> Joined:
    """Return the cut model of a built folder; its ``join`` takes functions for the other layers.

    Args:
        path: the folder that :func:`build` wrote with ``cut``.

    Raises:
        SpecError: the folder was not built by einloom from a model that was cut.
    """
    import json

    from einloom.keras.pieces.joining import Joined

    folder = Path(path)
    try:
        description = json.loads((folder / "pieces.json").read_text(encoding="utf-8"))
        names = [step["piece"] for step in description["steps"] if "piece" in step]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{folder} is no folder that einloom.aot.build wrote: {error}") from None
    return Joined(description, {name: load(folder / checked_name(name)) for name in names})


#: Words behind which the driver's own names begin.
_DRIVER_WORDS = frozenset(("input", "output", "einloom", "constants"))
