"""Run a model that einloom cut: its pieces, and your functions for the layers between them.

Needs NumPy and nothing else: the text is copied beside libraries of pieces, where the last lines
make a model of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class Joined:
    """A cut model as a function of arrays.

    Attributes:
        description: which step takes and gives which values.
        functions: by the layer's path, what computes a layer that is not compiled. It is called as
            Keras calls the layer, with arrays in place of tensors, and returns what the layer does:
            one array, or a list, tuple or mapping of them.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        pieces: Mapping[str, Callable[..., Any]],
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Take the description, the pieces by their names, and the functions."""
        self.description = description
        self.functions = dict(functions or {})
        self._pieces = pieces

    @property
    def outside(self) -> tuple[str, ...]:
        """The paths of the layers that need a function."""
        steps = self.description["steps"]
        return tuple(dict.fromkeys(step["layer"] for step in steps if "layer" in step))

    def join(self, functions: Mapping[str, Callable[..., Any]]) -> Joined:
        """Return the model with these functions, beside those that it has.

        Raises:
            ValueError: one is for a layer that the model does not leave out.
        """
        unknown = sorted(set(functions) - set(self.outside))
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is none of the layers that need a function: "
                f"{', '.join(self.outside) or 'there are none'}"
            )
        return type(self)(self.description, self._pieces, {**self.functions, **functions})

    def __call__(self, *arrays: Any, threads: int | None = None) -> Any:
        """Return the model's outputs, structured as Keras structures them.

        Args:
            arrays: one an input, in Keras's order; or one list of them, or a mapping by name.
            threads: threads of each piece.

        Raises:
            TypeError: there are more or fewer arrays than inputs, or a layer has no function.
            ValueError: what a function gives has not the layer's shape or dtype.
        """
        self.check_functions()
        names = self.description["inputs"]
        values = dict(zip(names, self.in_order(arrays), strict=True))
        for step in self.description["steps"]:
            if "piece" in step:
                taken = [values[name] for name in step["takes"]]
                results = self._pieces[step["piece"]](*taken, threads=threads)
                listed = results if len(step["gives"]) > 1 else (results,)
                values.update(zip(step["gives"], listed, strict=True))
            else:
                values.update(self._given(step, values))
        return _filled(self.description["outputs"], values)

    def check_functions(self) -> None:
        """Check that every layer between the pieces has a function.

        Raises:
            TypeError: one has none; the message says how it is called.
        """
        for path in self.outside:
            if path not in self.functions:
                step = next(s for s in self.description["steps"] if s.get("layer") == path)
                raise TypeError(f"give a function: join({{{path!r}: ...}}); {_signature(step)}")

    def in_order(self, arrays: tuple[Any, ...]) -> list[Any]:
        """Return the arrays that a call is given, one an input.

        Raises:
            TypeError: there are more or fewer, or names do not fit.
        """
        return in_order(arrays, self.description["inputs"], self.description["model"])

    def _given(self, step: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Any]:
        """Yield names and values of what a function gives."""
        args = [_filled(item, values) for item in step["args"]]
        kwargs = {name: _filled(item, values) for name, item in step["kwargs"].items()}
        results = list(_flat(self.functions[step["layer"]](*args, **kwargs)))
        for item in step["gives"]:
            name, number = item["value"], item["output"]
            if number >= len(results):
                raise ValueError(
                    f"layer {step['layer']!r} gives output {number}, but its function gave "
                    f"{len(results)}; {_signature(step)}"
                )
            array = np.asarray(results[number])
            self._check(step, self.description["values"][name], array)
            yield name, array

    def _check(self, step: Mapping[str, Any], value: Mapping[str, Any], array: Any) -> None:
        shape = value["shape"]
        if array.dtype.name != value["dtype"]:
            raise ValueError(
                f"the function of layer {step['layer']!r} gave dtype {array.dtype}, but the layer "
                f"gives {value['dtype']}; return result.astype({value['dtype']!r})"
            )
        if shape is not None and (
            len(shape) != array.ndim
            or any(e.isdecimal() and int(e) != n for e, n in zip(shape, array.shape, strict=True))
        ):
            raise ValueError(
                f"the function of layer {step['layer']!r} gave shape {array.shape}, but the layer "
                f"gives ({', '.join(shape)})"
            )

    def __repr__(self) -> str:
        """Print as ``<model in 2 pieces around memory>``."""
        n_pieces = sum("piece" in step for step in self.description["steps"])
        around = ", ".join(self.outside) or "nothing"
        return f"<{self.description['model']} in {n_pieces} pieces around {around}>"


def load(folder: str) -> Joined:
    """Return the model of a folder: its description, and a library for each piece."""
    with open(os.path.join(folder, "pieces.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
        description = json.load(file)
    names = [step["piece"] for step in description["steps"] if "piece" in step]
    return Joined(description, {name: _piece(folder, name) for name in names})


def in_order(arrays: Sequence[Any], names: Sequence[str], title: str) -> list[Any]:
    """Return a model's inputs, given one by one, in one list, or in a mapping by name.

    A list is the only input itself where it holds numbers.

    Raises:
        TypeError: there are more or fewer, or names do not fit.
    """
    given = list(arrays)
    only = arrays[0] if len(arrays) == 1 else None
    if isinstance(only, Mapping):
        if set(only) != set(names):
            raise TypeError(
                f"{title!r} takes inputs {', '.join(names)}, but {', '.join(only)} are given"
            )
        given = [only[name] for name in names]
    elif isinstance(only, list | tuple) and (
        len(names) > 1 or all(hasattr(item, "shape") for item in only)
    ):
        given = list(only)
    if len(given) != len(names):
        raise TypeError(
            f"{title!r} takes {len(names)} arrays ({', '.join(names)}), but {len(given)} given"
        )
    return given


def _piece(folder: str, name: str) -> Callable[..., Any]:
    path = os.path.join(folder, name, f"{name}.py")  # noqa: PTH118
    spec = importlib.util.spec_from_file_location(f"_piece_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    piece: Callable[..., Any] = getattr(module, name)
    return piece


def _signature(step: Mapping[str, Any]) -> str:
    """Return how a layer's function is called."""
    given = [_shown(item) for item in step["args"]]
    given += [f"{name}={_shown(item)}" for name, item in step["kwargs"].items()]
    gives = ", ".join(item["value"] for item in step["gives"])
    title = f"layer {step['layer']!r} ({step['class']})"
    return f"{title} is called with ({', '.join(given)}) and gives {gives}"


def _shown(structure: Mapping[str, Any]) -> str:
    if "value" in structure:
        return str(structure["value"])
    if "list" in structure:
        return f"[{', '.join(map(_shown, structure['list']))}]"
    if "mapping" in structure:
        items = (f"{name}: {_shown(item)}" for name, item in structure["mapping"].items())
        return f"{{{', '.join(items)}}}"
    return repr(structure["constant"])


def _filled(structure: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    if "value" in structure:
        return values[structure["value"]]
    if "list" in structure:
        return [_filled(item, values) for item in structure["list"]]
    if "mapping" in structure:
        return {name: _filled(item, values) for name, item in structure["mapping"].items()}
    return structure["constant"]


def _flat(structure: Any) -> Iterator[Any]:
    """Yield the arrays in what a function gives, in the order in which Keras flattens it."""
    if isinstance(structure, Mapping):
        for name in sorted(structure):
            yield from _flat(structure[name])
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from _flat(item)
    else:
        yield structure
