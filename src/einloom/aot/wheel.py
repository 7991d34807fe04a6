"""A wheel of a built library: a package with the loader, the library and its manifest.

Source: PyPA specifications, "Binary distribution format" and "Platform compatibility tags".
"""

from __future__ import annotations

import base64
import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import einloom
from einloom.aot.building import Built
from einloom_compiler.errors import SpecError

#: The same time for all members: wheels of equal inputs are equal. ZIP's first year.
_TIME = (1980, 1, 1, 0, 0, 0)


def check_version(version: str) -> None:
    """Check that a wheel can have this version.

    Raises:
        SpecError: it is no numbers with dots.
    """
    if not version or not all(part.isascii() and part.isdecimal() for part in version.split(".")):
        raise SpecError(f"a wheel's version is numbers with dots, such as 1.0, not {version!r}")


def write_wheel(built: Built, version: str = "1.0") -> Path:
    """Write ``NAME-VERSION-py3-none-manylinux_2_X_ARCH.whl`` into the folder; return its path.

    The package ``NAME`` holds what the folder does; ``from NAME import NAME`` gives the function.

    Args:
        built: the library.
        version: the wheel's own.

    Raises:
        SpecError: the version is none.
    """
    name, manifest = built.name, built.manifest
    files = {
        f"{name}/__init__.py": (built.folder / f"{name}.py").read_bytes(),
        **_library_files(built, name),
    }
    return _written(built.folder, name, version, manifest["equation"], [manifest], files)


def write_pieces_wheel(folder: Path, name: str, pieces: Sequence[Built], version: str) -> Path:
    """Write a wheel of a cut model's pieces and what joins them; return its path.

    ``from NAME import NAME`` gives the model, whose ``join`` takes functions.

    Args:
        folder: of the cut model.
        name: the model's library name.
        pieces: its libraries.
        version: the wheel's own.

    Raises:
        SpecError: the version is none.
    """
    files = {
        f"{name}/__init__.py": (folder / f"{name}.py").read_bytes(),
        f"{name}/pieces.json": (folder / "pieces.json").read_bytes(),
    }
    for piece in pieces:
        home = f"{name}/{piece.name}"
        files[f"{home}/{piece.name}.py"] = (piece.folder / f"{piece.name}.py").read_bytes()
        files |= _library_files(piece, home)
    for weights in sorted(folder.glob("outside/*.npz")):
        files[f"{name}/outside/{weights.name}"] = weights.read_bytes()
    manifests = [piece.manifest for piece in pieces]
    return _written(folder, name, version, f"{name} in pieces", manifests, files)


def _library_files(built: Built, home: str) -> dict[str, bytes]:
    stem = f"lib{built.name}"
    names = (
        *("manifest.json", built.manifest["library"], f"{stem}.weights"),
        *(f"{built.name}.h", f"{built.name}_calls.py"),
    )
    return {
        f"{home}/{name}": (built.folder / name).read_bytes()
        for name in names
        if (built.folder / name).exists()
    }


def _written(
    folder: Path,
    name: str,
    version: str,
    summary: str,
    manifests: Sequence[Mapping[str, Any]],
    files: dict[str, bytes],
) -> Path:
    check_version(version)
    newest = max((manifest["glibc"] or "2.17" for manifest in manifests), key=_numbers)
    architectures = {manifest["architecture"] for manifest in manifests}
    tag = f"py3-none-manylinux_{newest.replace('.', '_')}_{'_'.join(sorted(architectures))}"
    home = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{home}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        f"Summary: {summary}, built by einloom {einloom.__version__}\n"
        "Requires-Python: >=3.11\nRequires-Dist: numpy\n"
    ).encode()
    files[f"{home}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: einloom {einloom.__version__}\n"
        f"Root-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, contents in files.items():
        digest = base64.urlsafe_b64encode(sha256(contents).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(contents)))
    rows.writerow((f"{home}/RECORD", "", ""))
    files[f"{home}/RECORD"] = record.getvalue().encode()
    target = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, contents in files.items():
            member = zipfile.ZipInfo(path, _TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            wheel.writestr(member, contents)
    return target


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
