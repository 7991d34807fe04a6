"""The classic backend with ``batch_dot`` bound to one Keras release."""

from __future__ import annotations

import functools
from typing import Any

from einloom.frontends.keras_batch_dot import batch_dot as batch_dot_of
from einloom.frontends.keras_versions import release
from einloom.keras import backend as classic


class Backend:
    """``keras.backend`` of one release; everything but ``batch_dot`` is the same in all of them.

    Attributes:
        version: the release that ``batch_dot`` speaks.
    """

    def __init__(self, version: str) -> None:
        """Bind the release.

        Raises:
            SpecError: ``version`` is no Keras release.
        """
        self.version = release(version).name

    def batch_dot(self, x: Any, y: Any, axes: Any = None, version: str | None = None) -> Any:
        """Return the batchwise dot product of this backend's release, or of ``version``.

        See :func:`einloom.keras.backend.batch_dot`.
        """
        return batch_dot_of(x, y, axes, version or self.version)

    def __getattr__(self, name: str) -> Any:
        """Take everything else from :mod:`einloom.keras.backend`."""
        if name in classic.__all__:
            return getattr(classic, name)
        raise AttributeError(f"keras.backend of einloom has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        """List the public names."""
        return [*classic.__all__, "version"]

    def __repr__(self) -> str:
        """Print as ``<einloom keras.backend of 2.3.1>``."""
        return f"<einloom keras.backend of {self.version}>"


@functools.lru_cache(maxsize=64)
def backend_for(version: str) -> Backend:
    """Return the classic backend whose ``batch_dot`` means what it means in a Keras release.

    Args:
        version: such as ``2.2.4``, ``2.3.1`` or ``2.2.4-theano``.

    Raises:
        SpecError: ``version`` is no Keras release.

    Example:
        >>> K = backend_for("2.3.1")
        >>> K.batch_dot(K.ones((2, 3, 4, 5)), K.ones((2, 3, 5, 6))).shape
        (2, 3, 4, 3, 6)
    """
    return Backend(version)
