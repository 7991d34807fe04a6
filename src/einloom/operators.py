"""The operators of expressions: what each is by a function of :mod:`einloom.functions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from einloom_compiler.errors import DTypeError

if TYPE_CHECKING:
    from einloom.expression import Expression
    from einloom_compiler.dtypes import AnyDType


class Operators:
    """What :class:`~einloom.expression.Expression` has of operators, element by element."""

    __slots__ = ()

    @property
    def dtype(self) -> AnyDType | None:
        """The dtype; None until the operands' dtypes are settled."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Expression:
        """Return ``self + other``."""
        return applied("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        """Return ``other + self``."""
        return applied("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        """Return ``self - other``."""
        return applied("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        """Return ``other - self``."""
        return applied("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        """Return ``self * other``."""
        return applied("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression:
        """Return ``other * self``."""
        return applied("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression:
        """Return ``self / other``."""
        return applied("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        """Return ``other / self``."""
        return applied("divide", other, self)

    def __pow__(self, other: Any) -> Expression:
        """Return ``self ** other``."""
        return applied("power", self, other)

    def __rpow__(self, other: Any) -> Expression:
        """Return ``other ** self``."""
        return applied("power", other, self)

    def __matmul__(self, other: Any) -> Expression:
        """Return ``self @ other``."""
        return applied("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Expression:
        """Return ``other @ self``."""
        return applied("matmul", other, self)

    def __lt__(self, other: Any) -> Expression:
        """Return whether ``self < other``, element by element."""
        return applied("less", self, other)

    def __le__(self, other: Any) -> Expression:
        """Return whether ``self <= other``, element by element."""
        return applied("less_equal", self, other)

    def __gt__(self, other: Any) -> Expression:
        """Return whether ``self > other``, element by element."""
        return applied("greater", self, other)

    def __ge__(self, other: Any) -> Expression:
        """Return whether ``self >= other``, element by element."""
        return applied("greater_equal", self, other)

    def __and__(self, other: Any) -> Expression:
        """Return whether both bools hold."""
        return self._logical("logical_and", "&", other)

    def __rand__(self, other: Any) -> Expression:
        """Return whether both bools hold."""
        return self._logical("logical_and", "&", other)

    def __or__(self, other: Any) -> Expression:
        """Return whether one of the bools holds."""
        return self._logical("logical_or", "|", other)

    def __ror__(self, other: Any) -> Expression:
        """Return whether one of the bools holds."""
        return self._logical("logical_or", "|", other)

    def __xor__(self, other: Any) -> Expression:
        """Return whether just one of the bools holds."""
        return self._logical("logical_xor", "^", other)

    def __rxor__(self, other: Any) -> Expression:
        """Return whether just one of the bools holds."""
        return self._logical("logical_xor", "^", other)

    def __invert__(self) -> Expression:
        """Return whether a bool does not hold."""
        return self._logical("logical_not", "~")

    def _logical(self, name: str, sign: str, *others: Any) -> Expression:
        """Apply a logical function, which is the bitwise one of bools only."""
        for operand in (self, *others):
            if isinstance(operand, Operators) and operand.dtype != "bool":
                raise DTypeError(
                    f"{sign} is supported of bools only, not of {operand.dtype or 'any dtype'}; "
                    f"use einloom.functions.{name}, or cast to bool"
                )
        return applied(name, self, *others)

    def __neg__(self) -> Expression:
        """Return ``-self``."""
        return applied("negative", self)

    def __abs__(self) -> Expression:
        """Return absolute values."""
        return applied("absolute", self)


def applied(name: str, *operands: Any) -> Expression:
    """Return what a function of einloom, or one of :mod:`einloom.functions`, makes of operands."""
    import einloom
    from einloom import functions

    function = getattr(einloom if name in ("matmul", "dot") else functions, name)
    return cast("Expression", function(*operands))
