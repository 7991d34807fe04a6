"""The front-end translators: framework calls in, einsum expressions over symbolic operands out.

Each module speaks one dialect and ends all its rules (axes, flags, broadcasting, dtype promotion)
here; what the optimizer and the Numba code generator get has one meaning only. Given arrays, the
same functions run the compiled parallel CPU loops at once (:mod:`.dispatch`).
"""
