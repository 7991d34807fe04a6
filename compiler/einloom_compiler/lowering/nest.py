"""Name an iteration space's indices and write its plain loop nest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.ir.scalar import SUM, Scalar
from einloom_compiler.lowering.iteration import IterationSpace, skeleton

#: Loop indices by depth. ``p`` is the flattened parallel index and a-h are loaded values.
_NAMES = "ijklmnoqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Arithmetics:
    """What a contraction computes besides its indices.

    Attributes:
        inputs: dtype name of each operand in memory.
        output: dtype name of the output in memory.
        compute: dtype name that operands are cast to.
        conjugated: whether each operand is conjugated on load.
        epilogue: what is computed from each finished sum, ``Value(0)``, and the elements of further
            operands, ``Value(1 + n)``.
        extras: dtype name of each of those in memory.
    """

    inputs: tuple[str, ...]
    output: str
    compute: str
    conjugated: tuple[bool, ...]
    epilogue: Scalar = SUM
    extras: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether sums are stored as they are."""
        return self.epilogue is SUM


def step_arithmetics(tree: ContractionTree, whole: Arithmetics) -> tuple[Arithmetics, ...]:
    """Return what each step of ``tree`` computes, ``whole`` being the whole contraction's.

    Intermediates of 16-bit floats stay in float32; the epilogue belongs to the last step.
    """
    between = "float32" if arithmetic(whole.compute).is_half else whole.compute
    dtypes, conjugated = [*whole.inputs], [*whole.conjugated]
    found: list[Arithmetics] = []
    for step in tree.steps:
        is_last = len(found) == len(tree.steps) - 1
        is_raw = max(step.positions) < len(whole.inputs)
        output = whole.output if is_last else between
        found.append(
            Arithmetics(
                inputs=tuple(dtypes[position] for position in step.positions),
                output=output,
                compute=whole.compute if is_raw else between,
                conjugated=tuple(conjugated[position] for position in step.positions),
                epilogue=whole.epilogue if is_last else SUM,
                extras=whole.extras if is_last else (),
            )
        )
        dtypes.append(output)
        conjugated.append(False)
    return tuple(found)


def without_arithmetic(arithmetics: Arithmetics, space: IterationSpace) -> Arithmetics:
    """Return what moves bits where nothing is computed: copies of all dtypes of one size are one.

    Elements of 1 to 8 bytes become unsigned integers; complex128 stays what it is.
    """
    dtypes = {*arithmetics.inputs, arithmetics.output, arithmetics.compute}
    is_copy = len(arithmetics.inputs) == 1 and space.n_output == len(space.extents)
    is_plain = arithmetics.is_plain and not any(arithmetics.conjugated) and len(dtypes) == 1
    itemsize = np.dtype(arithmetic(arithmetics.output).storage).itemsize
    if not (is_copy and is_plain) or itemsize > 8:
        return arithmetics
    bits = f"uint{8 * itemsize}"
    return Arithmetics((bits,), bits, bits, (False,))


@dataclass(frozen=True, slots=True)
class NamedNest:
    """A loop nest and how it was numbered.

    Attributes:
        nest: the plain nest: output levels, then contracted ones.
        order: the iteration space's index number of each of the nest's indices.
        operands: position in the expression of each of the nest's inputs.
    """

    nest: LoopNest
    order: tuple[int, ...]
    operands: tuple[int, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """The iteration space's number of each of the nest's indices, by name."""
        return dict(zip(self.nest.indices, self.order, strict=True))


def loop_name(position: int) -> str:
    """Return the name of the loop index at this depth."""
    return _NAMES[position] if position < len(_NAMES) else f"i{position}"


def lower(space: IterationSpace, order: Sequence[int], arithmetics: Arithmetics) -> NamedNest:
    """Return the plain loop nest over ``space`` with its loops in ``order``, outermost first.

    Operands are sorted, since a product does not depend on their order, so that structures that
    differ only in it share one kernel.
    """
    return _lower(skeleton(space), tuple(order), arithmetics)


@lru_cache(maxsize=1024)
def _lower(space: IterationSpace, order: tuple[int, ...], arithmetics: Arithmetics) -> NamedNest:
    arithmetics = without_arithmetic(arithmetics, space)
    is_complex = arithmetics.compute.startswith("complex")
    names = {number: loop_name(position) for position, number in enumerate(order)}

    def access(name: str, dtype: str, column: tuple[int | None, ...], conjugated: bool) -> Access:
        used = [number for number in order if column[number] is not None]
        unit = next((names[number] for number in reversed(used) if column[number] == 1), None)
        return Access(name, dtype, tuple(names[n] for n in used), unit, conjugated and is_complex)

    columns = space.strides[:-1]
    found = [
        access("", dtype, column, conjugated)
        for dtype, column, conjugated in zip(
            arithmetics.inputs, columns, arithmetics.conjugated, strict=True
        )
    ]
    operands = sorted(
        range(len(found)),
        key=lambda n: (
            found[n].indices,
            found[n].dtype,
            found[n].unit or "",
            arithmetics.conjugated[n],
        ),
    )
    inputs = tuple(
        replace(found[n], name=f"x{position}", has_start=bool(space.starts))
        for position, n in enumerate(operands)
    )
    nest = LoopNest(
        inputs=inputs,
        output=replace(
            access("out", arithmetics.output, space.strides[-1], False),
            has_start=bool(space.starts),
        ),
        contracted=tuple(names[n] for n in order if n >= space.n_output),
        compute=arithmetics.compute,
        levels=tuple(Level(names[number]) for number in order),
        epilogue=arithmetics.epilogue,
        extras=tuple(
            access(f"e{number}", dtype, column, False)
            for number, (dtype, column) in enumerate(
                zip(arithmetics.extras, space.extras, strict=True)
            )
        ),
    )
    return NamedNest(nest, order, tuple(operands))
