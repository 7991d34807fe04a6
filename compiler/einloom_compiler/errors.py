"""Every error einloom raises on purpose.

Each derives from :class:`EinloomError` and from the builtin that a NumPy user would catch, so
``except ValueError`` keeps working when an import line changes. Messages say what was wrong, the
actual values, where, and what to do instead.
"""


class EinloomError(Exception):
    """Base of all errors that einloom raises on purpose."""


class SubscriptError(EinloomError, ValueError):
    """An einsum subscript string or sublist is malformed, or does not fit its operands' ranks."""


class ShapeError(EinloomError, ValueError):
    """Extents or ranks do not fit; the message names operand, axis and values."""


class AxisError(ShapeError, IndexError):
    """An axis argument lies outside its operand's rank."""


class IndicesError(EinloomError, IndexError):
    """Indices that rows are looked up by lie outside their table."""


class DTypeError(EinloomError, TypeError):
    """A dtype is unknown, not castable under the casting rule, or not taken by the framework."""


class CastingError(DTypeError, ValueError):
    """A cast is not allowed by ``casting=``; a TypeError for NumPy's habits, a ValueError too."""


class UnsupportedError(EinloomError, NotImplementedError):
    """A request that einloom understands and does not carry out; the message names the way out."""


class AmbiguousMeaningError(EinloomError, ValueError):
    """Two framework releases accept this call and mean different things, and none was named."""


class SpecError(EinloomError, ValueError):
    """A call as text, a JSON document or a specs file is malformed."""


class ModelFileError(EinloomError, ValueError):
    """A saved model is broken, hostile, of a format that is not read, or holds code."""


class ScheduleError(EinloomError, ValueError):
    """A schedule given by hand is malformed, or not legal for the contraction it is given for."""


class InternalCompilerError(EinloomError, RuntimeError):
    """An invariant of the compiler is broken: a bug in einloom, never the user's mistake."""

    def __init__(self, stage: str, reason: str, dump: str = "") -> None:
        """Name the pipeline stage, the broken invariant and the printed IR it was found in."""
        self.stage = stage
        self.reason = reason
        self.dump = dump
        text = f"{stage}: {reason}. This is a bug in einloom; please report it with this text."
        super().__init__(f"{text}\n{dump}" if dump else text)


class SemanticsWarning(UserWarning):
    """Two releases of a framework accept this call and give it different meanings."""
