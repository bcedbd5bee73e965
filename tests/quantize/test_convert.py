"""A trained model becomes a bundle: all of it right, or none of it there."""

import dataclasses
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import CannotWriteError, InputError, ModelError
from agent.vision import runtime
from agent.vision.model_card import Bundle
from quantize import convert as command
from quantize import equalize, graph, integers, lite, pack, representative, scores, source
from quantize.convert import Converted, Options, convert
from training import data, record
from training.config import Config, Phase
from training.network import Network


def test_the_bundle_is_what_the_agent_loads(converted: Converted, tmp_path: Path) -> None:
    """Written, read back, and its golden vectors hold in default and in reference kernels."""
    bundle = pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    assert bundle.model == converted.model
    assert sorted(p.name for p in bundle.path.iterdir()) == ["SHA256SUMS", "card.json", "golden.npz", "model.tflite"]
    for reference in (False, True):
        network = Network(bundle.model, runtime.choose(), reference=reference)
        bundle.check_golden(network.raw, reference=reference)


def test_grey_levels_enter_exactly(converted: Converted) -> None:
    """The input's scale is exactly 1, so that a grey level is one integer."""
    assert (converted.card.input.scale, converted.card.input.zero_point) == (1.0, -128)


def test_nothing_in_the_network_is_float(converted: Converted) -> None:
    """Every tensor that an operator touches is an integer, read from the file itself."""
    layout = graph.read(converted.model, "model")
    dtypes = {t.dtype for op in layout.ops for t in (*op.inputs, *op.outputs)}
    assert dtypes <= {"INT8", "INT32"}


def test_the_card_counts_what_it_measured(converted: Converted, drawn: data.Dataset) -> None:
    """Accuracies of float and int8 on both splits, each with its n and interval, equal to a recount."""
    found = {(m.split, m.model): m for m in converted.card.metrics if m.name == "accuracy"}
    assert {key[0] for key in found} == {"validation", "test"}
    faces = scores.labelled(drawn, "test", 48)
    network = Network(converted.model, runtime.choose())
    right = float((network.logits(faces.faces).argmax(axis=1) == faces.label).mean())
    mine = found["test", "int8 uncalibrated"]
    assert (mine.n, mine.value) == (80, pytest.approx(right))
    assert mine.ci95 is not None
    assert mine.ci95[0] <= right <= mine.ci95[1]


def test_the_card_says_where_the_network_comes_from(converted: Converted, drawn: data.Dataset) -> None:
    """Config, faces, epochs and the weights it began with, as training left them beside the file."""
    training = converted.card.training
    assert (training.config, training.epochs, training.started_from) == ("cnn", 4, "cnn-48px-int8-01234567")
    assert training.faces == len(data.soft_targets(drawn.train, "majority")[0])


def test_the_card_takes_the_runs_own_word(drawn: data.Dataset, tmp_path: Path) -> None:
    """run.json beside the model says on what it was trained, whatever a packaged config of its name says."""
    settings = Config("cnn", "cnn", (Phase(1, 48),), train_on="majority")
    record.of(settings, dataclasses.replace(data.head(drawn, 40), edition="fer2013new.csv")).write(tmp_path)
    training = command._training(tmp_path / "final.keras", "cnn", drawn)
    assert (training.faces, training.data) == (40, "FER2013 + FERPlus, votes of fer2013new.csv")


def test_a_run_json_of_another_program_is_said_before_the_work(
    cnn_file: Path, drawn: data.Dataset, tmp_path: Path
) -> None:
    """It was read for the card, minutes later; here even the faces, which lack classes, are not looked at."""
    path = Path(shutil.copy(cnn_file, tmp_path))
    (tmp_path / record.FILE).write_text("{}")
    with pytest.raises(InputError, match=r"run\.json: expected the record of a run"):
        convert(path, data.head(drawn, 8), Options())


def test_the_integers_keep_what_the_network_learned(converted: Converted) -> None:
    """On patterns that the network tells apart, int8 is within 2 points of float."""
    found = {(m.split, m.model): m.value for m in converted.card.metrics if m.name == "accuracy"}
    assert found["test", "float"] > 0.9
    assert found["test", "int8 uncalibrated"] >= found["test", "float"] - 0.02


def test_calibration_brings_probabilities_closer_to_the_votes(converted: Converted) -> None:
    """Cross-entropy with the votes of faces that it was not fitted on falls."""
    found = {(m.split, m.model): m.value for m in converted.card.metrics if m.name == "nll"}
    assert converted.card.calibration.n == 80
    assert found["test", "int8"] < found["test", "int8 uncalibrated"]


def test_the_same_input_gives_the_same_bytes(cnn_file: Path, drawn: data.Dataset, converted: Converted) -> None:
    """Conversion is deterministic, so that a bundle can be made again and compared by its hash."""
    faces, _ = representative.choose(drawn.train, 64, seed=1)
    model, ready = source.load(cnn_file), representative.pinned(faces, 48)
    equalize.equalize(model, ready, converted.card.quantization.equalized)
    assert lite.to_integer(model, ready) == converted.model


def test_uint8_input_is_exact_too(cnn_file: Path, drawn: data.Dataset) -> None:
    """With uint8 input the scale is 1 and the zero point 0, and the logits are the int8 file's."""
    faces, _ = representative.choose(drawn.train, 64, seed=1)
    ready = representative.pinned(faces, 48)
    model = source.load(cnn_file)
    signed, unsigned = (lite.to_integer(model, ready, input_type=kind) for kind in ("int8", "uint8"))
    layout = graph.read(unsigned, "uint8")
    integers.check(layout, "uint8")
    assert (layout.inputs[0].dtype, layout.inputs[0].scale, layout.inputs[0].zero_point) == ("UINT8", 1.0, 0)
    a, b = (Network(content, runtime.choose()).raw(ready[:16]) for content in (signed, unsigned))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("operation", "says"), [("erf", r"no integer form of Erf"), ("sin", r"unsupported op .*\bSIN\b")]
)
def test_an_unsupported_operator_is_named(operation: str, says: str, tmp_path: Path, drawn: data.Dataset) -> None:
    """The converter refuses one operator, our own list another: the line names it."""
    keras = source.tensorflow_keras()
    inputs = keras.Input((48, 48, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(getattr(keras.ops, operation)(x))
    path = tmp_path / "wave.keras"
    keras.Model(inputs, keras.layers.Dense(8)(x), name="wave").save(path)
    with pytest.raises(ModelError, match=says):
        command.convert(path, drawn, command.Options(faces=16))


def test_a_bundle_that_is_there_stays(converted: Converted, tmp_path: Path) -> None:
    """Without --force the old bundle is not touched; with it the new one takes its place."""
    out = tmp_path / "bundle"
    pack.write(out, converted.card, converted.model, converted.golden)
    with pytest.raises(CannotWriteError, match="--force"):
        pack.write(out, converted.card, converted.model, converted.golden)
    renamed = converted.card.model_copy(update={"id": "second"})
    pack.write(out, renamed, converted.model, converted.golden, force=True)
    assert Bundle.load(out).card.id == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_link_to_a_bundle_stays_one(converted: Converted, tmp_path: Path) -> None:
    """--force through it, more than once, replaces what it names."""
    pack.write(tmp_path / "v1", converted.card, converted.model, converted.golden)
    (tmp_path / "current").symlink_to("v1")
    for name in ("second", "third"):
        renamed = converted.card.model_copy(update={"id": name})
        pack.write(tmp_path / "current", renamed, converted.model, converted.golden, force=True)
        assert Bundle.load(tmp_path / "v1").card.id == name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "v1"]
    assert (tmp_path / "current").is_symlink()


def test_a_folder_that_is_no_bundle_is_never_replaced(converted: Converted, tmp_path: Path) -> None:
    """--force on someone's documents is refused."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CannotWriteError, match="is no bundle"):
        pack.write(tmp_path, converted.card, converted.model, converted.golden, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_disk_that_refuses_leaves_nothing_behind(converted: Converted, tmp_path: Path) -> None:
    """When the model does not fit, neither the bundle nor a part of it is there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(converted.model) // 2, hard))
    try:
        with pytest.raises(CannotWriteError, match="File too large"):
            pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_in_one_line(tmp_path: Path, drawn_dir: Path) -> None:
    """A file that is no model: exit code 78, one line, no folder."""
    wrong = tmp_path / "wrong.keras"
    wrong.write_bytes(b"?")
    done = CliRunner().invoke(command.main, [str(wrong), "--data", str(drawn_dir), "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 78
    assert [line[:7] for line in done.stderr.splitlines() if "reading" not in line] == ["error: "]
    assert not (tmp_path / "bundle").exists()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """A file where a folder should be: said before the model is looked at, and the test split with it."""
    (tmp_path / "file").touch()
    arguments = [str(tmp_path / "none.keras"), "--data", str(tmp_path), "--out", str(tmp_path / "file" / "b" / "c")]
    done = CliRunner().invoke(command.main, arguments)
    assert (done.exit_code, f"expected a folder to write to, got {tmp_path / 'file'}" in done.stderr) == (73, True)


def test_the_command_writes_a_bundle_and_the_float_network(cnn_file: Path, tmp_path: Path, drawn_dir: Path) -> None:
    """The whole command, on drawn faces: a bundle that loads, and the float .tflite beside it."""
    out, floats = tmp_path / "bundle", tmp_path / "float.tflite"
    arguments = [str(cnn_file), "--data", str(drawn_dir), "--out", str(out), "--float", str(floats), "--faces", "64"]
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads((out / "card.json").read_text())["id"] == Bundle.load(out).card.id
    assert graph.read_file(floats)[1].inputs[0].dtype == "FLOAT32"


def test_a_network_that_cannot_be_batched_is_refused(resnet_file: Path, drawn: data.Dataset) -> None:
    """At 32 px the last feature map is one pixel, which fixes the batch in the file: the agent could not use it."""
    with pytest.raises(ModelError, match="larger side"):
        convert(resnet_file, drawn, command.Options(side=32, faces=16))


def test_a_model_that_is_not_reported_leaves_the_test_split_alone(cnn_file: Path, drawn: data.Dataset) -> None:
    """Without --test the card holds validation numbers only: the test split is looked at once, for what is reported."""
    card = convert(cnn_file, drawn, command.Options(faces=16)).card
    assert {m.split for m in card.metrics} == {"validation"}
