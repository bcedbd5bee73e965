"""Dense layers become convolutions, and the network stays the same."""

from pathlib import Path

import numpy as np
import pytest

from quantize import head, source


@pytest.mark.parametrize("network", ["cnn_file", "resnet_file"], ids=["flattened, two dense layers", "pooled, one"])
def test_it_computes_the_same(network: str, request: pytest.FixtureRequest) -> None:
    """No dense layer is left, and no logit differs by more than float rounding."""
    path: Path = request.getfixturevalue(network)
    model = source.load(path, 48)
    changed = head.as_convolutions(model)
    assert "Dense" not in {type(layer).__name__ for layer in changed.layers}
    faces = np.random.default_rng(1).integers(0, 256, (4, 48, 48, 1)).astype(np.float32)
    ours, theirs = (np.asarray(net(faces, training=False)) for net in (changed, model))
    assert ours.shape == (4, 8)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_where_channels_are_is_not_the_users_to_say(cnn_file: Path) -> None:
    """~/.keras/keras.json may put them first, for another project: the new layers take those of the network."""
    keras = source.tensorflow_keras()
    keras.config.set_image_data_format("channels_first")
    try:
        assert head.as_convolutions(source.load(cnn_file)).output_shape == (None, 8)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_a_network_that_ends_otherwise_is_left_alone() -> None:
    """What is not ours is refused elsewhere, by a rule of its own."""
    keras = source.tensorflow_keras()
    face = keras.Input((48, 48, 1))
    model = keras.Model(face, keras.layers.Reshape((48 * 48,))(face))
    assert head.as_convolutions(model) is model


@pytest.mark.parametrize("step", ["relu", "skip", "scaled"])
def test_a_step_between_the_dense_layers_is_not_left_out(step: str) -> None:
    """Bare operations are no layers: a network that has one behind its pooling is left as it is."""
    keras = source.tensorflow_keras()
    face = keras.Input((48, 48, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(face))
    hidden = keras.layers.Dense(8)(pooled)
    hidden = {"relu": keras.ops.relu(hidden), "skip": hidden + pooled, "scaled": hidden * 2.0}[step]
    model = keras.Model(face, keras.layers.Dense(8)(hidden))
    assert head.as_convolutions(model) is model
