"""A narrower network with the most used channels of a wide one."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import ModelError
from quantize import narrow, source
from training.config import Config, Phase

HALF = Config(name="half", model="resnet50", phases=(Phase(1, 48),), width=0.0625)
FACES = np.random.default_rng(5).integers(0, 256, (24, 48, 48, 1), dtype=np.uint8)


def silenced(resnet_file: Path) -> Any:
    """Return the narrow ResNet-50 of which every second channel inside the blocks says nothing, and no other."""
    model = source.load(resnet_file, 48)
    for layer in model.layers:
        if layer.name.endswith(("_1_bn", "_2_bn")):
            gamma, beta, *moments = layer.get_weights()
            gamma[::2] = beta[::2] = 0
            beta[1::2] = 50  # far from where ReLU would silence it
            layer.set_weights([gamma, beta, *moments])
    return model


def test_silent_channels_go(resnet_file: Path) -> None:
    """Where half of the channels are constant, the others are kept, in order, with the weights that read them."""
    wide = silenced(resnet_file)
    small = narrow.narrow(wide, HALF, FACES)
    for name in ("conv3_block2_1_bn", "conv5_block3_2_bn"):
        for ours, theirs in zip(small.get_layer(name).get_weights(), wide.get_layer(name).get_weights(), strict=True):
            assert len(ours) * 2 == len(theirs)
            assert np.array_equal(ours, theirs[1::2])
    ours, theirs = (m.get_layer("conv3_block2_2_conv").get_weights()[0] for m in (small, wide))
    assert np.array_equal(ours, theirs[:, :, 1::2, 1::2])
    assert small.name == f"{wide.name}.narrowed"


def test_nothing_is_lost_at_the_same_width(resnet_file: Path) -> None:
    """With all channels kept it is the same network."""
    wide = source.load(resnet_file, 48)
    same = narrow.narrow(wide, dataclasses.replace(HALF, width=0.125), FACES)
    ours, theirs = (np.asarray(m(FACES.astype(np.float32))) for m in (same, wide))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dataclasses.replace(HALF, width=0.25), "wants 16 channels, it has 8"),
        (dataclasses.replace(HALF, model="cnn", width=1), "expected the layers of config half"),
    ],
)
def test_another_network_is_refused(resnet_file: Path, other: Config, message: str) -> None:
    """One line names what was expected."""
    with pytest.raises(ModelError, match=message):
        narrow.narrow(source.load(resnet_file, 48), other, FACES)


def test_the_command_writes_a_file_that_training_starts_from(cnn_file: Path, drawn_dir: Path, tmp_path: Path) -> None:
    """A .keras file, and a line that says what is in it."""
    arguments = [cnn_file, "cnn", "--data", drawn_dir, "--out", tmp_path / "start.keras"]
    done = CliRunner().invoke(narrow.main, [str(a) for a in arguments])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'start.keras'}: cnn, ")
    assert "chosen by 128 training faces" in done.stdout
    assert source.load(tmp_path / "start.keras").name == "cnn.narrowed"
