"""The comparison with float: its numbers, its verdict, and that it finds the layer that hurts."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import ModelError
from agent.vision import runtime
from agent.vision.model_card import MODELS, Bundle
from quantize import graph, layers, lite, pack, source, verify
from quantize.convert import Converted, Options, convert
from training import data


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
    assert re.search(r"expected a drop of at most -100.0 points, got -?\d+\.\d\d \[-?\d", err.splitlines()[-1])


def test_the_bar_of_the_drop_is_said_to_be_on_the_estimate(files: tuple[Path, Path], drawn_dir: Path) -> None:
    """80 faces cannot resolve 5 points: the text has the interval, and that the bar does not look at it."""
    out = run(files, drawn_dir, "--drop", "5", "--agreement", "0.9")[1]
    assert "bars: drop 5 points, of the estimate, not of its interval; agreement 90%, mean |dp| 0.005" in out


@pytest.mark.parametrize(("split", "fitted"), [("validation", True), ("test", False)])
def test_an_error_on_the_faces_of_the_fit_says_so(
    split: str, fitted: bool, files: tuple[Path, Path], drawn_dir: Path
) -> None:
    """The calibration was fitted to validation: there its error is flattering, which text and JSON say."""
    arguments = (files, drawn_dir, "--split", split, "--drop", "5", "--agreement", "0.9")
    assert ("fitted on these faces" in run(*arguments)[1]) is fitted
    assert json.loads(run(*arguments, "--json")[1])["fitted_here"] is fitted


def _spoiled(model: bytes, *, zero_point: int = 0, scale: float = 1.0) -> bytes:
    """Return `model` with the zero point of its first activation moved, and the scale of its logits multiplied."""

    def change(model: Any, _: object) -> bool:
        ops, tensors = model.subgraphs[0].operators, model.subgraphs[0].tensors
        first, last = (tensors[op.outputs[0]].quantization for op in (ops[0], ops[-1]))
        first.zeroPoint = [int(np.clip(first.zeroPoint[0] + zero_point, -128, 127))]
        last.scale = [scale * last.scale[0]]
        return True

    return graph.rewritten(model, change)


@pytest.mark.parametrize("spoiled", [{"zero_point": 100}, {"scale": 0.8}], ids=["zero point", "scale"])
def test_probabilities_that_moved_fail(
    spoiled: dict[str, Any], files: tuple[Path, Path], drawn_dir: Path, tmp_path: Path, converted: Converted
) -> None:
    """A wrong zero point, and a scale of the logits that no top class shows, fail by the mean difference."""
    (tmp_path / "right.tflite").write_bytes(_spoiled(converted.model))
    (tmp_path / "wrong.tflite").write_bytes(_spoiled(converted.model, **spoiled))
    limits = ("--drop", "100", "--agreement", "0")
    assert run((files[0], tmp_path / "right.tflite"), drawn_dir, *limits)[0] == 0
    code, _, err = run((files[0], tmp_path / "wrong.tflite"), drawn_dir, *limits)
    assert code == 1
    assert "expected probabilities within 0.005 of float's on average, got" in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["released", "compact", "coral"])
def test_the_released_bundles_have_room_below_the_bar(name: str) -> None:
    """Their cards' mean difference, on either split, is at most seven tenths of what fails."""
    if not (MODELS / name).is_dir():
        pytest.skip(f"no {name} model")
    found = [m.value for m in Bundle.load(MODELS / name).card.metrics if m.name == "mean_probability_error"]
    assert found
    assert max(found) <= 0.7 * verify.Limits.mean_error


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
    report = json.loads(out)
    assert (report["calibrated"], report["float_calibrated"]) == ([], None)


def test_what_the_calibration_does_is_told_from_what_the_integers_do(
    converted: Converted, files: tuple[Path, Path], drawn_dir: Path, tmp_path: Path
) -> None:
    """One that calls every face contempt makes the float network as bad as the integers."""
    how = converted.card.calibration.model_copy(update={"biases": (-99.0,) * 7 + (99.0,)})
    card = converted.card.model_copy(update={"calibration": how})
    pack.write(tmp_path / "b", card, converted.model, converted.golden)
    report = json.loads(run((files[0], tmp_path / "b"), drawn_dir, "--json")[1])
    float_calibrated = report["float_calibrated"]["value"]
    assert float_calibrated == report["calibrated"][0]["accuracy"]["value"] < report["float_accuracy"]["value"]


def test_layers_of_other_channels_are_not_compared(
    cnn_file: Path, drawn: data.Dataset, as_files: Callable[[data.Dataset], Path], tmp_path: Path
) -> None:
    """A .keras that cannot be equalised as the bundle was had its weights take the blame, and a layer that "hurts"."""
    made = convert(cnn_file, drawn, Options(faces=128))
    pack.write(tmp_path / "bundle", made.card, made.model, made.golden)
    fewer = as_files(dataclasses.replace(drawn, train=drawn.validation))
    limits = ("--drop", "100", "--agreement", "0", "--mean-error", "1")
    for given, where, compared in (
        (tmp_path / "bundle", as_files(drawn), True),
        (tmp_path / "bundle", fewer, False),
        (tmp_path / "bundle" / "model.tflite", as_files(drawn), False),
    ):
        code, out, err = run((cnn_file, given), where, *limits)
        assert code == 0, err
        assert ("hurts most" in out, "skipped: layers: " in out) == (compared, not compared)
        sound = run((cnn_file, given), where, *limits, "--json")[1]
        assert bool(json.loads(sound)["layers"]) == compared


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
