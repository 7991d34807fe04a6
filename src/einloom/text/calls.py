"""Calls as text: ``parse`` reads them through :mod:`ast`; nothing in them is ever evaluated.

Grammar::

    text     = call | equation "(" operand ("," operand)* ")" | equation | document
    call     = name "(" argument ("," argument)* ")"     name: K.batch_dot, tf.matmul, np.einsum ...
             | layer "(" arguments ")" "([" operand ("," operand)* "])"
    argument = (keyword "=")? value
    value    = operand | call | number | string | True | False | None
             | "(" values ")" | "[" values "]"
    operand  = name "[" extent ("," extent)* ("," dtype string)? "]" | name        (seen before)
    extent   = integer | name | None | extents with + - * //
    equation = einsum subscripts, quoted or not
    document = a JSON document that Expression.to_json wrote

An operand of rank 0 is ``x[()]``, and ``x['float32']`` with its dtype. An equation on its own gets
operands x, y, z, ... with one symbol an index, named by its letter.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from einloom.expression import Expression, default_names, spec
from einloom.text import functions
from einloom.text.extents import MAX_RANK, Unknowns
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import DTypeError, EinloomError, SpecError
from einloom_compiler.extents import Extent
from einloom_compiler.extents import text as extent_text
from einloom_compiler.language import parse_string

#: Longest text and deepest nesting that are read; a call of a thousand operands fits.
MAX_CHARACTERS = 100_000
MAX_DEPTH = 60

_NOT_IN_SUBSCRIPTS = re.compile(r"[()\[\]'\"=]")
_ALLOWED = (
    "allowed are operands such as x[B, 20], calls such as K.dot(...), numbers, strings, True, "
    "False, None, tuples and lists"
)


def parse(text: str, dtype: object = None) -> Expression:
    """Return the expression that a text describes: a framework call, an einsum, or a document.

    Args:
        text: such as ``K.batch_dot(x[B,20,1], y[B,30,20], axes=(1, 2), version='2.2.4')``,
            ``einsum("ij,jk->ik", x[M,K], y[K,N])``, ``ij,jk->ik (x[M,K], y[K,N])``,
            ``bij,bjk->bik``, or a JSON document that ``Expression.to_json`` wrote.
        dtype: dtype of the operands that are written without one.

    Raises:
        SpecError: the text is malformed; the message points at the place and says what is allowed.
        SubscriptError, ShapeError, DTypeError, UnsupportedError: as the called function does.

    >>> str(parse("K.batch_dot(x[B,20,1], y[B,30,20], axes=(1, 2), version='2.3.1')"))
    'bij,bki->bjk: any dtype[B, 1, 30]'
    """
    if not isinstance(text, str):
        raise SpecError(f"a call must be text, not {text!r}")
    settled = None if dtype is None else as_dtype(dtype)
    if text.lstrip().startswith("{"):
        if settled is not None:
            raise SpecError("a JSON document states its operands' dtypes; give no dtype beside it")
        from einloom.text.document import from_json

        return from_json(text)
    _check_size(text)
    line = re.sub(r"[\t\r\n\f\v]", " ", text).strip()
    if not line:
        raise SpecError("the text is empty; write a call such as K.dot(x[3, 4], y[4, 5])")
    if not _NOT_IN_SUBSCRIPTS.search(line):
        return _bare(line, settled)
    try:
        return _Reader(line, settled).expression()
    except RecursionError:
        raise SpecError("the text cannot be read: it nests too deeply") from None


def _check_size(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise SpecError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise SpecError(f"brackets nest {deepest} deep; at most {MAX_DEPTH} are read")


def _bare(equation: str, dtype: AnyDType | None) -> Expression:
    """Return the einsum of operands x, y, z, ... with one symbol an index."""
    if "," not in equation and "->" not in equation:
        if functions.find(equation) is not None:
            raise SpecError(
                f"{equation} needs its operands: {equation}(x[B, 20], y[20, 30]), or their shapes "
                f"after it on the command line: einloom explain {equation} B,20 20,30"
            )
        if not equation.isidentifier() or len(equation) > 3:
            functions.resolve(equation)
        raise SpecError(
            f"{equation!r} is neither a call nor an einsum; write {equation}-> for a sum over all "
            "indices, or a call such as K.dot(x[3, 4], y[4, 5])"
        )
    terms = parse_string(equation).terms
    for number, term in enumerate(terms):
        if len(term) > MAX_RANK:
            raise SpecError(
                f"operand {number} has {len(term)} indices; at most {MAX_RANK} axes, as in NumPy"
            )
        if ... in term:
            raise SpecError(
                f"operand {number} of {equation!r} has an ellipsis, so its rank is unknown; write "
                f'the operands\' shapes: "{equation}"(x[A, 3, 4], y[A, 4, 5])'
            )
    names = default_names(len(terms))
    operands = [
        spec(tuple(label.name for label in term if label is not ...), dtype=dtype, name=name)
        for term, name in zip(terms, names, strict=True)
    ]
    return functions.resolve("np.einsum").apply([equation, *operands], {})


class _Reader:
    """Reads one text; operands are known by name once they were written."""

    def __init__(self, line: str, dtype: AnyDType | None) -> None:
        self.line = line
        self.source = line
        self.dtype = dtype
        self.operands: dict[str, Expression] = {}
        self.unknowns = Unknowns()
        self.equation: str | None = None

    def expression(self) -> Expression:
        """Return the whole text's expression."""
        if "\\" in self.line:
            self._fail_at(self.line.index("\\"), "a backslash is not allowed")
        match = _NOT_IN_SUBSCRIPTS.search(self.line)
        head = self.line[: match.start()] if match is not None and match.group() == "(" else ""
        if "," in head or "->" in head:  # ast cannot read an equation, but a name of its length
            self.equation = head.strip()
            self.source = "e" * len(head) + self.line[len(head) :]
        try:
            tree = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            self._fail_at(max((error.offset or 1) - 1, 0), f"cannot be read: {error.msg}")
        except (ValueError, RecursionError, MemoryError) as error:
            reason = error if isinstance(error, ValueError) else "it nests too deeply"
            raise SpecError(f"the text cannot be read: {reason}") from None
        if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
            return _bare(tree.value, self.dtype)
        result = self._value(tree)
        if not isinstance(result, Expression):
            self._fail(tree, f"the text is the value {result!r}, not a call")
        return result

    # --- values ------------------------------------------------------------------------------

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.UnaryOp(
                op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as v)
            ) if not isinstance(v, bool):
                return -v if isinstance(sign, ast.USub) else v
            case ast.Tuple(elts=elements):
                return tuple(self._value(element) for element in elements)
            case ast.List(elts=elements):
                return [self._value(element) for element in elements]
            case ast.Subscript(value=ast.Name(id=name), slice=shape):
                return self._operand(node, name, shape)
            case ast.Name(id=name):
                if name not in self.operands:
                    self._fail(node, f"operand {name} has no shape yet; write {name}[B, 20, 1]")
                return self.operands[name]
            case ast.Call():
                return self._call(node)
        self._fail(node, f"{_described(node)} is not allowed here")

    def _operand(self, node: ast.expr, name: str, shape: ast.expr) -> Expression:
        parts = list(shape.elts) if isinstance(shape, ast.Tuple) else [shape]
        dtype = self.dtype
        if parts and isinstance(parts[-1], ast.Constant) and isinstance(parts[-1].value, str):
            last = parts.pop()
            assert isinstance(last, ast.Constant)
            try:
                dtype = as_dtype(last.value)
            except DTypeError as error:
                raise DTypeError(f"{error}{self._caret(last)}") from None
        extents = []
        if len(parts) > MAX_RANK:
            self._fail(
                node, f"operand {name} has {len(parts)} axes", f"at most {MAX_RANK}, as in NumPy"
            )
        for part in parts:
            try:
                extents.append(self.unknowns.read(self._extent_source(part)))
            except SpecError as error:
                self._fail(part, str(error), "an extent is an integer, a name, None, or + - * //")
        operand = spec(tuple(extents), dtype=dtype, name=name)
        known = self.operands.setdefault(name, operand)
        if known != operand:
            shown = ", ".join(map(extent_text, known.shape))
            self._fail(
                node,
                f"operand {name} is already {name}[{shown}] of dtype {known.dtype or 'any'}",
                "give another operand another name, or write only the name again",
            )
        return known

    def _extent_source(self, part: ast.expr) -> str | None:
        if isinstance(part, ast.Constant) and part.value is None:
            return None
        return ast.unparse(part)

    # --- calls -------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Expression:
        match node.func:
            case ast.Name(col_offset=0) if self.equation is not None:
                return self._einsum(node, self.equation)
            case ast.Constant(value=str(equation)):
                return self._einsum(node, equation)
            case ast.Call() as configured:
                return self._layer(node, configured)
        function = self._function(node.func)
        if function.is_layer:
            self._fail(
                node,
                f"{function.written} is a layer: call it on a list of operands",
                f"write {function.written}(...)([x[B, 3], y[B, 3]])",
            )
        args, kwargs = self._arguments(node)
        return self._run(
            node, lambda: functions.checked_call(function.load(), args, kwargs, function.written)
        )

    def _einsum(self, node: ast.Call, equation: str) -> Expression:
        args, kwargs = self._arguments(node)
        if kwargs:
            self._fail(node, f"an equation takes operands only, no {', '.join(kwargs)}=")
        function = functions.resolve("np.einsum")
        return self._run(
            node,
            lambda: functions.checked_call(function.load(), (equation, *args), {}, f'"{equation}"'),
        )

    def _layer(self, node: ast.Call, configured: ast.Call) -> Expression:
        if self.equation is not None and configured.func.col_offset == 0:
            self._fail(node, "the result of an einsum cannot be called", "write one operand list")
        function = self._function(configured.func)
        if not function.is_layer:
            self._fail(configured, f"{function.written}(...) is a result and cannot be called")
        config_args, config = self._arguments(configured)
        args, kwargs = self._arguments(node)

        def run() -> Expression:
            layer = functions.checked_layer(function, config_args, config)
            return functions.checked_call(layer, args, kwargs, function.written)

        return self._run(node, run)

    def _function(self, node: ast.expr) -> functions.Function:
        parts: list[str] = []
        part = node
        while isinstance(part, ast.Attribute):
            parts.append(part.attr)
            part = part.value
        if not isinstance(part, ast.Name):
            self._fail(node, f"{_described(part)} cannot be called", "call a function by its name")
        try:
            return functions.resolve(".".join([part.id, *reversed(parts)]))
        except SpecError as error:
            raise SpecError(f"{error}{self._caret(node)}") from None

    def _arguments(self, node: ast.Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args = tuple(self._value(argument) for argument in node.args)
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self._fail(keyword.value, "** is not allowed", "write each argument by its name")
            if keyword.arg in kwargs:
                self._fail(keyword.value, f"{keyword.arg}= is given twice")
            kwargs[keyword.arg] = self._value(keyword.value)
        return args, kwargs

    def _run(self, node: ast.Call, build: Any) -> Expression:
        """Build, and add the place to errors of the text itself."""
        try:
            expression: Expression = build()
        except SpecError as error:
            raise SpecError(f"{error}{self._caret(node)}") from error
        except EinloomError:
            raise
        return expression

    # --- messages ----------------------------------------------------------------------------

    def _caret(self, node: ast.expr) -> str:
        before = self.source.encode()[: node.col_offset]  # ast counts UTF-8 bytes
        return self._caret_at(len(before.decode(errors="ignore")))

    def _caret_at(self, position: int) -> str:
        start = max(0, position - 60)
        end = min(len(self.line), start + 100)
        head = "..." if start else ""
        tail = "..." if end < len(self.line) else ""
        pad = " " * (len(head) + position - start)
        return f"\n  {head}{self.line[start:end]}{tail}\n  {pad}^"

    def _fail(self, node: ast.expr, message: str, allowed: str = _ALLOWED) -> NoReturn:
        raise SpecError(f"{message}; {allowed}{self._caret(node)}") from None

    def _fail_at(self, position: int, message: str) -> NoReturn:
        position = min(position, len(self.line))
        raise SpecError(f"{message}; {_ALLOWED}{self._caret_at(position)}") from None


_DESCRIPTIONS = {
    "Attribute": "a dotted name without a call (write a dtype as 'float32')",
    "BinOp": "arithmetic outside a shape",
    "Call": "the result of a call",
    "Constant": "this literal",
    "Starred": "an unpacked list",
    "Subscript": "a subscripted value",
}


def _described(node: ast.AST) -> str:
    kind = type(node).__name__
    return _DESCRIPTIONS.get(kind, f"this ({kind})")


def read_shapes(shapes: Sequence[str]) -> list[tuple[Extent, ...]]:
    """Return shapes as the command line writes them: ``B,128,64``, ``()`` for rank 0.

    Raises:
        SpecError: one is no shape.
    """
    unknowns = Unknowns()
    found = []
    for text in shapes:
        source = text.strip().removeprefix("(").removesuffix(")").removesuffix(",").strip()
        parts = [part.strip() for part in source.split(",")] if source else []
        try:
            found.append(tuple(unknowns.read(None if p == "?" else p) for p in parts))
        except SpecError as error:
            raise SpecError(
                f"{text!r} is not a shape; write extents such as 10,12,4 or B,128,64: {error}"
            ) from None
    return found
