"""Attention layers.

Source: ``keras/src/layers/attention`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, Slot, same_extent, shape_text
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom_compiler.errors import ShapeError


@dataclass(frozen=True, slots=True)
class MultiHeadAttention(Kind):
    """Projections of query, value and key to heads, attention, and a projection back.

    Attributes:
        n_heads: number of heads.
        key_width: extent of a head of query and key.
        value_width: extent of a head of value.
        use_bias: whether each projection adds a bias.
        use_gate: whether the heads' output is multiplied by a gate of the query.
        out_shape: the output's extents after the free axes; None for the query's last extent.
        attention_axes: axes of query and key that are attended over; None for all free axes.
        sliding_window: how far apart positions may attend to each other; None for any distance.
    """

    n_heads: int
    key_width: int
    value_width: int
    use_bias: bool
    use_gate: bool
    out_shape: tuple[int, ...] | None
    attention_axes: tuple[int, ...] | None
    sliding_window: int | None

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("query", "value", "key")
    MIN_INPUTS: ClassVar[int] = 2
    RANKS: ClassVar[tuple[int, int | None]] = (3, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the query's shape, its last extent replaced by ``out_shape`` where given."""
        query, _, _ = self._shapes(*inputs)
        return query if self.out_shape is None else (*query[:-1], *self.out_shape)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of the projections' kernels and biases."""
        return _projection_slots(self.use_bias, self.use_gate)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the shapes of kernels ``(in, heads, width)`` and biases ``(heads, width)``."""
        query, value, key = self._shapes(*inputs)
        heads, k, v = self.n_heads, self.key_width, self.value_width
        n_query, n_key, n_value = (
            self.known_extent(shape, len(shape) - 1) for shape in (query, key, value)
        )
        out = (n_query,) if self.out_shape is None else self.out_shape
        pairs: list[tuple[Shape, Shape]] = [
            ((n_query, heads, k), (heads, k)),
            ((n_key, heads, k), (heads, k)),
            *([((n_query, heads, v), (heads, v))] if self.use_gate else []),
            ((n_value, heads, v), (heads, v)),
            ((heads, v, *out), out),
        ]
        return _flattened(pairs, self.use_bias)

    def _shapes(self, *inputs: Shape) -> tuple[Shape, Shape, Shape]:
        self.check_inputs(*inputs)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        if len({len(query), len(value), len(key)}) != 1:
            raise ShapeError(
                "MultiHeadAttention needs query, value and key of one rank, not "
                + ", ".join(map(shape_text, (query, value, key)))
            )
        for axis in range(1, len(value) - 1):
            where = f"MultiHeadAttention of value {shape_text(value)} and key {shape_text(key)}"
            same_extent(value[axis], key[axis], where)
        for axis in self.attention_axes or ():
            self.axis_of(axis, query, 1)
        return query, value, key


def multi_head_attention(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``MultiHeadAttention``."""
    key_width = fields.integer("key_dim")
    out = None if fields.get("output_shape") is None else fields.extents("output_shape")
    axes = None if fields.get("attention_axes") is None else fields.axes("attention_axes")
    return MultiHeadAttention(
        fields.integer("num_heads"),
        key_width,
        fields.optional_integer("value_dim") or key_width,
        fields.boolean("use_bias", True),
        fields.boolean("use_gate", False),
        None if not out else tuple(extent for extent in out if extent is not None),
        axes,
        fields.optional_integer("sliding_window"),
    )


@dataclass(frozen=True, slots=True)
class GroupQueryAttention(Kind):
    """Multi-head attention whose key and value heads each serve a group of query heads.

    Attributes:
        head_width: extent of a head.
        n_query_heads: heads of the query; a multiple of the next.
        n_key_value_heads: heads of key and value.
        use_bias: whether each projection adds a bias.
        use_gate: whether the heads' output is multiplied by a gate of the query.
        sliding_window: how far apart positions may attend to each other; None for any distance.
    """

    head_width: int
    n_query_heads: int
    n_key_value_heads: int
    use_bias: bool
    use_gate: bool
    sliding_window: int | None

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("query", "value", "key")
    MIN_INPUTS: ClassVar[int] = 2
    RANKS: ClassVar[tuple[int, int | None]] = (3, 3)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the query's shape."""
        return self._shapes(*inputs)[0]

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of the projections' kernels and biases."""
        return _projection_slots(self.use_bias, self.use_gate)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the shapes of kernels ``(in, heads, width)`` and biases ``(heads, width)``."""
        query, value, key = self._shapes(*inputs)
        h, u, v = self.head_width, self.n_query_heads, self.n_key_value_heads
        n_query, n_key, n_value = (self.known_extent(shape, 2) for shape in (query, key, value))
        pairs: list[tuple[Shape, Shape]] = [
            ((n_query, u, h), (u, h)),
            ((n_key, v, h), (v, h)),
            *([((n_query, u, h), (u, h))] if self.use_gate else []),
            ((n_value, v, h), (v, h)),
            ((u, h, n_query), (n_query,)),
        ]
        return _flattened(pairs, self.use_bias)

    def _shapes(self, *inputs: Shape) -> tuple[Shape, Shape, Shape]:
        self.check_inputs(*inputs)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        where = f"GroupQueryAttention of value {shape_text(value)} and key {shape_text(key)}"
        same_extent(value[1], key[1], where)
        where = f"GroupQueryAttention of query {shape_text(query)} and value {shape_text(value)}"
        same_extent(query[2], value[2], where)
        return query, value, key


def group_query_attention(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``GroupQueryAttention``."""
    n_query, n_key_value = (
        fields.integer(name) for name in ("num_query_heads", "num_key_value_heads")
    )
    if n_query % n_key_value:
        raise fields.wrong("num_query_heads", f"a multiple of num_key_value_heads={n_key_value}")
    return GroupQueryAttention(
        fields.integer("head_dim"),
        n_query,
        n_key_value,
        fields.boolean("use_bias", True),
        fields.boolean("use_gate", False),
        fields.optional_integer("sliding_window"),
    )


def _projection_slots(use_bias: bool, use_gate: bool) -> tuple[Slot, ...]:
    parts = [
        ("query", "query_dense"),
        ("key", "key_dense"),
        *([("gate", "gate_dense")] if use_gate else []),
        ("value", "value_dense"),
        ("attention_output", "output_dense"),
    ]
    names = ("kernel", "bias") if use_bias else ("kernel",)
    return tuple(Slot(f"{part}/{name}", attribute) for part, attribute in parts for name in names)


def _flattened(pairs: list[tuple[Shape, Shape]], use_bias: bool) -> tuple[Shape, ...]:
    return tuple(
        shape for kernel, bias in pairs for shape in ((kernel, bias) if use_bias else (kernel,))
    )


@dataclass(frozen=True, slots=True)
class Attention(Kind):
    """Dot-product attention, or additive attention, of given query, value and key.

    Attributes:
        use_scale: whether scores are multiplied by a trained weight: a scalar; in additive
            attention one number for each feature.
        score_mode: ``dot``, ``concat`` (a weight times the sum of tanh), or ``additive``.
    """

    use_scale: bool
    score_mode: str

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("query", "value", "key")
    MIN_INPUTS: ClassVar[int] = 2
    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the query's shape with the value's last extent."""
        self.check_inputs(*inputs)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        where = f"{self.score_mode} attention of query {shape_text(query)}, key {shape_text(key)}"
        same_extent(query[-1], key[-1], where)
        where = f"{self.score_mode} attention of value {shape_text(value)}, key {shape_text(key)}"
        same_extent(value[-2], key[-2], where)
        return (*query[:-1], value[-1])

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``scale`` and ``concat_score_weight``."""
        scale = (Slot("scale"),) if self.use_scale else ()
        return scale + ((Slot("concat_score_weight"),) if self.score_mode == "concat" else ())

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``()`` for scalars, ``(d,)`` for the scale of additive attention."""
        self.check_inputs(*inputs)
        if self.score_mode == "additive" and self.use_scale:
            return ((self.known_extent(inputs[0], len(inputs[0]) - 1),),)
        return ((),) * len(self.slots())


def attention(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Attention``."""
    fields.refuse_unless_default("causal", False, "the causal mask of tf.keras up to 2.9")
    return Attention(
        fields.boolean("use_scale", False),
        fields.choice("score_mode", "dot", "concat", default="dot"),
    )


def additive_attention(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``AdditiveAttention``."""
    if fields.get("causal"):
        raise NotKnownError("causal=True (the causal mask of tf.keras up to 2.9)")
    return Attention(fields.boolean("use_scale", True), "additive")
