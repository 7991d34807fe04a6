"""The example beside the pieces of a cut model: functions to fill in, joined with the pieces.

Names of layers may come from a file of anybody's: they stand in comments, where they are printable
and without line breaks (:mod:`einloom.keras.models.structure`), and as literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

from einloom.aot.naming import identifiers


def example(name: str, described: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return a Python program that joins the pieces.

    Args:
        name: the model's library name.
        described: the plan (:mod:`einloom.keras.pieces.described`).
        names: an identifier for the path of each layer that is not compiled.
    """
    values = described["values"]
    lines = [
        f'"""Join the pieces of {name}; needs NumPy, and what the functions below need."""',
        "",
        "import numpy as np",
        "",
        f"from {name} import {name}",
        "",
    ]
    steps = {step["layer"]: step for step in reversed(described["steps"]) if "layer" in step}
    for path, function in names.items():
        lines += ["", *_function(steps[path], function, values), ""]
    functions = ", ".join(f"{path!r}: {function}" for path, function in names.items())
    lines += ["", f"model = {name}.join({{{functions}}})"]
    arguments = identifiers(described["inputs"])
    for title, argument in zip(described["inputs"], arguments, strict=True):
        value = values[title]
        sizes = "".join(f"{extent if extent.isdecimal() else 4}, " for extent in value["shape"])
        lines.append(
            f"{argument} = np.ones(({sizes.rstrip()}), {value['dtype']!r})  # {_port(title, value)}"
        )
    lines += ["", 'if __name__ == "__main__":', f"    print(model({', '.join(arguments)}))", ""]
    return "\n".join(lines)


def _function(step: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> list[str]:
    """Return a function for a layer: how it is called, and what it must return."""
    titles = [arg.get("value", f"argument_{number}") for number, arg in enumerate(step["args"])]
    words = [word for word in step["kwargs"] if word.isidentifier() and not iskeyword(word)]
    parameters = [*identifiers(titles), *(f"{word}=None" for word in words)]
    parameters += ["**others"] if len(words) < len(step["kwargs"]) else []
    takes = ", ".join(_port(title, values[title]) for title in titles if title in values)
    gives = ", ".join(
        f"output {item['output']}: {_port(item['value'], values[item['value']])}"
        for item in step["gives"]
    )
    lines = [
        f"def {name}({', '.join(parameters)}):",
        f"    # layer {step['layer']!r}, a {step['class']!r}, of {takes or 'what Keras gives it'}",
        f"    # {gives}",
    ]
    if step["weights"] is not None:
        lines.append(f"    weights = np.load({step['weights']!r})")
    todo = f"compute layer {step['layer']!r} here"
    return [*lines, f"    raise NotImplementedError({todo!r})"]


def _port(title: str, value: Mapping[str, Any]) -> str:
    shape = "?" if value["shape"] is None else ", ".join(value["shape"])
    return f"{title} {value['dtype']}[{shape}]"
