"""Calls of layouts seen before, which the native runtime makes without running Python.

A function's checks depend on its arrays' shapes, strides and dtypes and on its other arguments.
Once a call has passed them, its recipe is kept as addresses and numbers, and calls that differ in
the arrays' memory only skip to the launches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from einloom.native import load
from einloom.runtime import replay
from einloom.runtime.launch import address_of
from einloom.runtime.recipe import Recipe
from einloom.runtime.threads import Backend, available_threads, default_backend
from einloom.runtime.values import layout
from einloom_compiler.codegen.jit import is_jit_disabled

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


#: Results of a call that is kept, at most; as in ``record.h``.
MAX_RESULTS = 64

_native = load().module
_runtime: Any = replay if _native is None else _native
if _native is not None:
    _native.set_available_threads(available_threads)

if TYPE_CHECKING:
    Caller = replay.Caller
else:
    Caller = _runtime.Caller


class _AdoptedClass(type):
    """The class of classes that CPython calls natively, if they are adopted.

    A class that derives from such a one and has no ``__call__`` of its own is adopted with it
    (CPython does so from 3.12 on); a new ``__call__`` ends it for both.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        if next((c for c in cls.__mro__ if "__call__" in vars(c)), None) in _adopted:
            _runtime.adopt(cls)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__call__":
            cls._disown()
        super().__setattr__(name, value)

    def _disown(cls) -> None:
        _adopted.discard(cls)
        _runtime.disown(cls)
        for derived in cast("list[_AdoptedClass]", cls.__subclasses__()):
            if "__call__" not in vars(derived):
                derived._disown()


#: Classes whose own ``__call__`` is what the native runtime falls back on.
_adopted: set[type] = set()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a call was made.

    Attributes:
        recipe: its steps.
        arrays: what they were done on, in order.
        results: what they wrote.
        finish: makes what the call returns of a tuple of the results; None where it returns the
            only one, or that tuple.
    """

    recipe: Recipe
    arrays: Sequence[Array]
    results: tuple[Array, ...]
    finish: Callable[[tuple[Array, ...]], Any] | None = None


class PreparedCalls(Caller, metaclass=_AdoptedClass):
    """Base of callables whose calls are kept; ``__call__`` makes those that are not."""

    def keep(
        self,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        evaluation: Evaluation,
        result: Any,
        backend: Backend,
    ) -> None:
        """Remember a call that passed all checks and has been made, where that can be.

        It can where its positional arrays are the evaluation's, in order, none of them copied, and
        it has no other but ``out=`` of a single result.

        Args:
            arguments: as they were given.
            keywords: as they were given.
            evaluation: how it was made.
            result: what it returned: ``out``, or an array or NumPy scalar, or a tuple of these.
                Without ``out=``, later calls return new ones of its type, dtype, shape and strides.
            backend: whose threads large launches use.
        """
        recipe = evaluation.recipe
        if is_jit_disabled() or not recipe.is_ready:
            return  # kernels run as Python, or NumPy answers while they are compiled
        given = [value for value in arguments if isinstance(value, np.ndarray)]
        named = [name for name, value in keywords.items() if isinstance(value, np.ndarray)]
        if evaluation.finish is not None:
            result = evaluation.results
        returned = result if isinstance(result, tuple) else (result,)
        is_kept = (
            named in ([], ["out"])
            and (not isinstance(result, tuple) or keywords.get("out") is None)
            and len(given) == len(evaluation.arrays)
            and len(returned) == len(evaluation.results) <= MAX_RESULTS
            and all(map(is_same_memory, given, evaluation.arrays))
            and all(
                is_same_memory(one, other)
                for one, other in zip(returned, evaluation.results, strict=True)
                if isinstance(one, np.ndarray)
            )
        )
        if is_kept:
            plan = (result, evaluation.finish, *recipe.native_plan, backend == "pool", recipe)
            self._keep(arguments, dict(keywords), plan)

    def replayed(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        """Return the result of a call seen before, where Python looks for it; None if not.

        The native runtime has done so before it calls Python.
        """
        return self._replay(arguments, keywords) if _native is None else None


def adopted(cls: Class) -> Class:
    """Decorate a class derived from :class:`PreparedCalls`: let CPython call it natively."""
    _adopted.add(cls)
    _runtime.adopt(cls)
    return cls


@adopted
class PreparedFunction(PreparedCalls):
    """A function whose calls are kept; in all else it is the Python function it is made of."""

    __qualname__: str

    def __init__(
        self,
        function: Callable[..., Any],
        evaluate: Callable[..., tuple[Any, Evaluation | None]],
    ) -> None:
        """Take the function whose name, signature and documentation it has, and what it does.

        Args:
            function: what it looks like.
            evaluate: makes a call that was not seen before; returns its result, and how it came
                about where that is the same for all calls of these layouts.
        """
        functools.update_wrapper(self, function)
        self._evaluate = evaluate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        if (seen := self.replayed(args, kwargs)) is not None:
            return seen
        result, evaluation = self._evaluate(*args, **kwargs)
        if evaluation is not None:
            self.keep(args, kwargs, evaluation, result, default_backend())
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Become a method where it is a class's attribute, as functions do."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str:
        """Pickle by name."""
        return self.__qualname__

    def __repr__(self) -> str:
        """Print as ``<einloom function einsum>``."""
        return f"<einloom function {self.__qualname__}>"


def prepared(function: Function) -> Function:
    """Decorate a function that returns its result and, beside it, how it came about.

    Callers get the result alone. The second is None where later calls may need other steps.
    """
    return cast("Function", PreparedFunction(function, function))


def is_same_memory(array: Any, other: Array) -> bool:
    """Say whether the first is the other, or a view that sees the same memory the same way."""
    return (
        isinstance(array, np.ndarray)
        and address_of(array) == address_of(other)
        and layout(array) == layout(other)
    )


@contextmanager
def unprepared() -> Iterator[None]:
    """Let all calls be made as if they were not seen before, in all threads."""
    before = _runtime.set_enabled(False)
    try:
        yield
    finally:
        _runtime.set_enabled(before)
