"""A wheel of a built library: a package with the loader, the library and its manifest.

Source: PyPA specifications, "Binary distribution format" and "Platform compatibility tags".
"""

from __future__ import annotations

import base64
import csv
import io
import zipfile
from hashlib import sha256
from pathlib import Path

from einloom.aot.building import Built
from einloom_compiler.errors import SpecError

#: The same time for all members: wheels of equal inputs are equal. ZIP's first year.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_wheel(built: Built, version: str = "1.0") -> Path:
    """Write ``NAME-VERSION-py3-none-manylinux_2_X_ARCH.whl`` into the folder; return its path.

    The package ``NAME`` holds what the folder does; ``from NAME import NAME`` gives the function.

    Args:
        built: the library.
        version: the wheel's own.

    Raises:
        SpecError: the version is none.
    """
    if not version or not all(part.isdecimal() for part in version.split(".")):
        raise SpecError(f"a wheel's version is numbers with dots, such as 1.0, not {version!r}")
    name, manifest = built.name, built.manifest
    glibc = manifest["glibc"] or "2.17"
    tag = f"py3-none-manylinux_{glibc.replace('.', '_')}_{manifest['architecture']}"
    home = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": (built.folder / f"{name}.py").read_bytes(),
        f"{name}/manifest.json": (built.folder / "manifest.json").read_bytes(),
    }
    for file in (manifest["library"], f"{name}.h", f"lib{name}.weights"):
        if (built.folder / file).exists():
            files[f"{name}/{file}"] = (built.folder / file).read_bytes()
    files[f"{home}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        f"Summary: {manifest['equation']}, built by einloom {manifest['einloom']}\n"
        "Requires-Python: >=3.11\nRequires-Dist: numpy\n"
    ).encode()
    files[f"{home}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: einloom {manifest['einloom']}\n"
        f"Root-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, contents in files.items():
        digest = base64.urlsafe_b64encode(sha256(contents).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(contents)))
    rows.writerow((f"{home}/RECORD", "", ""))
    files[f"{home}/RECORD"] = record.getvalue().encode()
    target = built.folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, contents in files.items():
            member = zipfile.ZipInfo(path, _TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            wheel.writestr(member, contents)
    return target
