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
    "Py_IncRef Py_DecRef PyObject_Vectorcall PyVectorcall_Call PyType_FromSpecWithBases "
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

    def __new__(cls, folder: str, name: str, facts: dict[str, Any]) -> "Function":
        """Load the library of ``facts`` from ``folder``."""
        path, library = _opened(folder, name, facts)
        ports = facts["inputs"] + facts["outputs"]
        dtypes = [_dtype(port["dtype"]) for port in ports]
        # Objects of the library's own class are called without a detour through Python.
        kind, table = _fast(cls, name, library, dtypes)
        self: Function = object.__new__(kind)
        self.name, self.folder, self.facts, self.dtypes = name, folder, facts, dtypes
        self.path, self._library, self._calls = path, library, None
        if not self.cpu:
            wanted = ", ".join(facts["cpu"])
            raise OSError(f"{name} has code for {wanted} only, which this CPU does not run")
        if kind is not cls:
            slow = ctypes.py_object(cls.__call__.__get__(self))
            if not library[f"{name}_attach"](table, ctypes.py_object(self), slow):
                raise MemoryError
        return self

    name: str
    folder: str
    facts: dict[str, Any]
    dtypes: list[Any]
    path: str
    _library: ctypes.PyDLL
    _calls: Any

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

    def verify(self) -> None:
        """Compare the bytes of the library and of its weights with the manifest.

        Loading does not, as it takes a second for a gigabyte or two.

        Raises:
            CallError: they are not those that were built.
        """
        self.calls.verify()

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

    def _text(self, word: str) -> str:
        return _text(self._library, f"{self.name}_{word}")


def _opened(folder: str, name: str, facts: dict[str, Any]) -> tuple[str, ctypes.PyDLL]:
    """Return the library, not an older build of the same path that this process still has.

    The dynamic loader knows libraries by their paths: another way to write one is another.
    """
    for step in range(64):
        path = f"{folder}/{'./' * step}{facts['library']}"
        library = ctypes.PyDLL(path)
        if _text(library, f"{name}_identity") == facts["identity"]:
            return path, library
    raise OSError(f"{folder}: library and loader are not of one build")


def _text(library: ctypes.PyDLL, name: str) -> str:
    function = library[name]
    function.restype = ctypes.c_char_p
    return function().decode()  # type: ignore[no-any-return]


def _fast(cls: Any, name: str, library: ctypes.PyDLL, dtypes: list[Any]) -> tuple[Any, Any]:
    """Return a class of the library's own and the table for it; ``cls`` in Pythons not known here.

    Its calls do what ``__call__`` does for arrays in C order, and call that for all others. What
    they read of arrays is looked at in a sample first.
    """
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return cls, None
    sample = np.zeros((2, 3), np.int16)
    objects = [np.ndarray, sys.intern("out"), sys.intern("threads"), None]
    try:
        get = ctypes.pythonapi["PyCapsule_GetPointer"]
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        numpy = get(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
        functions = [
            ctypes.cast(ctypes.pythonapi[word], ctypes.c_void_p).value
            for word in _FUNCTIONS.split()
        ]
        words = [object.__basicsize__, cls.__basicsize__, id(cls), *map(id, objects), *functions]
        words += [numpy, id(sample), id(sample.dtype), sample.__array_interface__["data"][0]]
        words += map(id, dtypes)
        table = (ctypes.c_void_p * len(words))(*words)
        make = library[f"{name}_type"]
        make.restype = ctypes.py_object
        return make(table, ctypes.c_int64(8 * len(words))), table
    except (AttributeError, ValueError):  # a name is unknown, or the library's table another
        return cls, None


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
