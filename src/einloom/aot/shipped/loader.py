"""Call a library that einloom built; needs NumPy and nothing else.

This text is copied into every built folder as ``NAME.py``, where the last line makes ``NAME``.
It is short because compiling it is most of what a first import takes: what few calls need is in
``NAME_calls.py``.
"""

import ctypes
import os  # noqa: F401 (the last line of a copy says where it lies)
import sys
from typing import Any

import numpy as np

#: What the library needs of CPython, in its order; all of it is in every version since 3.11.
_FUNCTIONS = (
    "Py_IncRef Py_DecRef PyObject_Vectorcall PyCFunction_NewEx PyCapsule_New PyCapsule_GetPointer "
    "PyLong_AsLong PyErr_Occurred PyErr_Clear PyEval_SaveThread PyEval_RestoreThread PyTuple_New "
    "PyTuple_SetItem PyTuple_GetItem PyTuple_Size"
)


class ShapeError(ValueError):
    """Extents or ranks do not fit; the message names operand, axis and values."""


class DTypeError(TypeError):
    """An array's dtype is not the declared one."""


class CallError(RuntimeError):
    """The library refused a call; the message is its own."""


class Function:
    """A function of arrays in a shared library.

    Attributes:
        name: the library's name.
        folder: where the library is.
        facts: what the manifest says of ports, symbols and guards.
        dtypes: of the inputs, then of the outputs.
        path: of the library, as it was opened.
    """

    #: Error classes; ``einloom.aot.load`` gives einloom's own.
    shape_error: type[Exception] = ShapeError
    dtype_error: type[Exception] = DTypeError
    index_error: type[Exception] = IndexError
    call_error: type[Exception] = CallError

    def __init__(self, folder: str, name: str, facts: dict[str, Any]) -> None:
        """Load the library of ``facts`` from ``folder``."""
        self.name, self.folder, self.facts = name, folder, facts
        self.dtypes = [_dtype(port["dtype"]) for port in facts["inputs"] + facts["outputs"]]
        self._calls: Any = None
        library = self._opened()
        if not self.cpu:
            wanted = ", ".join(facts["cpu"])
            raise OSError(f"{name} has code for {wanted} only, which this CPU does not run")
        if (direct := self._direct(library)) is not None:
            # Calls of the class go to what its attribute says; a built-in function is not bound.
            kind = type(self)
            self.__class__ = type(kind.__name__, (kind,), {"__call__": direct, "__doc__": None})

    @property
    def cpu(self) -> str:
        """The CPU level whose code runs here."""
        return self._text("cpu")

    @property
    def version(self) -> str:
        """The version of einloom that built the library."""
        return self._text("version")

    @property
    def manifest(self) -> dict[str, Any]:
        """What was built, from which versions, for which CPUs."""
        return self.calls.manifest()  # type: ignore[no-any-return]

    def output_shapes(self, *shapes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each output for inputs of these shapes.

        Raises:
            ShapeError: the shapes do not fit.
        """
        return self.calls.output_shapes(shapes)  # type: ignore[no-any-return]

    def __call__(
        self, *arrays: Any, out: Any = None, threads: int | None = None, **named: Any
    ) -> Any:
        """Return the value for ``arrays``; a tuple where there are several outputs.

        Args:
            arrays: one an input, of the declared dtypes, any strides.
            out: array to write to, or a tuple of them; may overlap inputs.
            threads: threads of this call; those available where None and the work is large.
            named: inputs by name.

        Raises:
            ShapeError: a rank, an extent or a guard does not fit.
            DTypeError: an array's dtype is not the declared one.
        """
        return self.calls(arrays, out, threads, named)

    def __repr__(self) -> str:
        """Print as ``<clf (x) -> (out), built by einloom 0.1.0>``."""
        names = [", ".join(p["name"] for p in self.facts[ports]) for ports in ("inputs", "outputs")]
        return f"<{self.name} ({names[0]}) -> ({names[1]}), built by einloom {self.version}>"

    @property
    def calls(self) -> Any:
        """What serves all calls that the library's own function does not."""
        if self._calls is None:
            self._calls = self._module().Calls(self)
        return self._calls

    def _module(self) -> Any:
        """Return the module of :attr:`calls`, which lies beside this one."""
        from importlib.util import module_from_spec, spec_from_file_location

        name = f"{self.name}_calls"
        spec = spec_from_file_location(name, f"{self.folder}/{name}.py")
        module = module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return module

    def _opened(self) -> ctypes.PyDLL:
        """Return the library, not an older build of the same path that this process still has.

        The dynamic loader knows libraries by their paths: another way to write one is another.
        """
        for step in range(64):
            self.path = f"{self.folder}/{'./' * step}{self.facts['library']}"
            library = self._library = ctypes.PyDLL(self.path)
            if self._text("identity") == self.facts["identity"]:
                return library
        raise OSError(f"{self.folder}: library and loader are not of one build")

    def _text(self, word: str) -> str:
        function = self._library[f"{self.name}_{word}"]
        function.restype = ctypes.c_char_p
        return function().decode()  # type: ignore[no-any-return]

    def _direct(self, library: ctypes.PyDLL) -> Any:
        """Return the library's own function for Python, None where this Python is another.

        It does what ``__call__`` does for arrays in C order, and calls it for all others. What it
        reads of arrays it looks at in a sample first.
        """
        if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
            return None
        sample = np.zeros((2, 3), np.int16)
        objects = [np.ndarray, sys.intern("out"), sys.intern("threads"), None, self.__call__]
        get = ctypes.pythonapi["PyCapsule_GetPointer"]
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        try:
            table = get(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
            functions = [
                ctypes.cast(ctypes.pythonapi[name], ctypes.c_void_p).value
                for name in _FUNCTIONS.split()
            ]
            words = [object.__basicsize__, *map(id, objects), *functions, table, id(sample)]
            words += [id(sample.dtype), sample.__array_interface__["data"][0]]
            words += map(id, self.dtypes)
            make = library[f"{self.name}_callable"]
            make.restype = ctypes.py_object
            return make((ctypes.c_void_p * len(words))(*words), ctypes.c_int64(8 * len(words)))
        except (AttributeError, ValueError):  # a name is unknown, or the library's table another
            return None


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
