"""What a contender is: something that prepares a call for a case, or says why it cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks.problems import Case

Array = npt.NDArray[Any]


class AbsentError(Exception):
    """A peer is not installed."""


class UnsupportedCaseError(Exception):
    """A peer has no way to evaluate a case; the message says why."""


class SkippedCaseError(Exception):
    """A peer could evaluate a case, but it would take too long; the message says how long."""


@dataclass(frozen=True)
class Prepared:
    """A call that is ready to be timed.

    Attributes:
        call: evaluates the case once and returns when the result is complete, in C order.
        to_numpy: turns what ``call`` returned into an array, outside of the timing.
    """

    call: Callable[[], Any]
    to_numpy: Callable[[Any], Array] = np.asarray


class Peer(ABC):
    """A contender."""

    #: What the report calls it.
    name: ClassVar[str]
    #: The package to import, and the distribution whose version is reported.
    module: ClassVar[str]
    distribution: ClassVar[str]
    #: What is reported beside the version.
    setting: ClassVar[str] = ""

    def __init__(self, threads: int, longest_plain: float) -> None:
        """Take the threads to use, and the seconds that naive loops may take."""
        self.threads = threads
        self.longest_plain = longest_plain

    def start(self) -> str:
        """Import and set up the peer; return its version and setting.

        Raises:
            AbsentError: it is not installed, or cannot be imported.
        """
        try:
            import_module(self.module)
            version = metadata.version(self.distribution)
        except ImportError as error:
            raise AbsentError(f"not installed ({error})") from None
        self.set_up()
        return f"{version}{self.setting and ', ' + self.setting}"

    def set_up(self) -> None:
        """Set threads and the like, once."""
        return

    @abstractmethod
    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return the call for a case.

        Raises:
            UnsupportedCaseError: there is no way to evaluate it.
            SkippedCaseError: it would take longer than ``longest_plain``.
        """


def is_view(case: Case) -> bool:
    """Return whether the case only rearranges one operand, so that libraries return a view."""
    return len(case.terms) == 1 and not case.contracted
