"""Cut models: pieces by the reference evaluator, joined with Keras's layers, against Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import assert_close, evaluated, flat, randomized

from einloom.keras.models import read_model
from einloom.keras.pieces.described import description, told
from einloom.keras.pieces.joining import Joined
from einloom.keras.pieces.live import function_of, layer_at
from einloom.keras.pieces.plan import Piece, Plan
from einloom.keras.pieces.target import cut_plan
from einloom_compiler.errors import ModelFileError, ShapeError, SpecError, UnsupportedError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask"),
]


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


IDS = np.array([[3, 5, 0, 2, 0], [1, 0, 0, 0, 0], [7, 8, 9, 1, 2]], np.int32)


def joined(plan: Plan, functions: Mapping[str, Callable[..., Any]]) -> Joined:
    """Return the cut model with its pieces run by the reference evaluator."""

    def run(piece: Piece) -> Callable[..., Any]:
        def call(*arrays: Any, threads: int | None = None) -> Any:
            del threads
            given = {node.name: a for node, a in zip(piece.lowered.inputs, arrays, strict=True)}
            results = evaluated(piece.lowered, given)
            return results[0] if len(results) == 1 else tuple(results)

        return call

    pieces = {piece.lowered.name: run(piece) for piece in plan.pieces}
    return Joined(description(plan, list(pieces)), pieces, functions)


def check(model: Any, *arrays: Any, folder: Path, formats: tuple[str, ...] = ("keras",)) -> Plan:
    """Compare the joined pieces with Keras, of the live model and of its files."""
    expected = model(list(arrays) if len(arrays) > 1 else arrays[0], training=False)
    plan, functions = cut_plan(model, (), True)
    plans = [plan]
    for ending in formats:
        path = folder / f"model.{ending}"
        model.save(path)
        plans.append(cut_plan(path, (), True)[0])
        names = [piece.lowered.name for piece in plan.pieces]
        assert description(plans[-1], names)["steps"] == description(plan, names)["steps"]
    for each in plans:
        found = joined(each, functions)(*arrays)
        if isinstance(expected, Mapping):
            assert list(found) == list(expected)
        for result, wanted in zip(flat(found), flat(expected), strict=True):
            assert_close(result, wanted)
    return plan


def chain() -> Any:
    """A Sequential model around one recurrent layer."""
    before, memory = L.Dense(5, "tanh", name="before"), L.LSTM(2, return_sequences=True, name="m")
    behind = [L.Dropout(0.1), L.Flatten(), L.Dense(2, "softmax", name="behind")]
    return keras.Sequential([keras.Input((4, 3), name="x"), before, memory, *behind])


def ends() -> Any:
    """Uncovered layers first, last, and two in a row."""
    layers = [L.GRU(4, return_sequences=True), L.Dense(3), L.LSTM(4, return_sequences=True)]
    return keras.Sequential([keras.Input((5, 2), name="x"), *layers, L.SimpleRNN(3)])


def around() -> Any:
    """Branches around uncovered layers, padding masks, states, an operation, several outputs."""
    ids, extra = keras.Input((None,), dtype="int32", name="ids"), keras.Input((6,), name="extra")
    embedded = L.Embedding(11, 8, mask_zero=True)(ids)
    hidden = L.Dense(8, "relu")(embedded)
    both = L.Bidirectional(L.GRU(4, return_sequences=True), name="both")(hidden)
    total = L.Add()([both, L.Dense(8, name="side")(embedded)])
    pooled = L.GlobalAveragePooling1D()(total)
    ordered = keras.ops.sort(pooled, 1)
    last, _, state = L.LSTM(5, return_state=True, name="lstm")(total)
    merged = L.Concatenate()([ordered, state, extra, last])
    doubled = L.Lambda(lambda t: t * 2, name="doubled")(L.Dense(4)(merged))
    outputs = {"last": L.Dense(3)(L.Concatenate()([doubled, pooled])), "doubled": doubled}
    return keras.Model([ids, extra], {**outputs, "pooled": pooled, "extra": extra})


def side_by_side() -> Any:
    """Two uncovered layers that do not wait for each other."""
    a, b = keras.Input((4, 3), name="a"), keras.Input((6, 3), name="b")
    shared = L.Dense(4, name="shared")
    x, y = L.LSTM(3, name="left")(shared(a)), L.GRU(3, name="right")(shared(b))
    first = L.Dense(2, name="first")(L.Add()([x, y]))
    return keras.Model([a, b], [first, L.Dense(2)(L.Subtract()([x, y])), L.Flatten()(shared(a))])


def nested() -> Any:
    """A model with an uncovered layer, called twice by another one."""
    inner_input = keras.Input((4, 3))
    inner = keras.Model(
        inner_input,
        L.Dense(3, name="out")(
            L.LSTM(3, return_sequences=True, name="memory")(L.Dense(3, name="in")(inner_input))
        ),
        name="inner",
    )
    x = keras.Input((4, 3), name="x")
    branch = keras.Sequential([L.Dense(3), L.GRU(3, return_sequences=True), L.Dense(3)], name="seq")
    return keras.Model(x, L.Add()([inner(inner(x)), branch(x)]))


def decoder() -> Any:
    """A recurrent layer that starts from another one's states."""
    x, y = keras.Input((5, 3), name="x"), keras.Input((4, 3), name="y")
    _, h, c = L.LSTM(4, return_state=True, name="encoder")(L.Dense(3)(x))
    states = [L.Dense(4)(h), L.Dense(4)(c)]
    z = L.LSTM(4, return_sequences=True, name="decoder")(L.Dense(3)(y), initial_state=states)
    return keras.Model([x, y], L.Dense(2)(z))


MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, ...], tuple[str, ...], int]] = {
    "chain": (chain, (floats(3, 4, 3),), ("keras", "h5"), 2),
    "ends": (ends, (floats(3, 5, 2),), ("keras", "h5"), 1),
    "around": (around, (IDS, floats(3, 6)), ("keras",), 4),
    "side_by_side": (side_by_side, (floats(3, 4, 3), floats(3, 6, 3)), ("keras", "h5"), 2),
    "nested": (nested, (floats(3, 4, 3),), ("keras", "h5"), 3),
    "decoder": (decoder, (floats(3, 5, 3), floats(3, 4, 3)), ("keras",), 3),
}


@pytest.mark.parametrize("name", MODELS)
def test_joined_pieces_are_the_model(name: str, tmp_path: Path) -> None:
    make, arrays, formats, n_pieces = MODELS[name]
    plan = check(randomized(make()), *arrays, folder=tmp_path, formats=formats)
    assert len(plan.pieces) == n_pieces


def random_model(seed: int) -> Any:
    """Return a model of dense layers, sums, views and uncovered operations, connected at random."""
    rng = np.random.default_rng(seed)
    tensors = [keras.Input((3, 4), name="a"), keras.Input((3, 4), name="b")]
    inputs = list(tensors)
    for number in range(14):
        x, y = (tensors[int(n)] for n in rng.integers(max(0, len(tensors) - 6), len(tensors), 2))
        match int(rng.integers(0, 5)):
            case 0:
                made = L.Dense(4, name=f"dense_{number}")(x)
            case 1:
                made = L.Add(name=f"add_{number}")([x, y])
            case 2:
                made = keras.ops.sort(x, axis=1)
            case 3:
                made = keras.ops.flip(x, axis=-1)
            case _:
                made = L.Permute((2, 1))(L.Reshape((4, 3))(x))
        tensors.append(made)
    outputs = [tensors[int(n)] for n in rng.integers(2, len(tensors), 2)]
    return keras.Model(inputs, [*outputs, tensors[-1]])


@pytest.mark.parametrize("seed", range(12))
def test_models_connected_at_random(seed: int, tmp_path: Path) -> None:
    plan = check(random_model(seed), floats(2, 3, 4), floats(3, 3, 4)[:2], folder=tmp_path)
    seen = {value.name for value in plan.inputs}
    for step in plan.steps:  # each value is made once, and before it is taken
        takes = step.takes if isinstance(step, Piece) else ()
        gives = step.gives if isinstance(step, Piece) else tuple(value for _, value in step.gives)
        assert {value.name for value in takes} <= seen
        assert not {value.name for value in gives} & seen
        seen |= {value.name for value in gives}


def test_what_no_output_needs_is_left_out() -> None:
    x = keras.Input((4, 3), name="x")
    hidden = L.Dense(3, name="hidden")(x)
    sequence, state = L.GRU(2, return_sequences=True, return_state=True, name="gru")(hidden)
    plan, _ = cut_plan(keras.Model(x, L.Dense(2, name="out")(state)), (), True)
    assert [(n, str(v)) for n, v in plan.outside[0].gives] == [(1, "gru.1")]
    assert [piece.layers for piece in plan.pieces] == [("hidden",), ("out",)]
    plan, _ = cut_plan(keras.Model(x, L.Dense(2)(hidden)), (), True)
    assert (len(plan.pieces), plan.outside) == (1, ())
    assert keras.Model(x, sequence).count_params() > 0


def test_a_piece_takes_what_binds_its_symbols() -> None:
    """The length of ``pooled`` is said by ``x`` alone, which the piece behind does not read."""
    x = keras.Input((None, 3), name="x")
    pooled = L.AveragePooling1D(3, strides=1, name="pooled")(x)
    summed = L.LSTM(3, return_sequences=True, name="summed")(pooled)
    model = keras.Model(x, L.Dense(2)(L.Add()([pooled, summed])))
    plan, functions = cut_plan(model, (), {"summed": (None, "x_1 - 2", 3)})
    array = floats(2, 7, 3)
    assert_close(joined(plan, functions)(array), np.asarray(model(array)))


class Doubled(L.Layer):  # type: ignore[name-defined, misc]
    """Somebody's own layer, which hands its mask on."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        kept = 1.0 if mask is None else keras.ops.cast(mask, "float32")[:, :, None]
        return 2 * x * kept


def masked() -> Any:
    ids = keras.Input((5,), dtype="int32", name="ids")
    embedded = L.Embedding(11, 4, mask_zero=True)(ids)
    return keras.Model(ids, L.GlobalAveragePooling1D()(L.Dense(3)(Doubled(name="own")(embedded))))


def test_a_live_layer_says_whether_it_hands_a_mask_on(tmp_path: Path) -> None:
    model = masked()
    plan, functions = cut_plan(model, (), True)
    assert_close(joined(plan, functions)(IDS), np.asarray(model(IDS)))
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedError, match=r"'own' \(.*Doubled\) is given a padding mask"):
        cut_plan(tmp_path / "model.keras", (), True)


def test_shapes_that_no_file_states_are_said(tmp_path: Path) -> None:
    own = keras.Sequential([keras.Input((5, 4), name="x"), Doubled(name="own"), L.Dense(3)])
    path = tmp_path / "model.h5"
    own.save(path)
    with pytest.raises(UnsupportedError, match="the shape of what layer 'own' gives is not known"):
        cut_plan(path, (), True)
    plan, _ = cut_plan(path, (), {"own": (None, 5, 4)})
    function = function_of(layer_at(own, "own"))
    x = floats(2, 5, 4)
    assert_close(joined(plan, {"own": function})(x), np.asarray(own(x)))
    with pytest.raises(SpecError, match=r"'nose' gives, which is not among .*not covered: own"):
        cut_plan(path, (), {"nose": (None, 5, 4), "own": (None, 5, 4)})
    with pytest.raises(SpecError, match="is no shape"):
        cut_plan(path, (), {"own": "B,5,4"})
    with pytest.raises(SpecError, match="only models can be cut"):
        cut_plan(L.LSTM(3), ((2, 4, 3),), True)
    gru = keras.Sequential([keras.Input((5, 4)), L.GRU(2, name="gru"), L.Dense(3)])
    with pytest.raises(ShapeError, match=r"Dense|dense"):
        cut_plan(gru, (), {"gru": (None, 7)})


def test_functions_are_checked() -> None:
    model = chain()
    plan, functions = cut_plan(model, (), True)
    found, x = joined(plan, {}), floats(3, 4, 3)
    with pytest.raises(TypeError, match=r"join.*'m'.* is called with \(before\) and gives m"):
        found(x)
    with pytest.raises(ValueError, match=r"'nose' is none of the layers .*: m"):
        found.join({"nose": abs})
    with pytest.raises(TypeError, match="takes 1 arrays"):
        found.join(functions)(x, x)
    with pytest.raises(ValueError, match="gave dtype float64, but the layer gives float32"):
        found.join({"m": lambda t: np.zeros((3, 4, 2))})(x)
    with pytest.raises(ValueError, match=r"gave shape \(3, 4, 7\), but the layer gives \(B, 4, 2"):
        found.join({"m": lambda t: np.zeros((3, 4, 7), np.float32)})(x)
    with pytest.raises(ValueError, match="gives output 0, but its function gave 0"):
        found.join({"m": lambda t: []})(x)
    assert repr(found) == f"<{model.name} in 2 pieces around m>"


def test_the_plan_is_told() -> None:
    model = chain()
    plan, _ = cut_plan(model, (), True)
    text = told(description(plan, ["clf_0", "clf_1"]))
    assert "2 compiled pieces, 1 call of layers that are not" in text
    assert "m (LSTM)" in text
    assert "yours: the layer LSTM is not interpreted" in text
    assert "float32[B, 4, 2]" in text


def test_code_in_a_file_is_left_out_of_the_plan_and_refused_elsewhere(tmp_path: Path) -> None:
    x = keras.Input((4,), name="x")
    y = L.Dense(3, activation=lambda t: t * 3, name="mine")(L.Dense(4)(x))
    model = keras.Model(x, L.Dense(2)(L.Lambda(lambda t: t * 2, name="twice")(y)))
    path = tmp_path / "model.keras"
    model.save(path)
    with pytest.raises(ModelFileError, match=r"'mine' holds Python code .* cut=True"):
        read_model(path)
    plan, _ = cut_plan(path, (), True)
    assert [step.path for step in plan.outside] == ["mine", "twice"]
    assert "code" not in str(description(plan, ["a", "b", "c"])["steps"]).replace("Python code", "")
    functions = {name: function_of(model.get_layer(name)) for name in ("mine", "twice")}
    assert_close(joined(plan, functions)(floats(2, 4)), np.asarray(model(floats(2, 4))))
