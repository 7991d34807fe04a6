"""The runtime: binds arrays to compiled kernels and launches them as parallel CPU loops.

In come expression graphs from a front-end translator and NumPy arrays; out go result arrays. What
a :class:`~einloom.runtime.contractor.Contractor` or :class:`~einloom.runtime.program.Program`
plans for one layout of operands is a :class:`~einloom.runtime.recipe.Recipe`: launches of kernels
that the compiler has bound, and copies. A recipe is run here, by ctypes or on the native runtime's
pool, when its layout is new; :mod:`~einloom.runtime.prepared` keeps it as addresses and numbers,
and later calls run it in native code (:mod:`einloom.native`), or by :mod:`~einloom.runtime.replay`
where there is none.
"""
