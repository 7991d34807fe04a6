"""Cases: named contractions with sizes, read from ``cases/*.json``, and their operands."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Layout = Literal["C", "F", "sliced"]

CASES = Path(__file__).parent / "cases"
#: Files of cases, in the order of the report; ``quick.json`` names the cases of a quick run.
FILES = ("workloads.json", "tccg.json", "more.json")
_LAYOUTS = ("C", "F", "sliced")


class CaseError(ValueError):
    """A case is malformed."""


@dataclass(frozen=True)
class Case:
    """A contraction with its sizes.

    Attributes:
        name: unique among all cases.
        group: what it is reported with.
        einsum: an equation of single letters with an explicit output.
        extents: by index.
        dtype: of every operand and of the result.
        source: where it comes from.
        layouts: memory order of each operand.
    """

    name: str
    group: str
    einsum: str
    extents: Mapping[str, int]
    dtype: str
    source: str
    layouts: tuple[Layout, ...]

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Each operand's subscript."""
        return tuple(self.einsum.split("->")[0].split(","))

    @cached_property
    def output(self) -> str:
        """The result's subscript."""
        return self.einsum.split("->")[1]

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Each operand's shape."""
        return tuple(self.shape_of(term) for term in self.terms)

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """The result's shape."""
        return self.shape_of(self.output)

    @cached_property
    def contracted(self) -> str:
        """The indices that are summed over, in order of appearance."""
        seen = dict.fromkeys(index for term in self.terms for index in term)
        return "".join(index for index in seen if index not in self.output)

    @cached_property
    def n_terms_of_sum(self) -> int:
        """How many products one element of the result sums."""
        return math.prod(self.extents[index] for index in self.contracted)

    @cached_property
    def n_points(self) -> int:
        """The points of one loop nest over all indices."""
        return math.prod(self.extents[index] for index in set("".join(self.terms)))

    @cached_property
    def flops(self) -> int:
        """FLOPs in the cheapest order, a multiply-add being 2 (8 for complex numbers).

        One operand: an addition for each element that is summed, none for a transpose. More:
        opt_einsum's count of the order that its default optimizer finds.
        """
        is_complex = np.dtype(self.dtype).kind == "c"
        if len(self.terms) == 1:
            n_additions = self.n_points if self.contracted else 0
            return n_additions * (2 if is_complex else 1)
        import opt_einsum

        path = opt_einsum.contract_path(self.einsum, *self.shapes, shapes=True, optimize="auto")
        return int(path[1].opt_cost) * (4 if is_complex else 1)

    @cached_property
    def n_bytes(self) -> int:
        """Bytes that must move at least: each operand read once, the result written once."""
        sizes = (math.prod(shape) for shape in (*self.shapes, self.output_shape))
        return sum(sizes) * np.dtype(self.dtype).itemsize

    def shape_of(self, term: str) -> tuple[int, ...]:
        """Return the shape of a tensor with this subscript."""
        return tuple(self.extents[index] for index in term)

    def operands(self) -> list[Array]:
        """Return operands, the same ones for the same case: uniform in [-1, 1), or in -4..4."""
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [
            _laid_out(_random(generator, shape, np.dtype(self.dtype)), layout)
            for shape, layout in zip(self.shapes, self.layouts, strict=True)
        ]


def _random(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        return generator.integers(-4 if dtype.kind == "i" else 0, 5, shape).astype(dtype)
    if dtype.kind == "c":
        parts = [_random(generator, shape, np.dtype("float64")) for _ in range(2)]
        return (parts[0] + 1j * parts[1]).astype(dtype)
    return (generator.random(shape, dtype=np.float32) * 2 - 1).astype(dtype)


def _laid_out(array: Array, layout: Layout) -> Array:
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "sliced":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array


def case_from_json(record: Mapping[str, Any]) -> Case:
    """Return the case of one JSON record.

    Raises:
        CaseError: a field is missing, the equation is malformed, or extents and indices differ.
    """
    name = record.get("name", "?")
    missing = {"name", "group", "einsum", "extents", "dtype", "source"} - record.keys()
    if missing:
        raise CaseError(f"case {name!r} lacks {', '.join(sorted(missing))}")
    terms, arrow, output = record["einsum"].partition("->")
    indices = set(terms) - {","}
    if not arrow or not all(index.isalpha() for index in indices) or not set(output) <= indices:
        raise CaseError(f"case {name!r}: {record['einsum']!r} is not an explicit einsum of letters")
    if len(set(output)) != len(output):
        raise CaseError(f"case {name!r}: an index is repeated in the output {output!r}")
    if set(record["extents"]) != indices:
        raise CaseError(
            f"case {name!r}: extents are given for {''.join(sorted(record['extents']))!r}, but "
            f"the indices are {''.join(sorted(indices))!r}"
        )
    n_operands = terms.count(",") + 1
    layouts = tuple(record.get("layout", ("C",) * n_operands))
    if len(layouts) != n_operands or not set(layouts) <= set(_LAYOUTS):
        raise CaseError(f"case {name!r}: layout needs {n_operands} of {_LAYOUTS}, not {layouts}")
    return Case(
        name=name,
        group=record["group"],
        einsum=record["einsum"],
        extents=dict(record["extents"]),
        dtype=np.dtype(record["dtype"]).name,
        source=record["source"],
        layouts=layouts,
    )


def load_cases(files: Iterable[str] = FILES) -> list[Case]:
    """Return all cases.

    Raises:
        CaseError: a case is malformed, or two have one name.
    """
    cases = [
        case_from_json(record)
        for file in files
        for record in json.loads((CASES / file).read_text())["cases"]
    ]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CaseError(f"two cases are named {', '.join(twice)}")
    return cases


def quick_names() -> list[str]:
    """Return the names of the cases of a quick run."""
    names: list[str] = json.loads((CASES / "quick.json").read_text())["names"]
    return names


def select(
    cases: Sequence[Case], groups: Sequence[str] = (), names: Sequence[str] = ()
) -> list[Case]:
    """Return the cases of these groups and these names; all where neither is given.

    Raises:
        CaseError: a group or a name is unknown.
    """
    known_groups = {case.group for case in cases}
    known_names = {case.name for case in cases}
    for kind, asked, known in (("group", groups, known_groups), ("case", names, known_names)):
        for name in asked:
            if name not in known:
                raise CaseError(f"no {kind} is named {name!r}; known: {', '.join(sorted(known))}")
    if not groups and not names:
        return list(cases)
    return [case for case in cases if case.group in groups or case.name in names]
