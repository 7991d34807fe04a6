"""The demonstration: ``python -m einloom.demo``, which ``make demo`` runs.

The ten calls of a well-known post about K.dot, K.batch_dot and tf.matmul, with only their import
lines changed; each is explained in einsum notation, run by generated parallel CPU loops, and
compared with NumPy. Then the specs of ``examples/specs.toml`` are compiled, and one compiled
kernel's program is shown. Exit code 1 if any value differs from NumPy's.
"""

from __future__ import annotations

import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import einloom as el
import einloom.tensorflow as tf
from einloom.commands.terminal import allow_every_character
from einloom.keras import backend as K  # noqa: N812 - the name everybody gives it
from einloom_compiler.errors import EinloomError

Array = npt.NDArray[Any]
_SPECS = Path(__file__).parents[2] / "examples" / "specs.toml"


def _per_block(x: Array, y: Array) -> Array:
    return np.asarray(np.matmul(x, y))


def _every_pair(x: Array, y: Array) -> Array:
    return np.tensordot(x, y, axes=(-1, -2))


def _every_pair_per_sample(x: Array, y: Array) -> Array:
    return np.stack([np.tensordot(a, b, axes=(-1, -2)) for a, b in zip(x, y, strict=True)])


@dataclass(frozen=True)
class Snippet:
    """One call of the post.

    Attributes:
        written: the call as the post has it.
        function: what its name means after the import lines are changed.
        shapes: the operands' shapes.
        reference: NumPy's computation of it; None for a call that must fail.
        keywords: further arguments.
    """

    written: str
    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    reference: Callable[[Array, Array], Array] | None
    keywords: tuple[tuple[str, Any], ...] = ()


_BLOCKS = (10, 12, 4, 5), (10, 12, 5, 8)
_DEEP_BLOCKS = (9, 8, 7, 4, 2), (9, 8, 7, 2, 5)

SNIPPETS = (
    Snippet("K.batch_dot(x, y)", K.batch_dot, _BLOCKS, _per_block),
    Snippet("tf.matmul(x, y)", tf.matmul, _BLOCKS, _per_block),
    Snippet("K.dot(x, y)", K.dot, ((3, 4, 5, 2), (2, 5, 3, 7)), None),
    Snippet("K.dot(x, y)", K.dot, ((3, 4), (4, 5)), _every_pair),
    Snippet("tf.matmul(x, y)", tf.matmul, ((3, 4), (4, 5)), _per_block),
    Snippet("K.dot(x, y)", K.dot, ((2, 3, 4), (7, 4, 5)), _every_pair),
    Snippet("K.dot(x, y)", K.dot, ((1, 2, 3, 4), (8, 7, 4, 5)), _every_pair),
    Snippet("K.dot(x, y)", K.dot, ((1, 2, 4), (8, 7, 4, 5)), _every_pair),
    Snippet("K.batch_dot(x, y)", K.batch_dot, _DEEP_BLOCKS, _per_block),
    Snippet("tf.matmul(x, y)", tf.matmul, _DEEP_BLOCKS, _per_block),
)

#: The post's two ambiguous calls in the meaning that Keras has had since 2.2.5.
NEWER = {
    label: Snippet(
        "K.batch_dot(x, y, version='2.3.1')",
        K.batch_dot,
        shapes,
        _every_pair_per_sample,
        (("version", "2.3.1"),),
    )
    for label, shapes in (("1'", _BLOCKS), ("9'", _DEEP_BLOCKS))
}


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demonstration; ``arguments`` may name another specs file. Return the exit code."""
    print("The post's calls; only the import lines have changed:\n")
    print("    from einloom.keras import backend as K    # was: import keras.backend as K")
    print("    import einloom.tensorflow as tf           # was: import tensorflow as tf")
    wrong = 0
    for number, snippet in enumerate(SNIPPETS, 1):
        wrong += not show(f"{number}.", snippet)
    print("\nThe ambiguous calls again, in the meaning of Keras 2.2.5 and later:")
    for label, snippet in NEWER.items():
        wrong += not show(label, snippet)
    _show_versions()
    _show_specs(Path(arguments[0]) if arguments else _SPECS)
    _show_source()
    print(f"\n{wrong} of {len(SNIPPETS) + len(NEWER)} calls differ from what they should give.")
    return 1 if wrong else 0


def show(label: str, snippet: Snippet) -> bool:
    """Explain and run one call; return whether it does what it should."""
    shapes = ", ".join(f"{n} {s}" for n, s in zip("xy", snippet.shapes, strict=True))
    print(f"\n{label:<3} {snippet.written}    {shapes}")
    generator = np.random.default_rng(20190322)
    # Small whole numbers: float32 sums are exact, so that equal means equal.
    x, y = (generator.integers(-4, 5, shape).astype(np.float32) for shape in snippet.shapes)
    keywords = dict(snippet.keywords)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = np.asarray(snippet.function(x, y, **keywords))
        except EinloomError as error:
            return _show_error(error, is_expected=snippet.reference is None)
    seconds = time.perf_counter() - start
    for warning in caught:
        print(_wrapped(f"{warning.category.__name__}: {warning.message}"))
    symbolic = snippet.function(
        *(el.spec(s, name=n) for n, s in zip("xy", snippet.shapes, strict=True)), **keywords
    )
    print(f"    einsum  {symbolic.equation}")
    print(f"    shape   {value.shape}")
    if snippet.reference is None:
        print("    WRONG   this call must fail, and did not")
        return False
    is_equal = np.array_equal(value, snippet.reference(x, y))
    verdict = "equal to NumPy's" if is_equal else "DIFFERS from NumPy's"
    print(f"    value   {verdict}  ({seconds:.2f} s, compiling what is new)")
    return is_equal


def _show_error(error: EinloomError, *, is_expected: bool) -> bool:
    text = str(error).replace("\n", "\n            ")
    print(f"    {'refused' if is_expected else 'WRONG  '} {type(error).__name__}: {text}")
    return is_expected


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text,
        100,
        initial_indent="    ",
        subsequent_indent="      ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _show_versions() -> None:
    from einloom.report.versions import version_table

    operands = (el.spec(s, name=n) for n, s in zip("xy", _BLOCKS, strict=True))
    arguments = dict(zip("xy", operands, strict=True)) | {"axes": None}
    print("\nK.batch_dot(x, y) of call 1 in every Keras release:\n")
    print(version_table(arguments))


def _show_specs(path: Path) -> None:
    from einloom.commands.build import compile_specs, summary

    print(f"\neinloom compile {path.name}:\n")
    if path == _SPECS and not path.exists():
        print("    (left out: examples/specs.toml comes with the source tree only)")
        return
    print(summary(compile_specs(path)))
    print("\n  (a kernel serves every call of its structure: 0.00 s where one was there already)")


def _show_source() -> None:
    compiled = el.compile("K.dot(x[M, K, 'float32'], y[K, N, 'float32'])")
    print(f"\nThe generated program of K.dot on matrices, {compiled.equation}, for every size:\n")
    print(compiled.source)


if __name__ == "__main__":
    allow_every_character()
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stdout = None  # nothing more to flush at exit
        sys.exit(1)
    except EinloomError as problem:
        print(f"einloom.demo: {type(problem).__name__}: {problem}", file=sys.stderr)
        sys.exit(2)
