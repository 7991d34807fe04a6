"""The table of known layers: Keras's class names, and what reads their configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from einloom.keras.models.kinds import (
    activation,
    attention,
    convolution,
    dense,
    merging,
    normalization,
    resizing,
    scaling,
    sequence,
    shaping,
    wrapping,
)
from einloom.keras.models.kinds.base import Kind
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom.keras.models.record import LayerRecord

_Reader: TypeAlias = Callable[[Fields], Kind]

#: Dropouts, noises and augmentations of images: they only matter in training.
_IDENTITIES = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity"),
    *(
        f"Random{what}"
        for what in (
            *("Brightness", "ColorDegeneration", "ColorJitter", "Contrast", "ElasticTransform"),
            *("Erasing", "Flip", "GaussianBlur", "Grayscale", "Hue", "Invert", "Perspective"),
            *("Posterization", "Rotation", "Saturation", "Sharpness", "Shear", "Translation"),
            "Zoom",
        )
    ),
    *("AugMix", "CutMix", "MixUp", "RandAugment"),
)
_MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")

_READERS: Mapping[str, _Reader] = {
    "InputLayer": shaping.input_layer,
    **dict.fromkeys(_IDENTITIES, shaping.identity),
    "Flatten": shaping.flatten,
    "Reshape": shaping.reshape,
    "Permute": shaping.permute,
    "RepeatVector": shaping.repeat_vector,
    "Masking": shaping.masking,
    "Dense": dense.dense,
    "EinsumDense": dense.einsum_dense,
    "Embedding": dense.embedding,
    **dict.fromkeys(activation.LAYER_FUNCTIONS, activation.activation),
    "PReLU": activation.prelu,
    **dict.fromkeys(_MERGES, merging.merge),
    "Concatenate": merging.concatenate,
    "Dot": merging.dot,
    "LayerNormalization": normalization.layer_normalization,
    "RMSNormalization": normalization.rms_normalization,
    "BatchNormalization": normalization.batch_normalization,
    "UnitNormalization": normalization.unit_normalization,
    "GroupNormalization": normalization.group_normalization,
    "Rescaling": scaling.rescaling,
    "Normalization": scaling.normalization,
    "MultiHeadAttention": attention.multi_head_attention,
    "GroupQueryAttention": attention.group_query_attention,
    "Attention": attention.attention,
    "AdditiveAttention": attention.additive_attention,
    **dict.fromkeys(
        (f"Global{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
        sequence.global_pooling,
    ),
    **dict.fromkeys(
        (f"{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
        sequence.pooling,
    ),
    **dict.fromkeys(
        (f"Adaptive{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)),
        sequence.adaptive_pooling,
    ),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), convolution.conv),
    **dict.fromkeys((f"Conv{rank}DTranspose" for rank in (1, 2, 3)), convolution.conv_transpose),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), convolution.depthwise_conv),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), convolution.separable_conv),
    **dict.fromkeys((f"ZeroPadding{rank}D" for rank in (1, 2, 3)), resizing.zero_padding),
    **dict.fromkeys((f"Cropping{rank}D" for rank in (1, 2, 3)), resizing.cropping),
    **dict.fromkeys((f"UpSampling{rank}D" for rank in (1, 2, 3)), resizing.up_sampling),
}

#: Layers of their own in the models of ``keras.applications``, which ``keras.layers`` lacks.
_APPLICATION_READERS: Mapping[str, _Reader] = {"LayerScale": scaling.layer_scale}

_WRAPPER_READERS: Mapping[str, Callable[[Fields, Kind], Kind]] = {
    "TimeDistributed": wrapping.time_distributed,
    "SpectralNormalization": wrapping.spectral_normalization,
}

#: Names under which some releases of Keras wrote these classes.
ALIASES: Mapping[str, str] = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
}

_RECURRENT = "recurrent layers, whose steps wait for each other, are not interpreted"
_WRAPPER = "a layer that wraps another one is not interpreted; put the layer itself in the model"
_CATEGORIES = "it turns text or categories into numbers; do that before the model"
_IMAGES = "it prepares images; do that before the model"
_SPECTRA = "spectra of signals are not interpreted; compute them before the model"
_FOREIGN = "it runs another framework's code"

#: Why Keras's other layers are not known.
REFUSED_CLASSES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("RNN", "SimpleRNN", "SimpleRNNCell", "GRU", "GRUCell", "LSTM", "LSTMCell"),
            *("StackedRNNCells", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional"),
        ),
        _RECURRENT,
    ),
    "Wrapper": _WRAPPER,
    **dict.fromkeys(
        (
            *("CategoryEncoding", "Discretization", "HashedCrossing", "Hashing"),
            *("IntegerLookup", "StringLookup", "TextVectorization"),
        ),
        _CATEGORIES,
    ),
    **dict.fromkeys(
        (
            *("AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization"),
            *("Equalization", "MaxNumBoundingBoxes", "Pipeline", "RandomCrop", "Resizing"),
            "Solarization",
        ),
        _IMAGES,
    ),
    **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), _SPECTRA),
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _FOREIGN),
    "Lambda": "it holds Python code, which is never executed; write it as layers or keras.ops",
    "Layer": "it is the base of layers and computes nothing",
    "ReversibleEmbedding": (
        "its call may run either way, which is not interpreted; use an Embedding, and an "
        "EinsumDense for the way back"
    ),
}

#: Those of layers around another one.
WRAPPERS: tuple[str, ...] = tuple(_WRAPPER_READERS)
#: The names of all known classes in ``keras.layers``.
KNOWN_CLASSES: tuple[str, ...] = tuple(sorted((*_READERS, *WRAPPERS)))


@dataclass(frozen=True, slots=True)
class Unknown:
    """A layer that is kept as a record only.

    Attributes:
        reason: why, for messages.
    """

    reason: str


def kind_of(layer: LayerRecord, keras_version: str) -> Kind | Unknown:
    """Return what the layer is, or why it is not known.

    Args:
        layer: the layer's record.
        keras_version: the release that the model's record states.

    Raises:
        ModelFileError: the layer is a known one whose configuration is malformed.
    """
    if layer.model is not None:
        return Unknown("it is a model of its own")
    if layer.origin == "operation":
        return Unknown(f"the operation {layer.class_name} is not interpreted")
    if layer.origin == "code":
        return Unknown("it holds Python code, which is never run here")
    if layer.origin == "custom":
        return Unknown(f"{layer.class_name} is no class of Keras")
    name = ALIASES.get(layer.class_name, layer.class_name)
    fields = Fields(layer.name, name, layer.config, release_of(keras_version))
    if layer.wrapped is not None:
        return _wrapping(layer.wrapped, fields, keras_version)
    reader = _READERS.get(name) or _APPLICATION_READERS.get(name)
    if reader is None:
        reason = REFUSED_CLASSES.get(name)
        return Unknown(f"the layer {layer.class_name} is not interpreted{_because(reason)}")
    if "_from_" in layer.dtype_policy:
        return Unknown(f"its weights are quantized ({layer.dtype_policy})")
    try:
        return reader(fields)
    except NotKnownError as error:
        return Unknown(str(error))


def _wrapping(wrapped: LayerRecord, fields: Fields, keras_version: str) -> Kind | Unknown:
    """Return what a layer is that wraps another one."""
    inner = kind_of(wrapped, keras_version)
    if isinstance(inner, Unknown):
        return Unknown(f"it wraps {wrapped.name!r}: {inner.reason}")
    try:
        return _WRAPPER_READERS[fields.class_name](fields, inner)
    except NotKnownError as error:
        return Unknown(str(error))


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {reason}"


def release_of(keras_version: str) -> tuple[int, int, int]:
    """Return major, minor and patch number of a release; 0 for what is not given.

    >>> release_of("3.15.1"), release_of("2.2.4-tf"), release_of("3.0.0rc1")
    ((3, 15, 1), (2, 2, 4), (3, 0, 0))
    """
    numbers = [int(digits[:6]) for digits in re.findall(r"\d+", keras_version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch
