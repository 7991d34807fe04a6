"""Call a library that einloom built; needs NumPy and nothing else.

This text is copied into every built folder as ``NAME.py``, where the last line makes ``NAME``.
"""

from __future__ import annotations

import ast
import ctypes
import operator
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
#: What the library needs of CPython, in its order; all of it is in every version since 3.11.
_FUNCTIONS = (
    *("Py_IncRef", "Py_DecRef", "PyObject_Vectorcall", "PyCFunction_NewEx", "PyCapsule_New"),
    *("PyCapsule_GetPointer", "PyLong_AsLong", "PyErr_Occurred", "PyErr_Clear"),
    *("PyEval_SaveThread", "PyEval_RestoreThread", "PyTuple_New", "PyTuple_SetItem"),
    *("PyTuple_GetItem", "PyTuple_Size"),
)
#: Versions of NumPy's binary interface with the same arrays, and where the function that makes them
#: stands in its table (PyArray_NewFromDescr).
_NUMPY_VERSIONS = (0x01000009, 0x02000000)
_NEW_ARRAY = 94
#: What the library returns where an index names no row of a table.
_INDEX_CODE = 10


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
    """

    #: Error classes; ``einloom.aot.load`` gives einloom's own.
    shape_error: type[Exception] = ShapeError
    dtype_error: type[Exception] = DTypeError
    index_error: type[Exception] = IndexError

    def __init__(self, folder: str, name: str, facts: dict[str, Any] | None = None) -> None:
        """Load ``lib<name>.so`` from ``folder``; ``facts`` are those of the manifest used here."""
        self.name = name
        self.folder = folder
        self._facts = facts = self.manifest if facts is None else facts
        self._library = self._opened()
        self._inputs = [_Port(port) for port in facts["inputs"]]
        self._outputs = [_Port(port) for port in facts["outputs"]]
        self._symbols = facts["symbols"]
        self._guards = [
            (guard, parsed(guard["left"]), parsed(guard["right"])) for guard in facts["guards"]
        ]
        self._run = self._function("run", ctypes.c_int)
        self._message = self._function("message", ctypes.c_char_p)
        if not self.cpu:
            wanted = ", ".join(facts["cpu"])
            raise OSError(f"{name} has code for {wanted} only, which this CPU does not run")
        if (direct := self._direct()) is not None:
            # Calls of the class go to what its attribute says; a built-in function is not bound.
            kind = type(self)
            self.__class__ = type(kind.__name__, (kind,), {"__call__": direct, "__doc__": None})

    @property
    def manifest(self) -> dict[str, Any]:
        """What was built, from which versions, for which CPUs."""
        # json takes as long to import as all else here, and so does pathlib.
        import json

        path = os.path.join(self.folder, "manifest.json")  # noqa: PTH118
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            found: dict[str, Any] = json.load(file)
        return found

    @property
    def cpu(self) -> str:
        """The CPU level whose code runs here."""
        found: bytes = self._function("cpu", ctypes.c_char_p)()
        return found.decode()

    @property
    def version(self) -> str:
        """The version of einloom that built the library."""
        found: bytes = self._function("version", ctypes.c_char_p)()
        return found.decode()

    def output_shapes(self, *shapes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each output for inputs of these shapes.

        Raises:
            ShapeError: the shapes do not fit.
        """
        sizes = self._sizes(shapes)
        return tuple(port.shape_at(sizes) for port in self._outputs)

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
        given = [np.asarray(array) for array in self._ordered(arrays, named)]
        for port, array in zip(self._inputs, given, strict=True):
            if array.dtype.newbyteorder("=") != port.dtype:
                raise self.dtype_error(
                    f"operand '{port.name}' has dtype {array.dtype} but was declared as "
                    f"{port.dtype}, which is never cast to; pass "
                    f"{port.name}.astype('{port.dtype}')"
                )
        sizes = self._sizes([array.shape for array in given])
        shapes = [port.shape_at(sizes) for port in self._outputs]
        ready = [
            np.require(a, p.dtype, ["C", "A"]) for p, a in zip(self._inputs, given, strict=True)
        ]
        results = self._results(out, shapes)
        targets = [
            result
            if result.flags.c_contiguous
            and result.flags.aligned
            and result.dtype.isnative
            and not any(np.may_share_memory(result, array) for array in ready)
            else np.empty(result.shape, port.dtype)
            for port, result in zip(self._outputs, results, strict=True)
        ]
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be a positive integer, not {threads!r}")
        code = self._run(
            _pointers(ready),
            _pointers(targets),
            (ctypes.c_int64 * max(1, len(sizes)))(*sizes.values()),
            ctypes.c_int(threads or 0),
        )
        if code != 0:
            error = self.index_error if code == _INDEX_CODE else CallError
            raise error(f"{self.name}: {self._message(ctypes.c_int(code)).decode()}")
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                result[...] = target
        return results[0] if len(results) == 1 else tuple(results)

    def _direct(self) -> Any:
        """Return the library's own function for Python, None where this Python is another.

        It does what ``__call__`` does for arrays in C order, and calls it for all others. What it
        reads of arrays is looked at here first.
        """
        head = object.__basicsize__
        if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
            return None
        sample = np.zeros((2, 3), np.int16)
        fields = _Array.from_address(id(sample) + head)
        is_known = (
            fields.data == sample.ctypes.data
            and fields.rank == 2
            and list(fields.shape[0:2]) == [2, 3]
            and fields.dtype == id(sample.dtype)
            and fields.flags & 0x501 == 0x501
            and ctypes.c_void_p.from_address(id(sample) + head - 8).value == id(np.ndarray)
        )
        try:
            capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
            get = ctypes.pythonapi.PyCapsule_GetPointer
            get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
            table = ctypes.cast(get(capsule, None), ctypes.POINTER(ctypes.c_void_p))
            version = ctypes.PYFUNCTYPE(ctypes.c_uint)(table[0])()
            functions = [
                ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
                for name in _FUNCTIONS
            ]
        except (AttributeError, ValueError):
            return None
        if not is_known or version not in _NUMPY_VERSIONS:
            return None
        dtypes = [port.dtype for port in (*self._inputs, *self._outputs)]
        objects = [np.ndarray, sys.intern("out"), sys.intern("threads"), None, self.__call__]
        words = [head, *map(id, objects), *functions, table[_NEW_ARRAY], *map(id, dtypes)]
        make = getattr(ctypes.PyDLL(self._library._name), f"{self.name}_python")
        make.restype = ctypes.py_object
        return make((ctypes.c_void_p * len(words))(*words))

    def _opened(self) -> ctypes.CDLL:
        """Return the library, not an older build of the same path that this process still has.

        The dynamic loader knows libraries by their paths: another way to write one is another.
        """
        for step in ("", *("./" * n for n in range(1, 64))):
            path = f"{self.folder}/{step}{self._facts['library']}"
            library = ctypes.CDLL(path)
            identity = getattr(library, f"{self.name}_identity")
            identity.restype = ctypes.c_char_p
            if identity().decode() == self._facts["identity"]:
                return library
        raise OSError(f"{self.folder}: library and loader are not of one build")

    def _ordered(self, arrays: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        names = [port.name for port in self._inputs]
        found = dict(zip(names, arrays, strict=False))
        unknown = [name for name in named if name not in names or name in found]
        found.update(named)
        if unknown or len(arrays) > len(names) or len(found) != len(names):
            raise TypeError(
                f"{self.name} takes {len(names)} arrays ({', '.join(names)}), but "
                f"{len(arrays)} given" + (f" and {', '.join(named)} by name" if named else "")
            )
        return [found[name] for name in names]

    def _sizes(self, shapes: Any) -> dict[str, int]:
        """Return the value of every symbol, checked as einloom does."""
        sizes: dict[str, int] = {}
        declared = list(zip(self._inputs, shapes, strict=True))
        for port, shape in declared:
            if len(shape) != len(port.shape):
                raise self.shape_error(
                    f"operand '{port.name}' has rank {len(shape)} (shape {shape}) but was declared "
                    f"with rank {len(port.shape)}: ({', '.join(port.texts)})"
                )
        for symbol in self._symbols:
            sizes[symbol["name"]] = int(shapes[symbol["input"]][symbol["axis"]])
        for port, shape in declared:
            for axis, (extent, given) in enumerate(zip(port.shape, shape, strict=True)):
                if value(extent, sizes) != given:
                    raise self.shape_error(
                        f"axis {axis} of operand '{port.name}' has extent {given} (shape {shape}) "
                        f"but was declared with {port.texts[axis]}"
                        + (f", which is {value(extent, sizes)} here" if sizes else "")
                    )
        for symbol in self._symbols:
            size, least, most = sizes[symbol["name"]], symbol["least"], symbol["most"]
            if size < least or (most is not None and size > most):
                raise self.shape_error(
                    f"extent {symbol['name']} is {size}, outside the declared range {least} to "
                    f"{'any' if most is None else most}"
                )
        for guard, left, right in self._guards:
            a, b = value(left, sizes), value(right, sizes)
            if not (a == b if guard["relation"] == "==" else a >= b):
                raise self.shape_error(
                    f"the guard {guard['text']} does not hold: {a} is not {guard['relation']} {b}"
                )
        return sizes

    def _results(self, out: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
        if out is None:
            return [
                np.empty(shape, port.dtype)
                for port, shape in zip(self._outputs, shapes, strict=True)
            ]
        results = list(out) if isinstance(out, tuple | list) else [out]
        if len(results) != len(shapes):
            raise TypeError(f"out has {len(results)} arrays, but there are {len(shapes)} outputs")
        for port, shape, result in zip(self._outputs, shapes, results, strict=True):
            if not isinstance(result, np.ndarray):
                raise self.dtype_error(f"out must be a NumPy array, not {type(result).__name__}")
            if result.shape != shape:
                raise self.shape_error(
                    f"out has shape {result.shape}, but the result has shape {shape}"
                )
            if result.dtype != port.dtype:
                raise self.dtype_error(
                    f"out has dtype {result.dtype}, but the result has dtype {port.dtype}"
                )
            if not result.flags.writeable:
                raise self.shape_error("out is read-only; pass a writeable array")
        return results

    def _function(self, word: str, result: Any) -> Any:
        function = getattr(self._library, f"{self.name}_{word}")
        function.restype = result
        return function

    def __repr__(self) -> str:
        """Print as ``<clf (x) -> (out), built by einloom 0.1.0>``."""
        names = [", ".join(p.name for p in ports) for ports in (self._inputs, self._outputs)]
        return f"<{self.name} ({names[0]}) -> ({names[1]}), built by einloom {self.version}>"


class _Array(ctypes.Structure):
    """The fields of an array behind its head, as NumPy's C API has them."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class _Port:
    """An input or output."""

    def __init__(self, port: dict[str, Any]) -> None:
        self.name = port["name"]
        self.texts = [str(extent) for extent in port["shape"]]
        self.shape = [parsed(extent) for extent in self.texts]
        if port["dtype"] == "bfloat16":
            import ml_dtypes

            self.dtype: Any = np.dtype(ml_dtypes.bfloat16)
        else:
            self.dtype = np.dtype(port["dtype"])

    def shape_at(self, sizes: dict[str, int]) -> tuple[int, ...]:
        return tuple(value(extent, sizes) for extent in self.shape)


def parsed(text: str) -> ast.expr:
    """Return an extent's text as a tree."""
    return ast.parse(text, mode="eval").body


def value(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    """Return an extent at these values of its symbols."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name):
        return sizes[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -value(tree.operand, sizes)
    if isinstance(tree, ast.BinOp):
        function = _OPERATORS[type(tree.op)]
        return int(function(value(tree.left, sizes), value(tree.right, sizes)))
    raise ValueError(f"the manifest has an extent that is none: {ast.unparse(tree)}")


def _pointers(arrays: list[Any]) -> Any:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))
