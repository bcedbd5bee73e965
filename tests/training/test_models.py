"""The networks: what they take, what they give, how large they are."""

import re
from collections.abc import Callable

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


def test_where_channels_are_is_not_the_users_to_say() -> None:
    """~/.keras/keras.json may put them first, for another project: 48 rows were taken for 48 channels."""
    keras.config.set_image_data_format("channels_first")
    try:
        assert models.build(config.load("cnn"), 48).output_shape == (None, 8)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_resnet50_is_the_standard_one() -> None:
    """As many parameters as keras.applications.ResNet50 with one grey channel and 8 classes."""
    standard = keras.applications.ResNet50(weights=None, input_shape=(48, 48, 1), classes=8)
    assert models.build(config.load("resnet50"), 48).count_params() == standard.count_params()


def test_resnet29_takes_its_smallest_side() -> None:
    """Something is left of the smallest input that a config may ask of it, in both directions."""
    settings = config.Config("x", "resnet29", (config.Phase(1, config.RESNET29_SIDE),))
    assert models.build(settings, config.RESNET29_SIDE).output_shape == (None, 8)
    with pytest.raises(ValueError, match="zero or negative"):
        models.build(settings, config.RESNET29_SIDE - 1)


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
    with pytest.raises(InputError, match=f"there are {', '.join(config.names())}, or give"):
        config.load("vgg")


def test_a_file_without_a_config_is_refused(tmp_path: config.Path) -> None:
    """It must hold CONFIG = Config(...)."""
    (tmp_path / "mine.py").write_text("CONFIG = 3\n")
    with pytest.raises(InputError, match=r"expected CONFIG = Config\(...\), got int"):
        config.load(str(tmp_path / "mine.py"))


ONE = (config.Phase(1, 48),)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": "resnet51"},
            "model: expected one of 'cnn', 'cnn_bn_dropout', 'resnet29', 'resnet50', got 'resnet51'",
        ),
        ({"loss": "hard"}, "loss: expected one of 'soft', 'majority', got 'hard'"),
        ({"stem_stride": 3}, "stem_stride: expected one of 1, 2, got 3"),
        ({"batch": 0}, "batch: expected a whole number from 1 to 65536, got 0"),
        ({"batch": 64.0}, "batch: expected a whole number from 1 to 65536, got 64.0"),
        ({"learning_rate": "1e-3"}, "learning_rate: expected a number from 1e-12 to 100, got '1e-3'"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number from 1e-12 to 100, got nan"),
        ({"teacher_share": 60}, "teacher_share: expected a number from 0 to 1, got 60"),
        ({"seed": -1}, "seed: expected a whole number from 0 to 4294967295, got -1"),
        ({"name": "a/b"}, "name: expected letters, digits and ._- (it names a folder), got 'a/b'"),
        ({"warmup_epochs": 1.5}, "warmup_epochs: expected at most all epochs, 1, got 1.5"),
        ({"phases": ()}, "phases: expected a tuple of at least one Phase, got ()"),
        ({"augment": True}, "augment: expected an Augment, got True"),
        ({"early_stop_epochs": 2, "phases": ONE * 2}, "early_stop_epochs: expected None with several phases, got 2"),
        ({"phases": (*ONE, config.Phase(1, 64))}, "phases: expected one side for cnn, got [48, 64]"),
        ({"width": 0.5}, "width: expected 1, as cnn has no other, got 0.5"),
        ({"stem_stride": 1}, "stem_stride: expected 2, as cnn has no other, got 1"),
        ({"model": "resnet29"}, "phases: expected a side of 103 or more for resnet29, got 48"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(changes: dict[str, object], says: str) -> None:
    """Field, what was expected, what came: a typo does not train another experiment."""
    with pytest.raises(InputError, match=re.escape(says)):
        config.Config(**{"name": "x", "model": "cnn", "phases": ONE, **changes})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: config.Augment(flip=1), "flip: expected True or False, got 1"),
        (lambda: config.Augment(shift=6), "shift: expected a number from 0 to 1, got 6"),
        (lambda: config.Phase(0, 48), "epochs: expected a whole number from 1 to 100000, got 0"),
        (lambda: config.Phase(4, 4), "side: expected a whole number from 16 to 512, got 4"),
    ],
)
def test_a_part_of_a_config_is_checked_too(make: Callable[[], object], says: str) -> None:
    """Augmentation and phases."""
    with pytest.raises(InputError, match=re.escape(says)):
        make()


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("CONFIG = Config('x', 'cnn', (Phase(1, 48),), batsh=3)", "TypeError: .*batsh"),
        ("CONFIG = Config('x', 'cnn', (Phase(1, 48),), batch=0)", "batch: expected a whole number from 1"),
        ("CONFIG = Config(", "SyntaxError"),
    ],
)
def test_a_config_file_that_does_not_run_is_named_with_its_line(second: str, says: str, tmp_path: config.Path) -> None:
    """A wrong field, a wrong value, a bracket left open."""
    (tmp_path / "mine.py").write_text(f"from training.config import Config, Phase\n{second}\n")
    with pytest.raises(InputError, match=rf"mine\.py:2: expected a config that runs, got {says}") as caught:
        config.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(caught.value)
