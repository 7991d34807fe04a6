"""``tf.math``: cumulative sums and products."""

from einloom.frontends.tensorflow_scans import cumprod, cumsum

__all__ = ["cumprod", "cumsum"]
