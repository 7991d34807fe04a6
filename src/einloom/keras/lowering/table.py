"""Which function lowers which kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from einloom.keras.lowering import (
    attention,
    convolution,
    merging,
    normalization,
    plain_attention,
    products,
    shaping,
    windows,
    wrapping,
)
from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor
from einloom.keras.models.kinds import activation as activations
from einloom.keras.models.kinds import attention as attentions
from einloom.keras.models.kinds import convolution as convolutions
from einloom.keras.models.kinds import dense, resizing, scaling, sequence
from einloom.keras.models.kinds import merging as merges
from einloom.keras.models.kinds import normalization as norms
from einloom.keras.models.kinds import shaping as shapes
from einloom.keras.models.kinds import wrapping as wrappers

_LOWERINGS: Mapping[type, Callable[[LayerCall, Any], Outputs]] = {
    shapes.Identity: shaping.lower_identity,
    shapes.Flatten: shaping.lower_flatten,
    shapes.Reshape: shaping.lower_reshape,
    shapes.Permute: shaping.lower_permute,
    shapes.RepeatVector: shaping.lower_repeat_vector,
    shapes.Masking: shaping.lower_masking,
    activations.Activation: shaping.lower_activation,
    activations.PReLU: shaping.lower_prelu,
    dense.Dense: products.lower_dense,
    dense.EinsumDense: products.lower_einsum_dense,
    dense.Embedding: products.lower_embedding,
    merges.Dot: products.lower_dot,
    merges.Merge: merging.lower_merge,
    merges.Concatenate: merging.lower_concatenate,
    norms.LayerNormalization: normalization.lower_layer_normalization,
    norms.RMSNormalization: normalization.lower_rms_normalization,
    norms.UnitNormalization: normalization.lower_unit_normalization,
    norms.BatchNormalization: normalization.lower_batch_normalization,
    norms.GroupNormalization: normalization.lower_group_normalization,
    scaling.LayerScale: normalization.lower_layer_scale,
    scaling.Rescaling: normalization.lower_rescaling,
    scaling.Normalization: normalization.lower_normalization,
    attentions.MultiHeadAttention: attention.lower_multi_head_attention,
    attentions.GroupQueryAttention: attention.lower_group_query_attention,
    attentions.Attention: plain_attention.lower_attention,
    sequence.GlobalPooling: windows.lower_global_pooling,
    sequence.Pooling: windows.lower_pooling,
    sequence.AdaptivePooling: windows.lower_adaptive_pooling,
    convolutions.Conv: convolution.lower_conv,
    convolutions.DepthwiseConv: convolution.lower_depthwise_conv,
    convolutions.SeparableConv: convolution.lower_separable_conv,
    convolutions.ConvTranspose: convolution.lower_conv_transpose,
    resizing.ZeroPadding: shaping.lower_zero_padding,
    resizing.Cropping: shaping.lower_cropping,
    resizing.UpSampling: shaping.lower_up_sampling,
}

#: Layers that keep a mask although they change the shape, and layers that drop it, are told apart
#: by their functions; a Dense hands it on.
_PASSING = (dense.Dense,)
#: Arguments that the call of any layer may have without a meaning at inference.
_IDLE = ("training",)
#: Kinds that read further arguments themselves.
_READING = (
    attentions.MultiHeadAttention,
    attentions.GroupQueryAttention,
    attentions.Attention,
    activations.Activation,
    sequence.GlobalPooling,
)


def lower_layer(call: LayerCall) -> Outputs:
    """Return what a call of a known layer gives.

    Raises:
        ShapeError: the layer cannot take such inputs.
        UnsupportedError: the call asks for what is not covered; the message names the layer.
    """
    if call.arguments.get("training"):
        raise call.unsupported("training=True: compiled layers are for inference and")
    kind = call.kind
    if not isinstance(kind, _READING):
        call.refuse_arguments(*_IDLE, "mask")
    kind.check_inputs(*call.shapes)
    if isinstance(kind, wrappers.TimeDistributed):
        return wrapping.lower_time_distributed(call, kind, lower_layer)
    if isinstance(kind, wrappers.SpectralNormalization):
        return wrapping.lower_spectral_normalization(call, kind, lower_layer)
    outputs = _LOWERINGS[type(kind)](call, kind)
    if isinstance(kind, _PASSING) and isinstance(outputs, Tensor):
        return Tensor(outputs.node, call.inputs[0].mask)
    return outputs
