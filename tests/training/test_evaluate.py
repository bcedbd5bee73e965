"""`python -m training.evaluate`."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from agent.errors import InputError, ModelError
from tests.training.commands import CONFIG, alone, run
from tests.training.conftest import ROOT
from training import checkpoint, config, data, distill, evaluate, models, predict

pytestmark = pytest.mark.usefixtures("own_cache")


def test_json_holds_both_protocols_and_nothing_else_is_on_stdout(keras_file: Path, tiny_dir: Path) -> None:
    """Accuracy, macro-F1, calibration error with intervals; per-class precision and recall; confusion."""
    code, out, errors = run(evaluate.main, keras_file, "--data", tiny_dir, "--json")
    assert code == 0, errors
    (found,) = json.loads(out)
    assert found["split"] == "validation"  # nobody looks at the test split by accident
    assert found["protocols"].keys() == {"majority", "argmax"}
    majority = found["protocols"]["majority"]
    assert majority["n"] == 25
    assert majority["accuracy"]["ci95"][0] <= majority["accuracy"]["value"] <= majority["accuracy"]["ci95"][1]
    assert np.array(majority["confusion"]).sum() == 25
    assert re.search(r"final.keras: 100%.* 1/1 ", errors)  # a bar on stderr


def test_keras_and_tflite_files_of_one_network_agree(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """Both are taken, and give the same accuracy."""
    pytest.importorskip("tensorflow", reason="a .tflite is made by TensorFlow's converter")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the converter needs Keras on TensorFlow")
    from quantize import lite, source

    path = tmp_path / "final.tflite"
    path.write_bytes(lite.to_float(source.load(keras_file)))
    _, out, _ = run(evaluate.main, keras_file, path, "--data", tiny_dir, "--json")
    a, b = (found["protocols"]["majority"]["accuracy"]["value"] for found in json.loads(out))
    assert a == pytest.approx(b)


def test_the_report_sets_models_side_by_side(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """One page, each model under the shortest name that tells it apart."""
    other = tmp_path / "other" / "final.keras"
    other.parent.mkdir()
    other.write_bytes(keras_file.read_bytes())
    code, out, _ = run(evaluate.main, keras_file, other, "--data", tiny_dir, "--html", tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert code == 0
    assert "majority" in out
    assert "other/final.keras" in html
    for part in ("Overall", "Recall by class", "Reliability", "Confusion"):
        assert part in html
    assert alone(html)


@pytest.mark.parametrize(("more", "looks"), [((), ""), (("--flip",), ", with mirror image")])
def test_the_report_says_how_often_was_looked(
    more: tuple[str, ...], looks: str, keras_file: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    """A page of two looks a face, passed on, is not taken for what the device does with one."""
    run(evaluate.main, keras_file, "--data", tiny_dir, "--html", tmp_path / "r.html", *more)
    assert f"Split: validation{looks}. " in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(("name", "code"), [("none.keras", 66), ("text.keras", 78), ("text.tflite", 78), ("a.h5", 66)])
def test_what_is_no_model_is_refused_in_one_line(name: str, code: int, tiny_dir: Path, tmp_path: Path) -> None:
    """Missing, damaged, or of another kind."""
    if not name.startswith("none"):
        (tmp_path / name).write_text("hello, world")
    done, _, errors = run(evaluate.main, tmp_path / name, "--data", tiny_dir)
    lines = [line for line in errors.splitlines() if not line.startswith("reading")]
    assert done == code
    assert [line[:7] for line in lines] == ["error: "]


def test_a_network_with_an_open_side_is_refused(tmp_path: Path) -> None:
    """Which side it is meant for is not in the file, and 48 px would be a guess."""
    narrow = config.Config("r", "resnet50", CONFIG.phases, width=0.125)
    models.build(narrow, None).save(tmp_path / "best.keras")
    with pytest.raises(ModelError, match=r"best.keras: expected a fixed input side, .* use the run's final.keras"):
        predict.load(tmp_path / "best.keras")


def test_another_network_is_refused(tmp_path: Path) -> None:
    """One that takes no faces."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)]).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match=r"not ours: expected one square grey input .*, got \(None, 4\)"):
        predict.load(tmp_path / "other.keras")


def test_probabilities_are_not_taken_for_logits(keras_file: Path, tmp_path: Path) -> None:
    """A softmax on top of a softmax: the accuracy would look right, and every probability be wrong."""
    network = checkpoint.read(keras_file)
    sure = keras.layers.Dense(8, activation="softmax")(network.layers[-2].output)
    keras.Model(network.input, sure).save(tmp_path / "sure.keras")
    with pytest.raises(ModelError, match=r"expected logits .*, got activation softmax"):
        predict.load(tmp_path / "sure.keras")


def test_bare_operations_count_as_layers(keras_file: Path) -> None:
    """A softmax that is no layer at the end, and a step before the first layer."""
    network = checkpoint.read(keras_file)
    sure = keras.Model(network.input, keras.ops.softmax(network.output))
    with pytest.raises(ModelError, match="expected logits"):
        predict.check_ours(sure, "sure")
    turned = keras.Model(network.input, keras.layers.Dense(8)(keras.layers.Flatten()(255.0 - network.input)))
    with pytest.raises(ModelError, match="as the first layer"):
        predict.check_ours(turned, "turned")


def test_weights_that_are_no_numbers_are_one_line(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """Neither scores nor a teacher's file are made of them."""
    network = checkpoint.read(keras_file)
    network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
    network.save(tmp_path / "nan.keras")
    done, _, errors = run(distill.main, tmp_path / "nan.keras", "--data", tiny_dir, "--out", tmp_path / "s.npz")
    assert (done, (tmp_path / "s.npz").exists()) == (78, False), errors
    assert f"error: {tmp_path}/nan.keras: expected finite logits" in errors


def test_a_tflite_file_of_others_is_refused() -> None:
    """One with two outputs, as MediaPipe's face detector has them: one line that says what was expected."""
    from agent.vision import weights

    with pytest.raises(ModelError, match=r"not ours: expected one square grey face in, 8 logits out, got \(1, "):
        predict.tflite(weights.read(weights.SHORT_RANGE), "detector.tflite", 1)


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    keras_file: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    """No folder, a folder of its name, an ending that no browser knows: the test split is not looked at."""
    (tmp_path / "folder.html").mkdir()
    for name, code in (("none/r.html", 73), ("folder.html", 73), ("report", 2)):
        done, out, errors = run(evaluate.main, keras_file, "--data", tiny_dir, "--html", tmp_path / name)
        assert (done, out) == (code, ""), errors


@pytest.mark.parametrize("rest", [bytes(4000), bytes(range(256)) * 16])
def test_a_marked_file_of_nothing_is_one_line(rest: bytes) -> None:
    """The mark of a TFLite file, and no graph after it."""
    with pytest.raises(ModelError, match=r"junk.tflite: expected a whole TFLite model"):
        predict.tflite(b"\x1c\0\0\0TFL3" + rest, "junk.tflite", 1)


@pytest.mark.parametrize("keep", [0.001, 0.3, 0.9])
def test_a_truncated_tflite_file_is_one_line_and_no_crash(keep: float) -> None:
    """The native reader would end the process."""
    content = (ROOT / "agent" / "models" / "compact" / "model.tflite").read_bytes()
    with pytest.raises(ModelError, match=r"cut.tflite: expected a whole TFLite model, got a damaged one"):
        predict.tflite(content[: int(keep * len(content))], "cut.tflite", 1)


def test_a_limit_that_leaves_no_face_is_one_line(keras_file: Path, tiny: data.Dataset) -> None:
    """Not a single one has a majority."""
    votes = np.zeros((1, 10), dtype=np.int64)
    votes[0, :8] = 1
    one = data.Split(tiny.test.faces[:1], votes, None)
    with pytest.raises(InputError, match="expected a face to measure under majority, got none in 1"):
        evaluate.evaluate(predict.load(keras_file), one)
