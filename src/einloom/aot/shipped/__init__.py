"""What a built folder holds in Python: two texts that import NumPy and nothing else.

``loader`` becomes ``NAME.py``: it opens the library and hands out its own function for Python.
``calls`` becomes ``NAME_calls.py``, which is imported where a call needs more: an array is to be
copied, a result overlaps an operand, or an error is to be told.
"""
