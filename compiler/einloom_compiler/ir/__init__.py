"""The intermediate representations: einsum expression, graph, contraction tree, loop nest.

A front-end translator hands in an expression graph over symbolic operands; the optimizer turns its
contractions into trees of pairwise ones, lowering turns each into a loop nest, and the Numba code
generator prints that as parallel CPU loops. Every node is a frozen dataclass, so equality is
structural; each representation has a printer (:mod:`.printer`) and a verifier (:mod:`.verify`).
"""
