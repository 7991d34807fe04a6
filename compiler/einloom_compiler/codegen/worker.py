"""A process that compiles kernels for another one; see :mod:`.several`.

Each line of standard input is a kernel and a CPU in JSON; the answer is a line of JSON and so many
bytes of object code.
"""

from __future__ import annotations

import json
import os
import sys

from einloom_compiler.codegen.objects import compile_object
from einloom_compiler.codegen.several import SYMBOL
from einloom_compiler.codegen.target import Target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import EinloomError


def main() -> None:
    """Serve until standard input ends."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what others print is no answer
        for line in sys.stdin:
            asked = json.loads(line)
            text = asked["text"]
            text["pointers"] = tuple((name, dtype) for name, dtype in text["pointers"])
            text["numbers"] = tuple(text["numbers"])
            contents, error = b"", ""
            try:
                target = Target(**asked["target"])
                contents = compile_object(KernelText(**text), SYMBOL, target).contents
            except EinloomError as found:
                error = str(found)
            head = json.dumps({"n_bytes": len(contents), "error": error}).encode() + b"\n"
            answers.write(head + contents)
            answers.flush()
