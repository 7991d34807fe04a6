"""Keras layers and models as expression graphs.

In comes a verified record (:mod:`einloom.keras.models`), out come nodes of
:mod:`einloom_compiler.ir.graph`, weights as constants. One module for each group of layers::

    model           a record -> its layers' calls, in order; padding masks travel with tensors
    table           a kind of layer -> the function that lowers it
    products        Dense, EinsumDense, Dot, Embedding
    attention       MultiHeadAttention, GroupQueryAttention     (masks: which pairs count)
    plain_attention Attention, AdditiveAttention
    normalization, merging, shaping, windows, convolution, activations
    target          what el.keras.compile takes -> inputs and outputs of a graph

Dtypes follow the layer's policy: floats are cast to its compute dtype before a call, as Keras does;
halves are stored as halves and computed in float32.
"""
