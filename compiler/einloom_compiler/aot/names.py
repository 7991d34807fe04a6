"""Names of inputs, outputs and symbols as parameters in C."""

from __future__ import annotations

#: Words of C and C++, and of the functions around the parameters.
_RESERVED = frozenset(
    (
        *("alignas", "alignof", "asm", "auto", "bool", "break", "case", "catch", "char", "class"),
        *("const", "constexpr", "continue", "decltype", "default", "delete", "do", "double"),
        *("else", "enum", "explicit", "export", "extern", "false", "float", "for", "friend"),
        *("goto", "if", "inline", "int", "int64_t", "long", "mutable", "namespace", "new"),
        *("noexcept", "nullptr", "operator", "private", "protected", "public", "register"),
        *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch"),
        *("template", "this", "throw", "true", "try", "typedef", "typeid", "typename", "union"),
        *("unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "or"),
        *("and", "not", "inputs", "outputs", "sizes", "threads", "run", "linux", "unix", "NULL"),
        *("code", "checksum", "main", "stderr", "stdout", "calloc", "free", "printf", "fprintf"),
    )
)


def parameter(name: str) -> str:
    """Return the C name of an array, the same unless C or its surroundings use it.

    >>> parameter("x"), parameter("double"), parameter("größe")
    ('x', 'double_', 'gr_00f6_00dfe')
    """
    plain = "".join(c if c.isascii() else f"_{ord(c):04x}_"[:-1] for c in name)
    is_taken = plain in _RESERVED or plain.startswith(("_", "extent_", "E")) or plain[:1].isdigit()
    return f"{plain}_" if is_taken and not plain.startswith("_") else plain.lstrip("_") or "x_"


def symbol_parameter(name: str, number: int) -> str:
    """Return the C name of a symbol's value."""
    return f"extent_{name}" if name.isascii() and name.isidentifier() else f"extent_{number}"
