"""Equalised channels and narrowed ranges: the float function stays, and the integers come closer to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision import runtime
from quantize import equalize, graph, layers, lite, ranges, source, streams
from training.network import Network

FACES = np.random.default_rng(5).integers(0, 256, (24, 48, 48, 1), dtype=np.uint8)


def uneven(resnet_file: Path) -> Any:
    """Return the narrow ResNet-50 with channels of very different ranges, as training leaves them."""
    model = source.load(resnet_file, 48)
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            gamma, beta, *moments = layer.get_weights()
            factor = np.exp(rng.normal(0, 1, gamma.shape))
            layer.set_weights([gamma * factor, beta * factor, *moments])
    return model


def logits(model: Any) -> np.ndarray:
    step = 48 // model.input_shape[1]
    return np.asarray(model.predict(FACES[:, ::step, ::step].astype(np.float32), verbose=0), np.float64)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_float_function_stays(resnet_file: Path, strength: float) -> None:
    """Factors that go in at one layer come out at the next, through pooling, sums and the mean before the logits."""
    model = uneven(resnet_file)
    before, kernels = logits(model), model.get_weights()
    equalize.equalize(model, FACES, strength)
    assert np.abs(logits(model) - before).max() < 1e-4 * np.abs(before).max()
    assert any(not np.allclose(a, b) for a, b in zip(kernels, model.get_weights(), strict=True))


def test_a_network_without_normalisation_is_equalised_too(cnn_file: Path) -> None:
    """Its convolutions carry the factors themselves; what is flattened keeps its own."""
    model = source.load(cnn_file)
    before = logits(model)
    equalize.equalize(model, FACES, 1.0)
    assert np.abs(logits(model) - before).max() < 1e-4 * np.abs(before).max()


def test_channels_share_a_range_afterwards(resnet_file: Path) -> None:
    """The widest channel of the first stage's residual stream was many times the median one; now it is near it."""
    model = uneven(resnet_file)

    def spread() -> float:
        import keras

        stream = keras.Model(model.input, model.get_layer("conv2_block3_out").output)
        widest = np.asarray(stream.predict(FACES.astype(np.float32), verbose=0)).reshape(-1, 32).max(axis=0)
        return float(widest.max() / np.median(widest))

    before = spread()
    equalize.equalize(model, FACES, 1.0)
    assert before > 4
    assert spread() < before / 2


def noise(exact: np.ndarray, model: bytes) -> float:
    """Return the integer network's noise power relative to the float logits'."""
    coded = Network(model, runtime.choose()).logits(FACES)
    return float(((coded - exact) ** 2).sum() / ((exact - exact.mean(axis=0)) ** 2).sum())


def test_integers_come_closer_to_float(resnet_file: Path) -> None:
    """An uneven network loses less in int8 once its channels are equalised."""
    model = uneven(resnet_file)
    exact = logits(model)
    before = noise(exact, lite.to_integer(model, FACES))
    equalize.equalize(model, FACES, 1.0)
    assert noise(exact, lite.to_integer(model, FACES)) < 0.9 * before


def test_a_range_leaves_out_what_the_relu_cuts_off() -> None:
    """A branch that reaches to -100 where the other lifts by at most 1 needs no steps below -1."""
    rng = np.random.default_rng(1)
    own = np.concatenate([rng.uniform(-100, -50, 4000), rng.uniform(-1, 4, 4000)])
    low, high = ranges.best(own, rng.uniform(0, 1, 8000), relu=True)
    assert -12 < low < -0.5
    assert high > 3.5


def test_without_a_relu_the_range_stays() -> None:
    """Everything that is added counts: a range as wide as the values loses least."""
    own = np.random.default_rng(1).uniform(-100, 4, 8000)
    low, _ = ranges.best(own, np.zeros(8000), relu=False)
    assert low == pytest.approx(own.min())


def test_a_branch_that_is_never_anything_keeps_its_range() -> None:
    """All zeros: no step to choose, no division by zero."""
    assert ranges.best(np.zeros(9), np.ones(9), relu=True) == (0.0, 0.0)


def test_the_table_looks_at_branches_behind_their_sum(resnet_file: Path) -> None:
    """A narrowed branch is far from the float one, and near where it counts: no branch is below 20 dB."""
    model = uneven(resnet_file)
    floats, ints = lite.to_float(model), lite.to_integer(model, FACES)
    rows = layers.table(floats, graph.read(floats, "f"), ints, graph.read(ints, "i"), FACES[:2], runtime.choose())
    branches = [row for row in rows if "_0_bn" in row.name or "_3_bn" in row.name]
    assert len(branches) == 20
    assert min(row.own_db for row in branches) > 20


def own(kind: str) -> Any:
    """Return somebody else's network for 24 px faces, with moments and factors as training leaves them."""
    keras = source.tensorflow_keras()
    layers = keras.layers
    keras.utils.set_random_seed(3)
    face = keras.Input((24, 24, 1))
    x = layers.Rescaling(1 / 127.5, -1.0)(face)
    if kind == "fused":
        x = layers.Conv2D(8, 3, activation="tanh")(x)
    elif kind == "six":
        x = layers.ReLU(max_value=0.5)(layers.Conv2D(8, 3)(x))
    elif kind == "groups":
        x = layers.ReLU()(layers.Conv2D(8, 3, groups=4)(layers.ReLU()(layers.Conv2D(8, 3)(x))))
    elif kind == "no scale":
        x = layers.ReLU()(layers.BatchNormalization(scale=False)(layers.Conv2D(8, 3)(x)))
    else:
        x = layers.ReLU()(layers.Conv2D(8, 3)(x))
    x = layers.Conv2D(8, 3, strides=2)(x)
    if kind == "activated first":  # He et al. 2016, identity mappings
        inner = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Add()([x, inner])
    x = layers.GlobalAveragePooling2D()(x)
    if kind == "normalised late":
        x = layers.BatchNormalization()(x)
    model = keras.Model(face, layers.Dense(8)(x))
    rng = np.random.default_rng(4)
    for layer in model.layers:
        values = layer.get_weights()
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([np.exp(rng.normal(0, 1, v.shape)) for v in values])
        elif type(layer).__name__ == "Conv2D":
            layer.set_weights([values[0] * np.exp(rng.normal(0, 1, values[0].shape[-1])), *values[1:]])
    return model


@pytest.mark.parametrize("kind", ["fused", "six", "groups", "no scale", "activated first", "normalised late"])
def test_a_network_of_others_computes_what_it_did(kind: str) -> None:
    """Whatever stands between its layers, equalising changes its ranges or nothing, and never its logits."""
    model = own(kind)
    before = logits(model)
    assert equalize.equalize(model, FACES[:, ::2, ::2], 1.0) == 1.0
    assert np.abs(logits(model) - before).max() < 1e-3 * np.abs(before).max()


def test_what_is_not_known_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rule is wrong about a layer, the network is not equalised, rather than another one."""
    model = own("fused")
    before, weights = logits(model), model.get_weights()
    monkeypatch.setattr(streams, "_THROUGH", (*streams._THROUGH, "tanh"))
    assert equalize.equalize(model, FACES[:, ::2, ::2], 1.0) == 0.0
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert np.array_equal(logits(model), before)


def test_a_layer_that_is_used_twice_is_named() -> None:
    """A factor could not be its own on both ways."""
    keras = source.tensorflow_keras()
    face = keras.Input((24, 24, 1))
    twice = keras.layers.Conv2D(1, 3, padding="same", name="twice")
    model = keras.Model(face, keras.layers.Dense(8)(keras.layers.GlobalAveragePooling2D()(twice(twice(face)))))
    with pytest.raises(ModelError, match="got twice used again"):
        equalize.equalize(model, FACES, 1.0)
