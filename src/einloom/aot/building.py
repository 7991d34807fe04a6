"""Build the folder of a library: objects, driver, link, header, loader, example, manifest."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

import einloom
from einloom.aot import archive, snippets
from einloom.aot.cpus import Cpus, host_architecture
from einloom.aot.lowering import Source, lower
from einloom.aot.shipped import calls, loader
from einloom.aot.toolchain import Toolchain, toolchain
from einloom.runtime.threads import available_threads
from einloom_compiler.aot.driver import identity_function, print_driver
from einloom_compiler.aot.header import print_example, print_header
from einloom_compiler.aot.library import Library
from einloom_compiler.aot.variants import constant_offsets, kernel_symbol
from einloom_compiler.codegen import elf
from einloom_compiler.codegen.several import SYMBOL, compile_several
from einloom_compiler.errors import InternalCompilerError, SpecError
from einloom_compiler.lowering.formula import formula_text

if TYPE_CHECKING:
    from einloom.aot.checking import Checked

#: Says what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
#: Bytes of constants that are linked into the library; more are mapped from a file beside it.
EMBEDDED_BYTES = 256 << 20
_SOURCES = ("runtime.c", "interface.c", "weights.c", "packing.c", "python.c")
_NATIVE = Path(__file__).parent / "native"
_POOL = Path(einloom.__file__).parent / "native"


@dataclass(frozen=True, slots=True)
class Built:
    """A built folder.

    Attributes:
        folder: where it is.
        name: the library's name.
        manifest: as it was written.
        source: what it was built from.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    source: Source

    def check(self) -> Checked:
        """Run the library in a fresh process without einloom, and compare it with its source.

        Raises:
            CheckError: results differ, or the process fails.
        """
        from einloom.aot.checking import check_source

        return check_source(self)

    def wheel(self, version: str = "1.0") -> Path:
        """Write a wheel of the loader and the library into the folder; return its path.

        Raises:
            SpecError: the version is none.
        """
        from einloom.aot.wheel import write_wheel

        return write_wheel(self, version)


def build_folder(
    name: str,
    source: Source,
    path: Path,
    cpus: Cpus,
    example_sizes: Mapping[str, int],
    *,
    is_static: bool = False,
    embedded_bytes: int = EMBEDDED_BYTES,
    progress: Progress | None = None,
) -> Built:
    """Write the folder ``path``, all of it or nothing.

    Raises:
        SpecError: ``path`` is a file, or holds what no build wrote.
    """
    tools = toolchain(cpus.architecture, host_architecture())
    check_folder(path)
    say = progress or (lambda *_: None)
    library = lower(name, source, cpus.levels, lambda done, n: say("planning", done, n))
    with all_or_nothing(path) as (work, result):
        manifest = _write(
            library, source, cpus, tools, work, result, example_sizes,
            is_static=is_static, embedded_bytes=embedded_bytes, say=say,
        )  # fmt: skip
    return Built(path, name, manifest, source)


@contextmanager
def all_or_nothing(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder to work in, and one that replaces ``path`` once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        work, result = Path(scratch, "work"), Path(scratch, "result")
        work.mkdir()
        result.mkdir()
        yield work, result
        if path.exists():
            path.rename(Path(scratch, "old"))
        result.rename(path)


def check_folder(path: Path) -> None:
    """Refuse to write to a file, or over what no build wrote.

    Raises:
        SpecError: it is.
    """
    if path.exists() and not path.is_dir():
        raise SpecError(f"{path} is a file; name a folder")
    is_used = path.is_dir() and any(path.iterdir())
    if is_used and not any(_is_ours(path / file) for file in ("manifest.json", "pieces.json")):
        raise SpecError(
            f"{path} is not empty, and no build of einloom wrote it; name another folder"
        )


def _is_ours(manifest: Path) -> bool:
    try:
        return "einloom" in json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _write(
    library: Library,
    source: Source,
    cpus: Cpus,
    tools: Toolchain,
    work: Path,
    result: Path,
    example_sizes: Mapping[str, int],
    *,
    is_static: bool,
    embedded_bytes: int,
    say: Progress,
) -> dict[str, Any]:
    name, version = library.name, einloom.__version__
    for folder, names in (
        (_POOL, ("pool.c", "pool.h", "system.h", "pages.h")),
        (_NATIVE, _SOURCES),
    ):
        for file in names:
            shutil.copyfile(folder / file, work / file)
    objects = _kernel_objects(library, cpus, work, say)
    digest = ""
    if library.constants:
        digest, linked = _write_constants(library, tools, work, result, embedded_bytes)
        objects += linked
    header = print_header(library, version, is_beside=bool(digest))
    (work / f"{name}.h").write_text(header, encoding="ascii")
    driver = print_driver(library, version, digest)
    identity = sha256(driver.encode())
    for file in (*_SOURCES, *objects):
        identity.update((work / file).read_bytes())
    driver += identity_function(name, identity.hexdigest())
    (work / "driver.c").write_text(driver, encoding="ascii")
    say("linking", 0, 1)
    objects.insert(0, tools.compile("driver.c", work).name)
    shared_name = f"lib{name}.so"
    shared = tools.link(objects, shared_name, work)
    shutil.copyfile(shared, result / shared_name)
    if is_static:
        members = [(member, (work / member).read_bytes()) for member in objects]
        (result / f"lib{name}.a").write_bytes(archive.archive(members))
    say("linking", 1, 1)
    sizes = [example_sizes[symbol.name] for symbol in library.symbols]
    facts = {**_facts(library, shared_name), "identity": identity.hexdigest()}
    texts = {
        f"{name}.h": header,
        **python_files(name, facts),
        f"{name.lower()}-config.cmake": snippets.cmake(name),
        f"{name.lower()}-config-version.cmake": snippets.cmake_version(version),
        f"{name}.pc": snippets.pkg_config(name, version, source.equation),
        "example.c": print_example(library, sizes, _shapes(library, example_sizes)),
    }
    for file_name, text in texts.items():
        (result / file_name).write_text(text, encoding="utf-8")
    manifest = _manifest(library, source, cpus, tools, result)
    manifest["identity"] = identity.hexdigest()
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (result / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def _write_constants(
    library: Library, tools: Toolchain, work: Path, result: Path, embedded_bytes: int
) -> tuple[str, list[str]]:
    """Write constants to an object, or to a file beside the library where they are many.

    Returns:
        The hash that a file beside the library is known by, empty where there is none; and the
        names of objects to link.
    """
    offsets, size = constant_offsets(library.constants)
    data = bytearray(size)
    for offset, constant in zip(offsets, library.constants, strict=True):
        data[offset : offset + len(constant.contents)] = constant.contents
    if size > embedded_bytes:
        digest = sha256(data).hexdigest()
        head = f"einloom weights {digest}\n".encode().ljust(128, b"\0")
        (result / f"lib{library.name}.weights").write_bytes(head + data)
        return digest, []
    (work / "constants.bin").write_bytes(data)
    (work / "constants.s").write_text(_constants_source(library.name), encoding="ascii")
    return "", [tools.compile("constants.s", work).name]


def python_files(name: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the loader and what it imports where a call needs it."""
    text, more = (Path(str(m.__file__)).read_text(encoding="utf-8") for m in (loader, calls))
    shown = pformat(facts, width=100, sort_dicts=False)
    here = "os.path.dirname(os.path.abspath(__file__))"
    text += f'\n\n{name} = Function({here}, "{name}", {shown})\n'
    return {f"{name}.py": text, f"{name}_calls.py": more}


def _kernel_objects(library: Library, cpus: Cpus, work: Path, say: Progress) -> list[str]:
    """Compile all kernels and return the names of their objects."""
    kernels = {
        kernel_symbol(library.name, level.cpu, number): (text, cpus.levels[level.cpu].target)
        for level in library.levels
        for number, text in enumerate(level.kernels)
    }
    codes = compile_several(
        list(kernels.values()),
        available_threads(),
        lambda done: say("compiling kernels", done, len(kernels)),
    )
    for symbol, code in zip(kernels, codes, strict=True):
        (work / f"{symbol}.o").write_bytes(elf.renamed(code, SYMBOL, symbol))
    say("compiling kernels", len(kernels), len(kernels))
    return [f"{symbol}.o" for symbol in kernels]


def _constants_source(name: str) -> str:
    return f"""\
    .section .rodata
    .globl {name}_constants
    .hidden {name}_constants
    .balign 64
{name}_constants:
    .incbin "constants.bin"
    .section .note.GNU-stack,"",%progbits
"""


def _shapes(library: Library, sizes: Mapping[str, int]) -> list[list[int]]:
    """Return the shapes of all inputs and outputs at these sizes."""
    ports = (*library.inputs, *library.outputs)
    return [
        [calls.value(calls.parsed(formula_text(extent)), sizes) for extent in port.shape]
        for port in ports
    ]


def _manifest(
    library: Library, source: Source, cpus: Cpus, tools: Toolchain, folder: Path
) -> dict[str, Any]:
    file = folder / f"lib{library.name}.so"
    contents = file.read_bytes()
    needs = elf.dynamic(contents)
    unknown = sorted(needs.libraries - {"libc.so.6", "libm.so.6", "libpthread.so.0"} - _LOADERS)
    if unknown:
        raise InternalCompilerError("aot", f"the library needs {', '.join(unknown)}")
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    return {
        "einloom": einloom.__version__,
        **_facts(library, file.name),
        "equation": source.equation,
        "kernels": {level.cpu: len(level.kernels) for level in library.levels},
        "variants": {level.cpu: len(level.variants) for level in library.levels},
        "weights_bytes": constant_offsets(library.constants)[1],
        "architecture": cpus.architecture,
        "glibc": needs.glibc,
        "libraries": sorted(needs.libraries),
        "linked_by": tools.name,
        "files": files,
        "content": sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
    }


def _facts(library: Library, file: str) -> dict[str, Any]:
    """Return what the loader needs to know."""
    ports = {
        kind: [
            {"name": p.name, "dtype": p.dtype, "shape": [formula_text(n) for n in p.shape]}
            for p in found
        ]
        for kind, found in (("inputs", library.inputs), ("outputs", library.outputs))
    }
    return {
        "name": library.name,
        "library": file,
        **ports,
        "symbols": [
            {
                "name": symbol.name,
                "input": symbol.input,
                "axis": symbol.axis,
                "least": symbol.least,
                "most": symbol.most,
            }
            for symbol in library.symbols
        ],
        "guards": [
            {
                "text": check.text,
                "left": formula_text(check.left),
                "right": formula_text(check.right),
                "relation": check.relation,
            }
            for check in library.checks
        ],
        "cpu": [level.cpu for level in library.levels],
    }


#: The dynamic loader, which glibc's own functions may name.
_LOADERS = frozenset({"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
