"""Specs files: named calls in TOML, read into expressions.

Grammar (TOML)::

    [[spec]]
    name = "scores"                                    an identifier, unique in the file
    call = "np.einsum('bqd,bkd->bqk', q[B,T,64], k[B,S,64])"    what parse reads, JSON included
    dtype = "float32"                                  optional: of operands written without one
    cpu = "x86-64-v3"                                  optional: level of its library, or a list
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einloom.expression import Expression
from einloom.text.calls import parse
from einloom_compiler.errors import DTypeError, EinloomError, SpecError

_KEYS = ("name", "call", "dtype", "cpu")
_REQUIRED = ("name", "call")


@dataclass(frozen=True, slots=True)
class Spec:
    """One table of a specs file.

    Attributes:
        name: unique in the file.
        call: the call as it was written.
        expression: what it means.
        cpus: levels that a library of it is built for; none for the usual ones.
    """

    name: str
    call: str
    expression: Expression
    cpus: tuple[str, ...] = ()


def read_specs(path: str | Path) -> tuple[Spec, ...]:
    """Return the specs of a TOML file in its order.

    Raises:
        SpecError: the file cannot be read, or :func:`parse_specs` refuses its text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"cannot read the specs file {path}: {reason}") from None
    return parse_specs(text, str(path))


def parse_specs(text: str, source: str = "specs.toml") -> tuple[Spec, ...]:
    """Return the specs written in ``text``; ``source`` is what messages call it.

    Raises:
        SpecError: it is no TOML, a key or table is unknown or missing, a name is no identifier or
            given twice, or a call is malformed; the message names the table.
        EinloomError: a call does not accept its operands; the message names the table.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{source} is not a TOML file: {error}") from None
    except RecursionError:
        raise SpecError(f"{source} is nested too deeply to be read") from None
    for key in data:
        if key != "spec":
            raise SpecError(f"{source}: unknown table or key {key!r}; write [[spec]] tables")
    tables = data.get("spec", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SpecError(
            f"{source}: 'spec' must be tables; write [[spec]], not [spec] or spec = ..."
        )
    if not tables:
        raise SpecError(f"{source} has no [[spec]] table")
    specs: dict[str, Spec] = {}
    for number, table in enumerate(tables, 1):
        spec = _read_table(table, f"{source}, spec {number}")
        if spec.name in specs:
            raise SpecError(f"{source}, spec {number}: the name {spec.name!r} is given twice")
        specs[spec.name] = spec
    return tuple(specs.values())


def _read_table(table: dict[str, Any], where: str) -> Spec:
    if isinstance(table.get("name"), str):
        where = f"{where} ({table['name']})"
    for key, value in table.items():
        if key not in _KEYS:
            raise SpecError(f"{where}: unknown key {key!r}; known are {', '.join(_KEYS)}")
        if key == "cpu":
            _read_cpus(value, where)
        elif not isinstance(value, str):
            raise SpecError(f"{where}: {key} must be text, not {value!r}")
    for key in _REQUIRED:
        if key not in table:
            raise SpecError(f"{where}: the key {key!r} is missing")
    name = table["name"]
    if not (name.isidentifier() and name.isascii()):
        raise SpecError(
            f"{where}: the name {name!r} is not an identifier of ASCII letters, digits and '_'"
        )
    try:
        expression = parse(table["call"], table.get("dtype"))
    except EinloomError as error:
        raise _located(error, where) from error
    if expression.call is None:
        raise SpecError(f"{where}: the call is only an operand; write what is computed of it")
    return Spec(name, table["call"], expression, _read_cpus(table.get("cpu", []), where))


def _read_cpus(value: Any, where: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise SpecError(f"{where}: cpu must be text or a list of texts, not {value!r}")
    return tuple(names)


def _located(error: EinloomError, where: str) -> EinloomError:
    """Return the same kind of error with the place before its message."""
    kind = type(error) if isinstance(error, SpecError | DTypeError) else SpecError
    return kind(f"{where}: {error}")
