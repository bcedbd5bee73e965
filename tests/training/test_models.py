"""The networks: what they take, what they give, how large they are."""

import keras
import numpy as np
import pytest

from agent.errors import InputError
from training import config, models, recipe


@pytest.mark.parametrize("name", config.names())
def test_grey_levels_in_logits_out(name: str) -> None:
    """Raw 0-255 faces of the released side give 8 finite float32 logits; nobody divides by 255 outside."""
    settings = config.load(name)
    side = settings.phases[-1].side
    model = models.build(settings, side)
    faces = np.random.default_rng(1).integers(0, 256, (2, side, side, 1)).astype(np.float32)
    logits = keras.ops.convert_to_numpy(model(faces))
    assert (logits.shape, logits.dtype) == ((2, 8), np.float32)
    assert np.isfinite(logits).all()
    assert isinstance(model.layers[1], keras.layers.Rescaling)


def test_resnet50_is_the_standard_one() -> None:
    """As many parameters as keras.applications.ResNet50 with one grey channel and 8 classes."""
    standard = keras.applications.ResNet50(weights=None, input_shape=(48, 48, 1), classes=8)
    assert models.build(config.load("resnet50"), 48).count_params() == standard.count_params()


def test_a_side_is_that_of_its_phase() -> None:
    """Progressive sizes: the side changes with the epoch, and the last one stays."""
    settings = config.Config("x", "resnet50", (config.Phase(2, 32), config.Phase(1, 48)))
    assert [settings.side_at(epoch) for epoch in range(5)] == [32, 32, 48, 48, 48]


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    """Linear to the peak, then a cosine to zero over all epochs."""
    settings = config.Config("x", "cnn", (config.Phase(4, 48),), learning_rate=0.1, warmup_epochs=1)
    rates = [float(recipe.schedule(settings, 100)(step)) for step in (0, 50, 100, 400)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] == pytest.approx(0.1)
    assert rates[3] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", config.names())
def test_a_config_opens_with_source_cost_result_and_command(name: str) -> None:
    """Each file says where it comes from, what it costs, what came out, and how to run it."""
    text = (config.FOLDER / f"{name}.py").read_text()
    for part in ("Source:", "Cost:", "Result:", f"python -m training.fit {name} --data"):
        assert part in text.split('"""')[1]


def test_an_unknown_config_is_told_which_there_are() -> None:
    """The message lists the names."""
    with pytest.raises(InputError, match="there are cnn, cnn_bn_dropout, cnn_bn_dropout_augment, resnet50"):
        config.load("vgg")


def test_a_file_without_a_config_is_refused(tmp_path: config.Path) -> None:
    """It must hold CONFIG = Config(...)."""
    (tmp_path / "mine.py").write_text("CONFIG = 3\n")
    with pytest.raises(InputError, match=r"expected CONFIG = Config\(...\), got int"):
        config.load(str(tmp_path / "mine.py"))
