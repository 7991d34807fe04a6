"""All calls of a library that einloom built: arrays of any layout, and what is wrong with them.

This text is copied into every built folder as ``NAME_calls.py``, which ``NAME.py`` imports where a
call needs it; it imports NumPy and nothing else.
"""

from __future__ import annotations

import ast
import ctypes
import operator
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
#: The largest number that C has for threads; the library itself takes far fewer.
_MOST_THREADS = 2**31 - 1
#: What the library returns where an index names no row of a table.
_INDEX_CODE = 10


class Calls:
    """Serves a function's calls through ctypes."""

    def __init__(self, function: Any) -> None:
        """Take the :class:`Function` of the loader: its library, facts and classes of errors."""
        facts = function.facts
        self.function, self.name = function, function.name
        described = [*facts["inputs"], *facts["outputs"]]
        ports = [_Port(port, dtype) for port, dtype in zip(described, function.dtypes, strict=True)]
        n_inputs = len(facts["inputs"])
        self._inputs, self._outputs = ports[:n_inputs], ports[n_inputs:]
        self._symbols = facts["symbols"]
        self._guards = [
            (guard, parsed(guard["left"]), parsed(guard["right"])) for guard in facts["guards"]
        ]
        library = ctypes.CDLL(function.path)  # in contrast to the loader's, without Python's lock
        self._run = library[f"{self.name}_run"]
        self._message = library[f"{self.name}_message"]
        self._message.restype = ctypes.c_char_p

    def manifest(self) -> dict[str, Any]:
        """Return what was built, from which versions, for which CPUs."""
        import json

        with open(f"{self.function.folder}/manifest.json", encoding="utf-8") as file:  # noqa: PTH123
            found: dict[str, Any] = json.load(file)
        return found

    def verify(self) -> None:
        """Compare the library and the file of weights with the manifest's hashes."""
        import hashlib

        built = self.manifest()["files"]
        for name in (self.function.facts["library"], f"lib{self.name}.weights"):
            if name not in built:
                continue
            path = f"{self.function.folder}/{name}"
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise self.function.call_error(f"{path} cannot be read: {error}") from None
            if found != built[name]:
                raise self.function.call_error(
                    f"{path} has SHA-256 {found} but {built[name]} was built; copy the folder again"
                )

    def output_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each output for inputs of these shapes."""
        sizes = self._sizes(shapes)
        return tuple(port.shape_at(sizes) for port in self._outputs)

    def __call__(self, arrays: tuple[Any, ...], out: Any, threads: Any, named: Any) -> Any:
        """Return the value for ``arrays``; the arguments are those of the function."""
        given = [np.asarray(array) for array in self._ordered(arrays, named)]
        for port, array in zip(self._inputs, given, strict=True):
            if array.dtype.newbyteorder("=") != port.dtype:
                raise self.function.dtype_error(
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
        if threads is not None and (not hasattr(threads, "__index__") or threads < 1):
            raise ValueError(f"threads must be a positive integer, not {threads!r}")
        code = self._run(
            _pointers(ready),
            _pointers(targets),
            (ctypes.c_int64 * max(1, len(sizes)))(*sizes.values()),
            ctypes.c_int(min(operator.index(threads or 0), _MOST_THREADS)),
        )
        if code != 0:
            error = self.function.index_error if code == _INDEX_CODE else self.function.call_error
            raise error(f"{self.name}: {self._message(ctypes.c_int(code)).decode()}")
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                result[...] = target
        return results[0] if len(results) == 1 else tuple(results)

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
        given_ports = list(zip(self._inputs, shapes, strict=True))
        for port, shape in given_ports:
            if len(shape) != len(port.shape):
                raise self.function.shape_error(
                    f"operand '{port.name}' has rank {len(shape)} (shape {shape}) but was declared "
                    f"with rank {len(port.shape)}: ({', '.join(port.texts)})"
                )
        for symbol in self._symbols:
            sizes[symbol["name"]] = int(shapes[symbol["input"]][symbol["axis"]])
        for port, shape in given_ports:
            for axis, (extent, given) in enumerate(zip(port.shape, shape, strict=True)):
                if value(extent, sizes) != given:
                    declared = port.texts[axis]
                    raise self.function.shape_error(
                        f"axis {axis} of operand '{port.name}' has extent {given} (shape {shape}) "
                        f"but was declared with {declared}"
                        + (
                            "; build with a symbolic extent to allow others"
                            if declared.isdecimal()
                            else f", which is {value(extent, sizes)} here"
                        )
                    )
        for symbol in self._symbols:
            size, least, most = sizes[symbol["name"]], symbol["least"], symbol["most"]
            if size < least or (most is not None and size > most):
                port, shape = given_ports[symbol["input"]]
                raise self.function.shape_error(
                    f"extent {symbol['name']} is {size} in axis {symbol['axis']} of operand "
                    f"'{port.name}' (shape {shape}), outside the declared range {least} to "
                    f"{'any' if most is None else most}; build with a wider one in ranges="
                )
        for guard, left, right in self._guards:
            a, b = value(left, sizes), value(right, sizes)
            if not (a == b if guard["relation"] == "==" else a >= b):
                raise self.function.shape_error(
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
                raise self.function.dtype_error(
                    f"out must be a NumPy array, not {type(result).__name__}"
                )
            if result.shape != shape:
                raise self.function.shape_error(
                    f"out has shape {result.shape}, but the result has shape {shape}"
                )
            if result.dtype != port.dtype:
                raise self.function.dtype_error(
                    f"out has dtype {result.dtype}, but the result has dtype {port.dtype}"
                )
            if not result.flags.writeable:
                raise self.function.shape_error("out is read-only; pass a writeable array")
        return results


class _Port:
    """An input or output."""

    def __init__(self, port: dict[str, Any], dtype: Any) -> None:
        self.name = port["name"]
        self.dtype = dtype
        self.texts = [str(extent) for extent in port["shape"]]
        self.shape = [parsed(extent) for extent in self.texts]

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
