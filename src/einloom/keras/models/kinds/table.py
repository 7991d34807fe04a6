"""The table of known layers: Keras's class names, and what reads their configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from einloom.keras.models.kinds import (
    activation,
    attention,
    dense,
    merging,
    normalization,
    sequence,
    shaping,
)
from einloom.keras.models.kinds.base import Kind
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom.keras.models.record import LayerRecord

_Reader: TypeAlias = Callable[[Fields], Kind]

#: Dropouts and noises: they only matter in training.
_IDENTITIES = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity"),
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
    "Rescaling": normalization.rescaling,
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
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), sequence.conv),
}

#: Names under which some releases of Keras wrote these classes.
ALIASES: Mapping[str, str] = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
}

#: Keras's names of all known classes.
KNOWN_CLASSES: tuple[str, ...] = tuple(sorted(_READERS))


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
    reader = _READERS.get(name)
    if reader is None:
        return Unknown(f"the layer {layer.class_name} is not interpreted")
    if "_from_" in layer.dtype_policy:
        return Unknown(f"its weights are quantized ({layer.dtype_policy})")
    try:
        return reader(Fields(layer.name, name, layer.config, release_of(keras_version)))
    except NotKnownError as error:
        return Unknown(str(error))


def release_of(keras_version: str) -> tuple[int, int, int]:
    """Return major, minor and patch number of a release; 0 for what is not given.

    >>> release_of("3.15.1"), release_of("2.2.4-tf"), release_of("3.0.0rc1")
    ((3, 15, 1), (2, 2, 4), (3, 0, 0))
    """
    numbers = [int(digits[:6]) for digits in re.findall(r"\d+", keras_version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch
