"""Written names and the functions they mean."""

from __future__ import annotations

import importlib
import inspect

import pytest

import einloom as el
from einloom.frontends.dispatch import REGISTRY
from einloom.text.functions import NAMESPACES, find, load_registered, resolve

WRITTEN = [
    f"{prefix}.{name}".lstrip(".")
    for namespace in NAMESPACES
    for prefix in namespace.prefixes
    for name in namespace.functions
]


@pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda namespace: namespace.module)
def test_every_listed_function_exists(namespace: object) -> None:
    assert namespace in NAMESPACES
    for name in WRITTEN:
        function = find(name)
        assert function is not None
        if function.namespace is namespace:
            assert callable(function.load()), name


def test_prefixes_are_not_ambiguous() -> None:
    assert len(WRITTEN) == len(set(WRITTEN))


def test_every_registered_function_can_be_written() -> None:
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace.module)
        for name in namespace.functions:
            getattr(module, name)
    unwritten = []
    for registered in REGISTRY:
        try:
            function = find(load_registered(registered))
        except el.SpecError:
            unwritten.append(registered)
        else:
            assert function is not None
            assert inspect.signature(function.load())
    assert not unwritten


@pytest.mark.parametrize(
    ("written", "suggestion"),
    [
        ("K.batch_dott", "K.batch_dot"),
        ("tf.batch_dot", "K.batch_dot"),
        ("torch.matmul", "np.matmul"),
        ("keras.backend.dots", "keras.backend.dot"),
        ("zzz", "K.dot, tf.matmul, np.einsum"),
        ("Dot", "einloom.keras.layers.Dot"),
        ("bmm", "einloom.matmul"),
    ],
)
def test_an_unknown_name_gets_suggestions(written: str, suggestion: str) -> None:
    with pytest.raises(el.SpecError) as caught:
        resolve(written)
    assert repr(written) in str(caught.value)
    assert suggestion in str(caught.value)


def test_an_unknown_registered_name_is_refused() -> None:
    with pytest.raises(el.SpecError, match=r"did you mean numpy.matmul"):
        load_registered("numpy.matmull")
    with pytest.raises(el.SpecError, match="names no front-end function"):
        load_registered("os.system")
