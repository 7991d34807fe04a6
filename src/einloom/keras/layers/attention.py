"""Attention: with projections, with shared key and value heads, and of given vectors.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any, ClassVar

from einloom.keras.layers.layer import Layer, arguments

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]


class MultiHeadAttention(Layer):
    """Attention of projected query, value and key: ``layer(query, value, key)``.

    Weights: ``query/kernel``, ``query/bias``, the same of ``key``, of ``gate`` where ``use_gate``,
    of ``value`` and of ``attention_output``. A call takes ``attention_mask`` (batch, queries,
    keys), ``use_causal_mask`` and ``return_attention_scores``; and ``query_mask``, ``value_mask``
    and ``key_mask`` (batch, positions), which Keras finds attached to its tensors. A ``dropout``
    does nothing at inference, but Keras then gives zeros, and not the average, to a query that
    sees no key.

    Example:
        >>> import numpy as np
        >>> layer = MultiHeadAttention(2, 4)
        >>> shapes = layer.weight_shapes((2, 5, 8), (2, 5, 8))
        >>> x = np.ones((2, 5, 8), np.float32)
        >>> weights = [np.ones(shape, np.float32) for shape in shapes.values()]
        >>> layer(x, x, use_causal_mask=True, weights=weights).shape
        (2, 5, 8)
    """

    TENSORS: ClassVar[tuple[str, ...]] = ("query_mask", "value_mask", "key_mask", "attention_mask")
    SETTINGS: ClassVar[tuple[str, ...]] = ("return_attention_scores", "use_causal_mask")

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        *,
        use_gate: bool = False,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class GroupQueryAttention(Layer):
    """Attention whose key and value heads serve several query heads each.

    Weights, masks and settings: as of :class:`MultiHeadAttention`.
    """

    TENSORS: ClassVar[tuple[str, ...]] = ("query_mask", "value_mask", "key_mask", "attention_mask")
    SETTINGS: ClassVar[tuple[str, ...]] = ("return_attention_scores", "use_causal_mask")

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        *,
        use_gate: bool = False,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Attention(Layer):
    """Attention of given vectors: ``layer([query, value, key])``.

    Weights: ``scale`` () where ``use_scale``, ``concat_score_weight`` () where ``score_mode`` is
    ``concat``. A call takes ``mask=[query_mask, value_mask]``.
    """

    TENSORS: ClassVar[tuple[str, ...]] = ("mask",)
    SETTINGS: ClassVar[tuple[str, ...]] = ("return_attention_scores", "use_causal_mask")

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class AdditiveAttention(Layer):
    """Attention by sums of tanh: ``layer([query, value, key])``.

    Weights: ``scale`` (size,) where ``use_scale``. Masks as of :class:`Attention`.
    """

    TENSORS: ClassVar[tuple[str, ...]] = ("mask",)
    SETTINGS: ClassVar[tuple[str, ...]] = ("return_attention_scores", "use_causal_mask")

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)
