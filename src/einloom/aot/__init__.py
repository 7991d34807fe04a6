"""Ahead of time: functions as C libraries that need neither Python nor einloom.

In come equations, expressions, calls as text, compiled and traced functions, Keras layers, models
and their saved files (:mod:`.targets`, :mod:`.keras_targets`); out comes a folder with a shared
library, its header, a Python loader, an example in C and a manifest. The launches are those of
:mod:`einloom.runtime`, planned for every CPU level and range of sizes (:mod:`.lowering`), printed
as C by :mod:`einloom_compiler.aot`, and linked with the kernels' objects (:mod:`.building`).
A model with layers that are not covered is cut there: a folder of libraries (:mod:`.pieces`).
"""

from einloom.aot.api import build, load, load_pieces

__all__ = ["build", "load", "load_pieces"]
