"""A model cut at the layers that are not covered: compiled pieces, and how they connect.

In comes a verified record (:mod:`einloom.keras.models`), out come graphs of the pieces and a plan
that says which value goes where::

    outside     what a layer that is not compiled gives: shape, dtype, padding mask
    plan        steps in the order of running: pieces, and calls that stay somebody else's
    splitting   a record -> a plan: as few pieces as the layers between them allow
    described   a plan -> JSON, and text for people
    joined      a plan -> a function, its pieces compiled just in time

:mod:`einloom.aot.pieces` builds a library of each piece instead.
"""
