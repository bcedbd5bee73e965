"""Running a network here and elsewhere."""

import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ConfigError
from agent.vision import runtime
from agent.vision.model_card import find
from quantize import elsewhere, engines, lite, source
from quantize.convert import Converted
from quantize.elsewhere import Job
from training import predict
from training.network import Network


@pytest.fixture(scope="module")
def resnet(resnet_file: Path) -> tuple[bytes, np.ndarray]:
    """An integer ResNet-50 and ten pictures for it."""
    faces = np.random.default_rng(1).integers(0, 256, (10, 48, 48, 1), dtype=np.uint8)
    return lite.to_integer(source.load(resnet_file, 48), faces), faces


def test_a_batch_gives_the_same_bits_as_one_by_one(resnet: tuple[bytes, np.ndarray]) -> None:
    """A file of batch 1, resized to four faces, with a last batch that is not full."""
    model, faces = resnet
    one, four = (Network(model, runtime.choose(), batch=n).raw(faces) for n in (1, 4))
    assert one.dtype == np.int8
    assert np.array_equal(one, four)


def test_a_flattened_network_takes_a_batch_too(converted: Converted) -> None:
    """The CNN's reshape keeps any batch: sixteen faces at once give the bits of one by one."""
    one, many = (Network(converted.model, runtime.choose(), batch=n).raw(converted.golden.faces) for n in (1, 16))
    assert np.array_equal(one, many)


def test_a_predictor_in_eights_gives_what_one_by_one_gives(resnet: tuple[bytes, np.ndarray]) -> None:
    """Ten faces, the last two in a batch that is filled up: as a teacher looks at them."""
    model, faces = resnet
    one, eight = (predict.tflite(model, "resnet", 1, batch=n)(faces[..., 0]) for n in (1, 8))
    assert one.shape == (10, 8)
    assert np.array_equal(one, eight)


def test_no_face_gives_no_row(resnet: tuple[bytes, np.ndarray]) -> None:
    """Zero faces in, an array of shape (0, 8) out."""
    model, faces = resnet
    assert Network(model, runtime.choose()).raw(faces[:0]).shape == (0, 8)


def test_another_process_computes_the_same(converted: Converted, tmp_path: Path) -> None:
    """The logits that come back from a process of its own are those computed here."""
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.model)
    places = elsewhere.places()
    there = places.outputs(Job("litert", str(path)), converted.golden.faces)
    assert np.array_equal(there, Network(converted.model, runtime.choose("litert")).logits(converted.golden.faces))


INSTALLED = """
import sys
import numpy as np  # the good one, of this process
sys.path.insert(0, sys.argv[1])
from quantize import elsewhere
assert str(elsewhere.ROOT) == sys.argv[1], elsewhere.ROOT
there = elsewhere.Places({"litert": sys.executable}, {})
print(there.outputs(elsewhere.Job("litert", sys.argv[2]), np.zeros((1, 48, 48, 1), np.uint8)).shape)
"""
"""Run by `python -P -c`: the packages in the folder argv[1] have the model argv[2], 48 px, run elsewhere."""


def test_nothing_but_our_packages_reaches_the_other_python(tmp_path: Path) -> None:
    """As in site-packages: what lies beside our packages, here a numpy that raises, does not hide the other's own."""
    for name in elsewhere.PACKAGES:
        (tmp_path / name).symlink_to(elsewhere.ROOT / name)
    (tmp_path / "numpy.py").write_text('raise RuntimeError("the numpy of another Python")\n')
    model = find("compact") / "model.tflite"
    command = [sys.executable, "-P", "-c", INSTALLED, str(tmp_path), str(model)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("(1, 8)", 0), done.stderr


def test_reference_kernels_of_both_runtimes_are_bit_equal(resnet: tuple[bytes, np.ndarray], tmp_path: Path) -> None:
    """LiteRT's and tflite-runtime's reference kernels agree in every bit."""
    places = elsewhere.places()
    if "tflite-runtime" not in places.python:
        pytest.skip(f"tflite-runtime is in no Python here; name one in {elsewhere.ENVIRONMENT}")
    model, faces = resnet
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    a, b = (places.outputs(Job(name, str(path)), faces) for name in ("litert-reference", "tflite-runtime-reference"))
    assert np.array_equal(a, b)


def test_the_other_process_tells_how_far_it_is_to_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A second's work is told once it is done, and the last face too."""
    slow = engines.Engine(lambda faces: faces, lambda faces: time.sleep(0.6) or faces, lambda out: out)
    monkeypatch.setitem(engines.ENGINES, "slow", ("", "", lambda *_: slow))
    (tmp_path / "model").touch()
    engines.run(asdict(Job("slow", str(tmp_path / "model"))), np.zeros((3, 1, 1, 1), np.uint8))
    assert capsys.readouterr().out == "progress 2 3\nprogress 3 3\n"


def test_time_before_the_bar_does_not_shorten_the_time_left(capsys: pytest.CaptureFixture) -> None:
    """What was done when the first line came took time that the bar has not seen: it is no rate."""
    assert elsewhere._follow(["progress 100 400\n", "[]"]) == "[]"
    assert "100/400 [00:00<?, ?face/s]" in capsys.readouterr().err.split("\r")[1]


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message holds the path that cannot be run."""
    with pytest.raises(ConfigError, match="nosuch"):
        elsewhere.places([str(tmp_path / "nosuch")])


def test_a_program_that_is_no_python_is_named() -> None:
    """It runs, ends well and says nothing of engines: that was an internal error."""
    with pytest.raises(ConfigError, match=r"^true: expected the path of a Python"):
        elsewhere.places(["true"])


def test_an_engine_that_fails_says_so_in_one_line(tmp_path: Path) -> None:
    """A file that the runtime refuses comes back as one line, not as another process' traceback."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3")
    places = elsewhere.Places({"litert": sys.executable}, {"litert": "?"})
    with pytest.raises(ConfigError) as caught:
        places.outputs(Job("litert", str(path)), np.zeros((1, 48, 48, 1), np.uint8))
    assert "\n" not in str(caught.value)
