"""The target of a command: a call, a function or an equation with shapes, or a JSON document."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einloom.expression import Expression, default_names, spec
from einloom.text import functions
from einloom.text.calls import MAX_CHARACTERS, parse, read_shapes
from einloom.text.document import from_json
from einloom_compiler.errors import SpecError


def expression_of(
    target: str, shapes: Sequence[str], arguments: Mapping[str, str], dtype: str | None
) -> Expression:
    """Return what a command's arguments describe.

    Args:
        target: a call as text, a function's name, an equation, a JSON file's path, or ``-``.
        shapes: one an operand, such as ``B,128,64``; for names and equations.
        arguments: further arguments of a named function, as literals in text.
        dtype: of operands that have none.

    Raises:
        SpecError: the target is none of these, or is given what it does not take.
        EinloomError: as the front-end function does.
    """
    if shapes:
        return _with_shapes(target, shapes, arguments, dtype)
    if arguments:
        names = ", ".join(f"{name}={value}" for name, value in arguments.items())
        raise SpecError(
            f"{names} needs a function's name with shapes after it; write them inside the call text"
        )
    if _is_document_file(target):
        if dtype is not None:
            raise SpecError("a JSON document states its operands' dtypes; leave out --dtype")
        return from_json(_read(target))
    return parse(target, dtype)


def is_document(target: str) -> bool:
    """Say whether a target is a JSON document, or the file of one: operands' dtypes are in it."""
    return _is_document_file(target) or target.lstrip().startswith("{")


def _is_document_file(target: str) -> bool:
    return target == "-" or (target.endswith(".json") and "(" not in target)


def _read(target: str) -> str:
    try:
        if target == "-":
            return sys.stdin.read()
        return Path(target).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"cannot read {target}: {reason}") from None


def _with_shapes(
    target: str, shapes: Sequence[str], arguments: Mapping[str, str], dtype: str | None
) -> Expression:
    name = target.strip()
    extents = read_shapes(shapes)
    operands = [
        spec(shape, dtype=dtype, name=operand)
        for shape, operand in zip(extents, default_names(len(extents)), strict=True)
    ]
    if "(" in name:
        raise SpecError(
            f"{target!r} is a call that states its operands' shapes; give none after it"
        )
    if "->" in name or "," in name or (functions.find(name) is None and _is_equation(name)):
        if arguments:
            raise SpecError(f"an equation takes no {', '.join(arguments)}")
        return functions.resolve("np.einsum").apply([name, *operands], {})
    values = {key: _literal(key, value) for key, value in arguments.items()}
    return functions.resolve(name).apply(operands, values)


def _is_equation(name: str) -> bool:
    """Say whether a single word is rather subscripts than a function's misspelt name."""
    return "..." in name or (name.isalpha() and len(name) <= 3)


def _literal(key: str, text: str) -> Any:
    """Return the value written in ``text``; a word without quotes, and a version, is text."""
    if key == "version":
        return text.strip().strip("'\"")
    if len(text) > MAX_CHARACTERS:
        raise SpecError(f"the value of {key} has {len(text)} characters")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        if text.strip().replace("_", "a").isalnum():
            return text.strip()
        raise SpecError(
            f"{key}={text!r} is no value; write a number, True, a tuple such as 1,2, or a word"
        ) from None
