"""Pack constants when a library is built, where its one level reads them in no other way.

A library of several levels packs what the chosen one wants when it is loaded: it holds each
constant once. One of a single level can hold the packed array in its place, at little cost in size,
so that loading it and its first call pack nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from einloom_compiler.aot.library import (
    Constant,
    Launch,
    Library,
    Packed,
    Place,
    Step,
    read_by,
)
from einloom_compiler.dtypes import as_dtype

#: Packed bytes of one of the constant's at most: lanes of padding are worth it, halves that are
#: packed as words of four bytes are not.
_MOST_GROWTH = 1.25


def pack_built_in(library: Library) -> Library:
    """Return the library with constants packed that all its steps read packed, in the same way.

    Libraries of several levels are returned as they are.
    """
    if len(library.levels) != 1:
        return library
    (level,) = library.levels
    packings = Counter(packed.constant for packed in level.packed)
    steps = (step for variant in level.variants for step in variant.steps)
    places = (place for step in steps for place in read_by(step))
    plain = {place.number for place in places if place.kind == "constant"}
    chosen = [
        number
        for number, packed in enumerate(level.packed)
        if packings[packed.constant] == 1
        and packed.constant not in plain
        and packed.packing.n_bytes
        <= _MOST_GROWTH * len(library.constants[packed.constant].contents)
    ]
    constants = list(library.constants)
    moved: dict[int, Place] = {}
    for number in chosen:
        packed = level.packed[number]
        constants[packed.constant] = _packed(constants[packed.constant], packed)
        moved[number] = Place("constant", packed.constant)
    kept = [number for number in range(len(level.packed)) if number not in moved]
    moved.update((number, Place("packed", position)) for position, number in enumerate(kept))

    def settled(place: Place) -> Place:
        if place.kind != "packed":
            return place
        return replace(moved[place.number], offset=place.offset)

    def step_of(step: Step) -> Step:
        if not isinstance(step, Launch):
            return step
        return replace(step, operands=tuple(map(settled, step.operands)))

    variants = tuple(replace(v, steps=tuple(map(step_of, v.steps))) for v in level.variants)
    packed_later = tuple(level.packed[number] for number in kept)
    level = replace(level, packed=packed_later, variants=variants)
    return replace(library, constants=tuple(constants), levels=(level,))


def _packed(constant: Constant, packed: Packed) -> Constant:
    array = np.frombuffer(constant.contents, as_dtype(packed.dtype), -1, constant.start)
    return Constant(packed.packing.pack(array).tobytes())
