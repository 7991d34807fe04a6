"""The compiler core of einloom: optimizer, Numba code generator, parallel CPU loops.

In come expression graphs whose dtypes and broadcasting a front-end translator has already decided;
out go printable intermediate representations, readable Python source, and compiled kernels over
raw pointers. The way through it is one screen: :mod:`einloom_compiler.pipeline`.

Nothing here knows Keras, TensorFlow, PyTorch or the public API in :mod:`einloom`.
"""

__version__ = "0.1.0"
