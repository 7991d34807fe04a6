"""What the command line does: texts and files in, expressions and summaries out.

A text goes through a front-end translator; compiling takes it on through the optimizer and the
Numba code generator to parallel CPU loops.
"""
