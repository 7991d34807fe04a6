"""Names of a library's inputs and outputs: identifiers, all different."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence


def identifiers(names: Sequence[str], taken: Sequence[str] = ()) -> tuple[str, ...]:
    """Return different identifiers, the names themselves where they are ones.

    Args:
        names: what should be called so.
        taken: names that others have.

    >>> identifiers(["x", "dense/kernel", "x"]), identifiers(["x"], taken=["x"])
    (('x', 'dense_kernel', 'x_1'), ('x_1',))
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name.lstrip("?")) or "x"
        if plain[0].isdigit() or plain[0] == "_" or keyword.iskeyword(plain):
            plain = f"x{plain}" if not keyword.iskeyword(plain) else f"{plain}_"
        unique, number = plain, 0
        while unique in (*found, *taken) or (unique in names and unique != name):
            number += 1
            unique = f"{plain}_{number}"
        found.append(unique)
    return tuple(found)


def output_names(parts: Sequence[Sequence[str | int]], inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of outputs.

    Args:
        parts: where each is in what a function returns: keys of dicts, positions in tuples.
        inputs: the inputs' names.

    They are called by the keys of the dicts they are in; else ``out``, or ``out0``, ``out1``.

    >>> output_names([("loss",), ("heads", 0), ("heads", 1)], ["x"])
    ('loss', 'heads_0', 'heads_1')
    >>> output_names([()], ["x"]), output_names([(0,), (1,)], ["x"])
    (('out',), ('out0', 'out1'))
    """
    plain = ("out",) if len(parts) == 1 else tuple(f"out{n}" for n in range(len(parts)))
    names = [
        "_".join(map(str, keys)) if any(isinstance(key, str) for key in keys) else name
        for keys, name in zip(parts, plain, strict=True)
    ]
    return identifiers(names, taken=inputs)
