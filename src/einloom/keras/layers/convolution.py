"""Convolutions: plain, depthwise, separable, transposed.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any

from einloom.keras.layers.layer import Layer, arguments

__all__ = [
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
]


class _Conv(Layer):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Conv1D(_Conv):
    """A convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, channels / groups, filters), ``bias`` (filters,).
    """


class Conv2D(_Conv):
    """A convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, channels / groups, filters), ``bias`` (filters,).
    """


class Conv3D(_Conv):
    """A convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, channels / groups, filters), ``bias`` (filters,).
    """


class _ConvTranspose(Layer):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Conv1DTranspose(_ConvTranspose):
    """A transposed convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, filters, channels), ``bias`` (filters,).
    """


class Conv2DTranspose(_ConvTranspose):
    """A transposed convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, filters, channels), ``bias`` (filters,).
    """


class Conv3DTranspose(Layer):
    """A transposed convolution, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, filters, channels), ``bias`` (filters,).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        output_padding: Any = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class _DepthwiseConv(Layer):
    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel on its own, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, channels, m), ``bias`` (channels * m,).
    """


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel on its own, a bias, an activation.

    Weights: ``kernel`` (*kernel_size, channels, m), ``bias`` (channels * m,).
    """


class _SeparableConv(Layer):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class SeparableConv1D(_SeparableConv):
    """A depthwise convolution, then a product along the channels, a bias, an activation.

    Weights: ``depthwise_kernel``, ``pointwise_kernel``, ``bias``.
    """


class SeparableConv2D(_SeparableConv):
    """A depthwise convolution, then a product along the channels, a bias, an activation.

    Weights: ``depthwise_kernel``, ``pointwise_kernel``, ``bias``.
    """
