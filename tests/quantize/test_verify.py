"""The comparison with float: its numbers, its verdict, and that it finds the layer that hurts."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import ModelError
from agent.vision import runtime
from quantize import graph, layers, lite, pack, source, verify
from quantize.convert import Converted


@pytest.fixture(scope="module")
def files(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(float .tflite, bundle) of the CNN."""
    folder = tmp_path_factory.mktemp("files")
    pack.write(folder / "bundle", converted.card, converted.model, converted.golden)
    pack.write_file(folder / "float.tflite", converted.float_model)
    return folder / "float.tflite", folder / "bundle"


def run(files: tuple[Path, Path], drawn_dir: Path, *more: str) -> tuple[int, str, str]:
    arguments = [*map(str, files), "--data", str(drawn_dir), "--reference-faces", "4", "--layer-faces", "4", *more]
    done = CliRunner().invoke(verify.main, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_the_json_holds_what_the_card_says(files: tuple[Path, Path], drawn_dir: Path, converted: Converted) -> None:
    """Accuracies on the test split are the card's, n is stated, and nothing else is on stdout."""
    code, out, err = run(files, drawn_dir, "--split", "test", "--json", "--drop", "5", "--agreement", "0.9")
    report = json.loads(out)
    assert code == 0, err
    assert report["n"] == 80
    card = {m.model: m.value for m in converted.card.metrics if m.name == "accuracy" and m.split == "test"}
    assert report["float_accuracy"]["value"] == pytest.approx(card["float"])
    assert report["runtimes"][0]["accuracy"]["value"] == pytest.approx(card["int8 uncalibrated"])
    assert report["calibrated"][0]["accuracy"]["value"] == pytest.approx(card["int8"])
    assert report["ece"].keys() == {"float", "int8", "int8 calibrated"}
    assert [row["op"] for row in report["layers"]][-1] == "CONV_2D"


def test_a_drop_past_the_limit_fails(files: tuple[Path, Path], drawn_dir: Path) -> None:
    """With a limit that nothing can meet the exit code is 1, and the line names runtime, limit and value."""
    code, out, err = run(files, drawn_dir, "--drop", "-100")
    assert code == 1
    assert "accuracy" in out
    assert "expected a drop of at most -100" in err.splitlines()[-1]


def test_nobody_looks_at_the_test_split_by_accident(files: tuple[Path, Path], drawn_dir: Path) -> None:
    """Without --split it is validation, which may be looked at as often as one likes."""
    assert "validation split" in run(files, drawn_dir, "--drop", "5")[1]


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        ({"biases": (-9.0,) * 7 + (9.0,)}, ["calibrated: expected a drop of at most 5.0", "more than the"]),
        (
            {"temperature": 40.0, "biases": (0.0,) * 8},
            ["calibrated: expected an error against the votes of at most 0.05"],
        ),
    ],
    ids=["another class", "unsure of all"],
)
def test_a_ruined_calibration_fails(
    calibration: dict[str, object], says: list[str], converted: Converted, files: tuple[Path, Path], drawn_dir: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The integers are as they were, what the device makes of them is not: each line says what is lost by it."""
    how = converted.card.calibration.model_copy(update=calibration)
    card = converted.card.model_copy(update={"calibration": how})
    pack.write(tmp_path / "b", card, converted.model, converted.golden)
    code, out, err = run((files[0], tmp_path / "b"), drawn_dir, "--drop", "5", "--agreement", "0.9")
    assert code == 1
    assert ", calibrated " in out
    for line in says:
        assert line in err.splitlines()[-1]


def test_a_bare_file_has_no_calibration_to_judge(files: tuple[Path, Path], drawn_dir: Path) -> None:
    """Without a card there is one row a runtime."""
    out = run((files[0], files[1] / "model.tflite"), drawn_dir, "--json", "--drop", "5", "--agreement", "0.9")[1]
    assert json.loads(out)["calibrated"] == []


def test_two_different_networks_are_refused(files: tuple[Path, Path], resnet_file: Path, tmp_path: Path) -> None:
    """A ResNet is not the float network of a CNN, and reading them says so, before anything is run."""
    path = tmp_path / "resnet.tflite"
    path.write_bytes(lite.to_float(source.load(resnet_file, 48)))
    with pytest.raises(ModelError, match=r"resnet\.tflite.*the same operators"):
        verify.read(path, files[1])


def test_a_network_of_another_width_is_another_network(converted: Converted) -> None:
    """The same operators in the same order, one of them with fewer channels: its position is named."""
    floats, layout = (graph.read(content, "") for content in (converted.float_model, converted.model))
    op = layout.ops[-2]
    narrow = dataclasses.replace(op.outputs[0], shape=(*op.outputs[0].shape[:-1], 3))
    ops = (*layout.ops[:-2], dataclasses.replace(op, outputs=(narrow,)), layout.ops[-1])
    assert layers.paired(floats, layout)[-1][1].name == op.name
    with pytest.raises(ModelError, match=r"CONV_2D \(1, 1, 1, 8\) in the float and CONV_2D \(1, 1, 1, 3\)"):
        layers.paired(floats, dataclasses.replace(layout, ops=ops))


def test_float_and_int8_cannot_be_swapped(files: tuple[Path, Path]) -> None:
    """Given in the wrong order, the message says which file is float."""
    with pytest.raises(ModelError, match="FLOAT32"):
        verify.read(files[1] / "model.tflite", files[0])


def test_the_table_finds_the_layer_whose_weights_do_not_fit_their_scale(cnn_file: Path, drawn: object) -> None:
    """One huge weight leaves no steps for the others of its label."""
    model = source.load(cnn_file)
    dense = model.get_layer("logits")
    kernel, bias = dense.get_weights()
    kernel[0, 0] = 200 * np.abs(kernel).max()
    dense.set_weights([kernel, bias])
    faces = np.random.default_rng(1).integers(0, 256, (12, 48, 48, 1), dtype=np.uint8)
    floats, ints = lite.to_float(model), lite.to_integer(model, faces)
    rows = layers.table(floats, graph.read(floats, "f"), ints, graph.read(ints, "i"), faces[:4], runtime.choose())
    worst = layers.worst(rows)
    assert (worst.op, worst.index) == ("CONV_2D", rows[-1].index)
    assert worst.weights_db is not None
    assert worst.weights_db < 40
