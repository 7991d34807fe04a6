"""Keras release strings, and what ``K.batch_dot`` means in each.

Sources: the files ``keras/backend/tensorflow_backend.py`` and ``theano_backend.py`` of the Keras
releases 1.2.2, 2.0.0, 2.0.2, 2.0.3, 2.0.4, 2.0.8, 2.1.5, 2.1.6 and 2.2.4, and keras-team/keras
commit 9148325b9c, which first appears in release 2.2.5.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass

from einloom_compiler.errors import SpecError, UnsupportedError


class Meaning(enum.Enum):
    """What ``K.batch_dot`` does with its leading axes."""

    #: TensorFlow backend up to 2.2.4: a batched matrix product, all leading axes are batch.
    MATMUL = "matmul"
    #: Keras 2.2.5 and later: only the first axis is batch.
    FIRST_AXIS = "first axis"
    #: Theano backend up to 2.2.4: the first axis is batch, with other defaults and axis 0 allowed.
    THEANO = "theano"


@dataclass(frozen=True, slots=True)
class Release:
    """A Keras release, as far as ``K.batch_dot`` tells releases apart.

    Attributes:
        name: how a user writes it, such as ``2.2.4`` or ``2.2.4-theano``.
        meaning: which of the three meanings it has.
        pads_ranks: whether operands of unequal ranks are accepted (TensorFlow backend, from 2.0.4).
        settles_axes: whether ``axes=None`` stands for axes at all ranks (from 2.1.6), and axis 0 is
            accepted on Theano (from 2.1.6).
    """

    name: str
    meaning: Meaning
    pads_ranks: bool = True
    settles_axes: bool = True

    @property
    def title(self) -> str:
        """How messages call it, such as ``Keras 2.2.4 on TensorFlow``."""
        number = self.name.partition("-")[0]
        match self.meaning:
            case Meaning.MATMUL:
                return f"Keras {number} on TensorFlow"
            case Meaning.THEANO:
                return f"Keras {number} on Theano"
            case Meaning.FIRST_AXIS:
                return f"Keras {number}"


#: The namespace's default: current when the classic ``K.batch_dot`` snippets were written.
DEFAULT_VERSION = "2.2.4"
#: One release for each meaning, by which errors and warnings name it.
REPRESENTATIVES = ("2.2.4", "2.2.5", "2.2.4-theano")

FORMS = (
    "write a Keras release such as '2.2.4' (every leading axis is batch), '2.2.5', '2.3.1' or "
    "'3.15.1' (only the first axis is batch), or '2.2.4-theano' (the Theano backend)"
)

_PATTERN = re.compile(
    r"(?P<major>\d+)\.(?P<minor>\d+)(?:\.(?P<patch>\d+))?(?:\.?(?:a|b|rc|dev|post)\d+)*"
    r"(?:-(?P<backend>tensorflow|theano|tf))?"
)


@functools.lru_cache(maxsize=256)
def release(version: str) -> Release:
    """Return the release that ``version`` names.

    Args:
        version: ``major.minor[.patch]``, with a suffix ``-theano`` or ``-tensorflow`` where the
            backend matters, or ``-tf`` as ``tf.keras`` wrote into saved models.

    Raises:
        SpecError: not such a string; or ``2.2.4-tf``, which tf.keras recorded on both sides of the
            change of meaning.
        UnsupportedError: a release before 1.2.2.

    >>> release("2.3.1").meaning, release("2.2.4").meaning
    (<Meaning.FIRST_AXIS: 'first axis'>, <Meaning.MATMUL: 'matmul'>)
    """
    if not isinstance(version, str):
        raise SpecError(f"version= must be a string, not {version!r}; {FORMS}")
    match = _PATTERN.fullmatch(version.strip())
    if match is None:
        raise SpecError(f"{version!r} is not a Keras release; {FORMS}")
    number = (int(match["major"]), int(match["minor"]), int(match["patch"] or 0))
    name = version.strip()
    if number < (1, 2, 2):
        raise UnsupportedError(
            f"the meaning of K.batch_dot in Keras {name} is not known here: 1.2.2 is the oldest "
            f"release; {FORMS}"
        )
    if match["backend"] == "tf" and number == (2, 2, 4):
        raise SpecError(
            "'2.2.4-tf' is what tf.keras recorded in TensorFlow 1.13 to 2.1, and batch_dot changed "
            "in TensorFlow 2.0: pass version='2.2.4' for TensorFlow 1.x or '2.2.5' for 2.x"
        )
    if number >= (2, 2, 5):
        return Release(name, Meaning.FIRST_AXIS)
    settles = number >= (2, 1, 6)
    if match["backend"] == "theano":
        return Release(name, Meaning.THEANO, settles_axes=settles)
    return Release(name, Meaning.MATMUL, pads_ranks=number >= (2, 0, 4), settles_axes=settles)
