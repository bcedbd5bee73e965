"""What is read off a .tflite file, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import InputError, ModelError
from quantize import graph, integers, lite, source
from quantize.convert import Converted


def test_sizes_are_those_of_the_network(converted: Converted, cnn_file: Path) -> None:
    """Parameters are Keras' own count; MACs follow from the layers' shapes."""
    model = source.load(cnn_file)
    layout = graph.read(converted.model, "cnn")
    assert layout.parameters == model.count_params()
    macs = 48**2 * 9 * 1 * 32 + 24**2 * 9 * (32 * 64 + 64 * 64) + 12**2 * 9 * (64 * 128 + 128 * 128)
    assert layout.macs == macs + 6 * 6 * 128 * 256 + 256 * 8


def test_a_file_that_is_no_model_is_told_from_a_missing_one(tmp_path: Path) -> None:
    """Exit codes 66 and 78."""
    with pytest.raises(InputError, match="no such model"):
        graph.read_file(tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("hello, world")
    with pytest.raises(ModelError, match="TFL3"):
        graph.read_file(tmp_path / "text.tflite")


@settings(max_examples=25, deadline=None)
@given(keep=st.floats(0.001, 0.3))
def test_a_truncated_file_is_one_line_and_no_crash(converted: Converted, keep: float) -> None:
    """Reading runs nothing: a file cut short is refused, or its graph is refused."""
    cut = converted.model[: max(8, int(keep * len(converted.model)))]
    with pytest.raises(ModelError, match="cut"):
        integers.check(graph.read(cut, "cut"), "cut")


def test_a_float_file_is_not_taken_for_an_integer_one(cnn_file: Path) -> None:
    """The message names the operator that works in floats."""
    floats = graph.read(lite.to_float(source.load(cnn_file)), "float")
    with pytest.raises(ModelError, match="works in FLOAT32"):
        integers.check(floats, "float")


def test_an_input_that_is_not_pinned_is_refused(cnn_file: Path) -> None:
    """Calibrated on faces without grey levels 0 and 255, the input's scale is not 1, and the check says why."""
    faces = np.random.default_rng(1).integers(40, 200, (8, 48, 48, 1), dtype=np.uint8)
    layout = graph.read(lite.to_integer(source.load(cnn_file), faces), "unpinned")
    with pytest.raises(ModelError, match="grey levels 0 and 255"):
        integers.check(layout, "unpinned")


def test_a_narrow_resnet_is_folded_and_per_channel(resnet_file: Path) -> None:
    """Fifty-three convolutions and the dense layer with one scale a channel, and no batch-norm left."""
    faces = np.random.default_rng(1).integers(0, 256, (8, 48, 48, 1), dtype=np.uint8)
    layout = graph.read(lite.to_integer(source.load(resnet_file, 48), faces), "resnet")
    integers.check(layout, "resnet")
    assert layout.counts == {
        "CONV_2D": 54, "ADD": 17, "PAD": 2, "MUL": 1, "MAX_POOL_2D": 1, "MEAN": 1, "RESHAPE": 1
    }  # fmt: skip
    scales = {op.inputs[1].scales == op.inputs[1].shape[0] for op in layout.ops if op.name == "CONV_2D"}
    assert scales == {True}
