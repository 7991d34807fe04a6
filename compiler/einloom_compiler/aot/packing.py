"""What a library packs when it is loaded, as C: see ``packing.c``."""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.aot.library import Level, Packed
from einloom_compiler.lowering.prepacking import Packing

#: Packed constants begin at multiples of it, in bytes.
ALIGNMENT = 64
#: Kinds of numbers in C; complex ones are two.
_KINDS = {
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "complex64": "FLOAT",
    "complex128": "DOUBLE",
    "float16": "HALF",
    "bfloat16": "BFLOAT",
    "bool": "UINT8",
    **{name: name.upper() for name in ("int8", "int16", "int32", "int64")},
    **{name: name.upper() for name in ("uint8", "uint16", "uint32", "uint64")},
}


def packed_offsets(packed: Sequence[Packed]) -> tuple[list[int], int]:
    """Return where each packed constant begins among all, in bytes, and how long all are."""
    offsets, end = [], 0
    for one in packed:
        offsets.append(end)
        end = -(-(end + one.packing.n_bytes) // ALIGNMENT) * ALIGNMENT
    return offsets, end


def print_packings(level: Level, key: str, starts: Sequence[int]) -> str:
    """Return the table of what a level packs.

    Args:
        level: the level.
        key: the level's name in C identifiers.
        starts: where the first element of each constant is, in bytes.
    """
    offsets, _ = packed_offsets(level.packed)
    axes, rows = [], []
    for number, (packed, offset) in enumerate(zip(level.packed, offsets, strict=True)):
        name = f"{key}_axes_{number}"
        words = ", ".join(f"{n}, {step}" for n, step in _axes(packed.packing)) or "0"
        axes.append(f"static const int64_t {name}[] = {{{words}}};")
        rows.append(f"    {_row(packed, starts[packed.constant], offset, name)},")
    return "\n".join([*axes, f"static const struct Packing {key}_packings[] = {{", *rows, "};\n"])


def _axes(packing: Packing) -> tuple[tuple[int, int], ...]:
    return *packing.batch, *packing.digits, *packing.points


def _row(packed: Packed, source: int, target: int, axes: str) -> str:
    how = packed.packing
    kinds = [f"KIND_{_KINDS[name]}" for name in (packed.dtype, how.element)]
    n_inner = len(how.digits) + len(how.points)
    words = (
        *(source, target, how.size, *how.run, *kinds),
        *(2 if packed.dtype.startswith("complex") else 1, how.parts, int(how.is_conjugated)),
        *(len(how.batch), n_inner, axes),
    )
    return f"{{{', '.join(map(str, words))}}}"
