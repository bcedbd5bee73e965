"""The bundle: what is refused, and that what is loaded is what was hashed."""

import hashlib
import io
import json
import math
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.emotions import LABELS
from agent.errors import ModelError
from agent.vision import model_card
from agent.vision.model_card import SUMS, Bundle, find, sums
from agent.vision.preprocess import version

pytestmark = pytest.mark.wheel

MODEL = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 8
"""Never run here: only its hash counts."""


def card(**changes: Any) -> dict[str, Any]:
    """Return a valid card as JSON would hold it."""
    return {
        "format": "fer-bundle/1", "id": "test-48px-int8-00000000", "labels": list(LABELS),
        "preprocess_version": version(48), "side": 48, "input": {"dtype": "int8", "scale": 1.0, "zero_point": -128},
        "output": {"dtype": "int8", "scale": 0.1, "zero_point": 3}, "sha256": hashlib.sha256(MODEL).hexdigest(),
        "bytes": len(MODEL), "parameters": 10, "macs": 100,
        "training": {"config": "test", "data": "drawn", "protocol": "majority", "faces": 8, "epochs": 1},
        "quantization": {
            "method": "none", "representative": 8, "per_class": [1] * 8, "seed": 1, "ops": {"CONV_2D": 1},
            "converter": "none",
        },
        "calibration": {"method": "none"}, "golden": {"max_logit_error": 0.45}, "metrics": [],
    } | changes  # fmt: skip


def golden(side: int = 48, n: int = 3) -> dict[str, np.ndarray]:
    """Return arrays of a valid golden.npz."""
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 256, (n, side, side, 1), dtype=np.uint8)
    reference = rng.integers(-100, 100, (n, 8)).astype(np.int8)
    return {"faces": faces, "reference": reference, "default": reference + np.int8(1)}


def write(folder: Path, card_json: dict[str, Any] | None = None, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """Write a bundle whose hashes are right, whatever is in it."""
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays or golden()))
    text = json.dumps(card_json or card()).encode()
    files = {"model.tflite": MODEL, "card.json": text, "golden.npz": buffer.getvalue()}
    folder.mkdir(exist_ok=True)
    for name, content in {**files, SUMS: sums(files).encode()}.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A valid bundle."""
    return write(tmp_path / "bundle")


def test_a_whole_bundle_loads(bundle: Path) -> None:
    """Card, model bytes and golden vectors come out as they were written."""
    loaded = Bundle.load(bundle)
    assert loaded.model == MODEL
    assert loaded.card.labels == LABELS
    assert np.array_equal(loaded.golden.faces, golden()["faces"])
    assert loaded.edgetpu is None


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle that tests copy."""
    return write(tmp_path_factory.mktemp("shared") / "bundle")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["model.tflite", "card.json", "golden.npz", SUMS]),
    where=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
)
def test_one_changed_byte_anywhere_is_refused(shared: Path, tmp_path: Path, name: str, where: float, flip: int) -> None:
    """Whichever byte of whichever file changes, the bundle does not load."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(shared, copy)
    content = bytearray((copy / name).read_bytes())
    position = int(where * len(content))
    content[position] ^= flip
    (copy / name).write_bytes(content)
    if name == SUMS and chr(content[position]).isspace() and chr(content[position] ^ flip).isspace():
        return  # another line ending says the same
    with pytest.raises(ModelError):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["model.tflite", "card.json", "golden.npz", SUMS])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    """The message says which file cannot be read."""
    (bundle / name).unlink()
    with pytest.raises(ModelError, match=name):
        Bundle.load(bundle)


def test_a_truncated_model_is_refused_before_any_runtime_sees_it(bundle: Path) -> None:
    """Half a .tflite is a segmentation fault in a runtime; here it is one line."""
    (bundle / "model.tflite").write_bytes(MODEL[: len(MODEL) // 2])
    with pytest.raises(ModelError, match=r"model.tflite: expected SHA-256"):
        Bundle.load(bundle)


def test_a_list_of_hashes_cannot_name_other_files(bundle: Path) -> None:
    """A line for ../secret is refused, not read."""
    with open(bundle / SUMS, "a", encoding="ascii") as file:
        file.write("0" * 64 + "  ../secret\n")
    with pytest.raises(ModelError, match=f"{SUMS}:4"):
        Bundle.load(bundle)


def test_a_compiled_model_must_be_listed(bundle: Path) -> None:
    """One that was dropped in is refused with what to do about it, not ignored; listed, it comes out."""
    (bundle / "model_edgetpu.tflite").write_bytes(b"compiled")
    with pytest.raises(ModelError, match=r"model_edgetpu.tflite: not in SHA256SUMS.*quantize.edgetpu check .* --add"):
        Bundle.load(bundle)
    with open(bundle / SUMS, "a", encoding="ascii") as file:
        file.write(f"{hashlib.sha256(b'compiled').hexdigest()}  model_edgetpu.tflite\n")
    assert Bundle.load(bundle).edgetpu == b"compiled"


def test_a_card_for_another_model_is_refused(tmp_path: Path) -> None:
    """Hashes may all be right: the card must name this very model."""
    with pytest.raises(ModelError, match=r"card.json names model.tflite"):
        Bundle.load(write(tmp_path / "b", card(sha256="0" * 64)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": list(LABELS[::-1])}, "labels"),
        ({"preprocess_version": "other/9"}, "preprocess_version"),
        ({"input": {"dtype": "int8", "scale": 0.99, "zero_point": -128}}, "grey levels are exact"),
        ({"input": {"dtype": "uint8", "scale": 1.0, "zero_point": 1}}, "grey levels are exact"),
        ({"format": "fer-bundle/2"}, "format"),
        ({"colour": "blue"}, "colour"),
        ({"calibration": {"biases": [math.nan] * 8}}, "calibration.biases"),
        ({"calibration": {"temperature": math.inf}}, "calibration.temperature"),
        ({"calibration": {"method": "bcts", "temperature": 0.0}}, "temperature"),
        ({"calibration": {"method": "bcts", "biases": [0.0] * 7}}, "biases"),
    ],
)
def test_a_card_that_does_not_fit_this_agent_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """Label order, preprocessing, input scale, format, unknown keys, calibration: each is named."""
    with pytest.raises(ModelError, match=says):
        Bundle.load(write(tmp_path / "b", card(**changes)))


@pytest.mark.parametrize("wrong", ["side", "logits", "type", "absent"])
def test_golden_vectors_of_another_shape_are_refused(tmp_path: Path, wrong: str) -> None:
    """Faces of another side, seven logits, another type, or no reference at all."""
    arrays = golden(64) if wrong == "side" else golden()
    if wrong == "logits":
        arrays["reference"] = arrays["reference"][:, :7]
    elif wrong == "type":
        arrays["default"] = arrays["default"].astype(np.float32)
    elif wrong == "absent":
        del arrays["reference"]
    with pytest.raises(ModelError, match=r"golden.npz"):
        Bundle.load(write(tmp_path / "b", arrays=arrays))


@pytest.mark.parametrize("kind", ["empty", "half", "array", "scalar"])
def test_golden_vectors_that_cannot_be_read_are_refused(tmp_path: Path, kind: str) -> None:
    """Whatever numpy, zipfile and zlib make of them, though their hash is right."""
    folder = write(tmp_path / "b", arrays=golden() | ({"faces": np.uint8(3)} if kind == "scalar" else {}))
    content = (folder / "golden.npz").read_bytes()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    content = {"empty": b"", "half": content[: len(content) // 2], "array": buffer.getvalue()}.get(kind, content)
    (folder / "golden.npz").write_bytes(content)
    files = {name: (folder / name).read_bytes() for name in ("model.tflite", "card.json", "golden.npz")}
    (folder / SUMS).write_text(sums(files))
    with pytest.raises(ModelError, match=r"golden.npz"):
        Bundle.load(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """Nothing there, or nothing of ours there."""
    with pytest.raises(ModelError, match="expected the folder of a model bundle"):
        Bundle.load(tmp_path / "none")
    with pytest.raises(ModelError, match=SUMS):
        Bundle.load(tmp_path)


def test_reference_kernels_must_be_bit_equal(bundle: Path) -> None:
    """One step in one logit is one too many."""
    loaded = Bundle.load(bundle)
    loaded.check_golden(lambda _: loaded.golden.reference.copy(), reference=True)
    off = loaded.golden.reference.copy()
    off[2, 7] += 1
    with pytest.raises(ModelError, match="golden check"):
        loaded.check_golden(lambda _: off, reference=True)


def test_default_kernels_may_round_differently_but_not_compute_something_else(bundle: Path) -> None:
    """At 0.1 logits a step and 0.45 allowed, four steps pass and five do not."""
    loaded = Bundle.load(bundle)
    loaded.check_golden(lambda _: loaded.golden.default + np.int8(4))
    with pytest.raises(ModelError, match=r"differ by 0.500, allowed 0.450"):
        loaded.check_golden(lambda _: loaded.golden.default + np.int8(5))


def test_a_runtime_that_gives_another_type_is_refused(bundle: Path) -> None:
    """Floats where integers are expected, or a row too few."""
    loaded = Bundle.load(bundle)
    with pytest.raises(ModelError, match="expected int8"):
        loaded.check_golden(lambda _: loaded.golden.default.astype(np.float32))  # type: ignore[arg-type,return-value]
    with pytest.raises(ModelError, match="golden check"):
        loaded.check_golden(lambda _: loaded.golden.default[:2])


def test_an_unknown_bundle_name_lists_the_known_ones() -> None:
    """`find` takes a folder or a name in the package."""
    with pytest.raises(ModelError, match="no such model bundle"):
        find("nosuch")


def test_a_path_is_found_as_it_is(bundle: Path) -> None:
    """A folder's path needs no name in the package."""
    assert find(str(bundle)) == bundle


def test_a_folder_here_does_not_take_the_packages_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo fer-agent config check` in /tmp runs no model that somebody else put there; a path leads to one."""
    monkeypatch.chdir(tmp_path)
    for name in ("released", "mine"):
        (tmp_path / name).mkdir()
    assert find("released") == model_card.MODELS / "released"
    assert [find(name) for name in ("./released", ".", "mine")] == [Path("released"), Path(), Path("mine")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_packages_models_are_found_from_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo fer-agent …` in a home folder of mode 700 goes on as the agent's user, to whom that folder is closed."""
    (tmp_path / "home").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "home")
    with TemporaryDirectory(dir="/tmp") as folder:  # open to all, wherever this package lies
        models = Path(folder)
        models.chmod(0o755)
        (models / "compact").mkdir(mode=0o755)
        monkeypatch.setattr(model_card, "MODELS", models)
        os.seteuid(65534)
        try:
            assert find("compact") == models / "compact"
            with pytest.raises(ModelError, match="expected a model bundle that this user can look at"):
                find(str(tmp_path / "home" / "mine"))
        finally:
            os.seteuid(0)
