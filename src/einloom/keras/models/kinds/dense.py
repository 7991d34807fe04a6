"""Layers that are one contraction with weights: Dense, EinsumDense, and a look-up, Embedding.

Source: ``dense.py``, ``einsum_dense.py`` and ``embedding.py`` in ``keras/src/layers/core`` of Keras
3.15.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.activation import Function, activation_field
from einloom.keras.models.kinds.base import Kind, Shape, Slot, same_extent, shape_text
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent


def refuse_quantized(fields: Fields) -> None:
    """Do not know a layer whose weights are stored as scaled integers.

    Raises:
        NotKnownError: it is quantized.
    """
    fields.refuse_unless_default("quantization_config", None, "quantized weights")
    fields.refuse_unless_default("quantization_mode", None, "quantized weights")


@dataclass(frozen=True, slots=True)
class Dense(Kind):
    """``...i,ij->...j``, a bias, an activation.

    Attributes:
        units: extent of the output's last axis.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    units: int
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape with the last extent replaced by ``units``."""
        self.check_inputs(*inputs)
        return (*inputs[0][:-1], self.units)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(i, units)`` and ``(units,)``."""
        self.check_inputs(*inputs)
        kernel = (self.known_extent(inputs[0], len(inputs[0]) - 1), self.units)
        return (kernel, (self.units,)) if self.use_bias else (kernel,)


def dense(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Dense``."""
    refuse_quantized(fields)
    return Dense(
        fields.integer("units"), activation_field(fields), fields.boolean("use_bias", True)
    )


@dataclass(frozen=True, slots=True)
class EinsumDense(Kind):
    """An einsum with a kernel, a bias, an activation.

    Attributes:
        input_letters: of the input, without the elided axes.
        kernel_letters: of the kernel.
        output_letters: of the output, without the elided axes.
        elided: where the equation has an ellipsis: ``left``, ``right`` or nowhere (empty).
        inner_shape: the output's extents as configured, without batch and elided axes; None is an
            extent taken from the input.
        bias_letters: the axes that the bias varies along; None for no bias.
        activation: applied to the sum.
    """

    input_letters: str
    kernel_letters: str
    output_letters: str
    elided: str
    inner_shape: tuple[int | None, ...]
    bias_letters: str | None
    activation: Function

    @property
    def equation(self) -> str:
        """The equation as Keras writes it."""
        left, right = "..." * (self.elided == "left"), "..." * (self.elided == "right")
        return (
            f"{left}{self.input_letters}{right},{self.kernel_letters}->"
            f"{left}{self.output_letters}{right}"
        )

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape: batch, the elided extents and ``inner_shape``, None filled in."""
        n_elided = self._n_elided(*inputs)
        shape = inputs[0]
        sizes = self._sizes(shape)
        inner = tuple(self._extent(letter, sizes) for letter in self.output_letters)
        if self.elided == "left":
            return (*shape[:n_elided], *inner)
        return (*inner, *shape[len(shape) - n_elided :]) if n_elided else inner

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        kernel = Slot("kernel")
        return (kernel,) if self.bias_letters is None else (kernel, Slot("bias"))

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the kernel's shape and the bias's, which has 1 where it does not vary."""
        n_elided = self._n_elided(*inputs)
        sizes = self._sizes(inputs[0])
        kernel = tuple(self._known(letter, sizes, inputs[0]) for letter in self.kernel_letters)
        if self.bias_letters is None:
            return (kernel,)
        first = min(map(self.output_letters.index, self.bias_letters))
        bias = tuple(
            self._known(letter, sizes, inputs[0]) if letter in self.bias_letters else 1
            for letter in self.output_letters[first:]
        )
        return (kernel, bias + (1,) * (n_elided if self.elided == "right" else 0))

    def _n_elided(self, *inputs: Shape) -> int:
        self.check_inputs(*inputs)
        n_elided = len(inputs[0]) - len(self.input_letters)
        if n_elided < 0 or (n_elided and not self.elided):
            raise ShapeError(
                f"EinsumDense {self.equation!r} does not fit an input of shape "
                f"{shape_text(inputs[0])}"
            )
        n_inner = len(self.output_letters) - (0 if n_elided and self.elided == "left" else 1)
        if len(self.inner_shape) != n_inner:
            raise ShapeError(
                f"EinsumDense {self.equation!r} needs an output_shape of {n_inner} extents without "
                f"the batch axis, not {self.inner_shape}"
            )
        return n_elided

    def _sizes(self, shape: Shape) -> dict[str, Extent]:
        """Return the extents of the letters of input and output; both name shared ones."""
        n_elided = len(shape) - len(self.input_letters)
        start = n_elided if self.elided == "left" else 0
        sizes: dict[str, Extent] = {}
        for number, letter in enumerate(self.input_letters):
            sizes[letter] = shape[start + number]
        named = self.output_letters[len(self.output_letters) - len(self.inner_shape) :]
        for letter, extent in zip(named, self.inner_shape, strict=True):
            if extent is not None:
                where = f"EinsumDense {self.equation!r}, letter {letter!r}"
                sizes[letter] = same_extent(sizes.get(letter, extent), extent, where)
        return sizes

    def _extent(self, letter: str, sizes: dict[str, Extent]) -> Extent:
        if letter not in sizes:
            raise ShapeError(
                f"EinsumDense {self.equation!r}: the extent of {letter!r} is in neither the input "
                "nor output_shape"
            )
        return sizes[letter]

    def _known(self, letter: str, sizes: dict[str, Extent], shape: Shape) -> int:
        extent = self._extent(letter, sizes)
        if isinstance(extent, int):
            return extent
        raise ShapeError(
            f"EinsumDense {self.equation!r} needs to know the extent of {letter!r}; its input has "
            f"shape {shape_text(shape)}"
        )


_EQUATION = re.compile(
    r"(?P<left>\.\.\.)?(?P<x>[a-zA-Z]+)(?P<right>\.\.\.)?,(?P<k>[a-zA-Z]+)->"
    r"(?P<out_left>\.\.\.)?(?P<y>[a-zA-Z]+)(?P<out_right>\.\.\.)?"
)


def einsum_dense(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``EinsumDense``."""
    refuse_quantized(fields)
    equation = fields.get("equation")
    if not isinstance(equation, str) or len(equation) > 200:
        raise fields.wrong("equation", "an equation such as abc,cd->abd")
    return EinsumDense(
        *_parsed(fields, equation),
        fields.extents("output_shape", with_none=True),
        _bias_letters(fields, equation),
        activation_field(fields),
    )


def _parsed(fields: Fields, equation: str) -> tuple[str, str, str, str]:
    match = _EQUATION.fullmatch(equation)
    if (
        match is None
        or match["left"] != match["out_left"]
        or match["right"] != match["out_right"]
        or (match["left"] and match["right"])
    ):
        raise NotKnownError(f"the equation {equation!r} is none that EinsumDense takes")
    x, k, y = match["x"], match["k"], match["y"]
    for letters, which in ((x, "input"), (k, "kernel"), (y, "output")):
        if len(set(letters)) != len(letters):
            raise NotKnownError(f"the equation {equation!r} repeats a letter in its {which}")
    if not set(y) <= set(x) | set(k) or not set(k) <= set(x) | set(y):
        raise fields.wrong("equation", "one whose letters all occur twice, or in the input")
    return x, k, y, "left" if match["left"] else "right" if match["right"] else ""


def _bias_letters(fields: Fields, equation: str) -> str | None:
    letters = fields.get("bias_axes")
    if letters is None or letters == "":
        return None
    output = equation.partition("->")[2]
    if not isinstance(letters, str) or not set(letters) <= set(output) - {"."}:
        raise fields.wrong("bias_axes", f"letters of the output {output!r}")
    return letters


@dataclass(frozen=True, slots=True)
class Embedding(Kind):
    """Rows of a table, looked up by integers.

    Attributes:
        n_rows: rows of the table; each input is below it.
        width: extent of the new last axis.
        mask_zero: whether input 0 masks its position for later layers.
    """

    n_rows: int
    width: int
    mask_zero: bool

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape with ``width`` appended."""
        self.check_inputs(*inputs)
        return (*inputs[0], self.width)

    def slots(self) -> tuple[Slot, ...]:
        """Return the place of ``embeddings``."""
        return (Slot("embeddings"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(n_rows, width)``."""
        self.check_inputs(*inputs)
        return ((self.n_rows, self.width),)


def embedding(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Embedding``."""
    refuse_quantized(fields)
    return Embedding(
        fields.integer("input_dim"),
        fields.integer("output_dim"),
        fields.boolean("mask_zero", False),
    )
