"""What a saved model may ask of the machine that reads it.

A file states sizes before it delivers bytes, so each of them is checked before memory is taken.
The numbers leave room for every model that Keras itself writes; a file beyond one of them is
refused with its name, the value found and the limit.
"""

from __future__ import annotations

#: Bytes of a model's file, and of the weights inside an archive: past any machine this runs on.
MAX_FILE_BYTES = 1 << 40

#: Members of a ``.keras`` archive. Keras writes three, plus one an asset (vocabularies).
MAX_ARCHIVE_MEMBERS = 10_000

#: A compressed member may grow to this multiple of its stored size. Deflate reaches 1032 on zeros;
#: JSON of configurations about 20. Keras itself stores members uncompressed.
MAX_COMPRESSION_RATIO = 200

#: Below this size the ratio does not matter.
COMPRESSION_FLOOR_BYTES = 1 << 20

#: Bytes of one JSON text. The largest Keras models have configurations of a few MB.
MAX_JSON_BYTES = 32 << 20

#: Levels of lists and objects in a JSON text. A level of nested models takes about six.
MAX_JSON_DEPTH = 100

#: Models within models.
MAX_MODEL_DEPTH = 12

#: Calls of layers, counted in nested models as often as these are called with other shapes.
MAX_CALLS = 1_000_000

#: Texts in one attribute of an HDF5 file: the weights of a layer or of a nested model.
MAX_ATTRIBUTE_TEXTS = 100_000

#: Characters of a layer's or weight's name.
MAX_NAME_CHARACTERS = 4096

#: Groups below each other in an HDF5 file.
MAX_GROUP_DEPTH = 64

#: Members of one HDF5 group, and of all groups below a layer's.
MAX_GROUP_MEMBERS = 100_000

#: Axes of a weight; NumPy allows 64, Keras's own weights have up to 5.
MAX_WEIGHT_RANK = 32

#: An extent of a shape: sizes stay exact in int64 when a few are multiplied.
MAX_EXTENT = (1 << 31) - 1

#: Largest extent that a layer may give: offsets stay in int64.
MAX_RESULT_EXTENT = 1 << 62

#: Characters of a symbolic extent, and its powers, beyond which it counts as a symbol of its own.
MAX_EXTENT_CHARACTERS = 120
MAX_EXTENT_POWER = 4

#: Bytes that the weights read from one file may take, as a multiple of the file's size: a dataset
#: may be compressed, and one dataset may be linked from many places.
MAX_WEIGHT_EXPANSION = 100

#: Below this sum the multiple does not matter.
WEIGHT_FLOOR_BYTES = 1 << 20

#: Bytes that one attribute of texts of variable length may take in memory.
MAX_ATTRIBUTE_BYTES = 256 << 20
