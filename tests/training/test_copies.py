"""Near-copies of training faces in other splits: found by their pictures, counted by protocol, left out on demand."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from agent.errors import InputError
from tests.training.conftest import write_folders
from training import config, copies, data, evaluate, models, protocol

Faces = npt.NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("own_cache")


def pictures(n: int, seed: int) -> Faces:
    """Return `n` smooth pictures, each of its own."""
    rough = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC) for one in rough])


def again(faces: Faces) -> Faces:
    """Return the same pictures as a web site would have them: paler, and through a JPEG."""
    pale = [np.rint(0.8 * face + 20).astype(np.uint8) for face in faces]
    files = [cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 75])[1] for face in pale]
    return np.stack([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files]).astype(np.uint8)


def voted(faces: Faces, label: npt.NDArray[np.int64]) -> data.Split:
    """Return a split in which all ten annotators agree."""
    return data.Split(faces, 10 * np.eye(10, dtype=np.int64)[label], None)


@pytest.fixture
def shared() -> data.Dataset:
    """A validation split of 16 faces of which the first five are training faces, four of those with their label."""
    train = voted(pictures(40, 1), np.arange(40) % 8)
    mixed = np.concatenate([again(train.faces[30:35]), pictures(11, 2)])
    label = np.concatenate([np.array([6, 7, 0, 1, 3]), np.arange(11) % 8])
    return data.Dataset("label.csv", train, voted(mixed, label), voted(pictures(8, 3), np.arange(8)))


def test_a_picture_is_known_again_after_re_encoding() -> None:
    """Paler and through a JPEG it is a copy, of the face that it was made of; another picture is none."""
    train = pictures(600, 1)
    found = copies.twins(np.concatenate([again(train[300:560]), pictures(100, 2)]), train, "")  # more than a block
    assert found.copied.tolist() == [True] * 260 + [False] * 100
    assert np.array_equal(found.index[:260], np.arange(300, 560))


def test_a_single_grey_is_no_copy_of_another() -> None:
    """Two black pictures have no correlation, and nothing is divided by it."""
    black = np.zeros((2, 48, 48), np.uint8)
    found = copies.twins(black, black, "")
    assert found.correlation.tolist() == [0, 0]


def test_they_are_counted_by_split_and_protocol(shared: data.Dataset, tmp_path: Path) -> None:
    """`python -m training.copies` prints how many there are, and how many have the label of their twin."""
    where = write_folders(tmp_path / "set", shared)
    done = CliRunner().invoke(copies.main, ["--data", str(where)])
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert rows[0] == ["validation", "majority", "16", "5", "(31.2%)", "4", "of", "5", "(80.0%)"]
    assert rows[2][:4] == ["test", "majority", "8", "0"]
    (first, *_) = json.loads(CliRunner().invoke(copies.main, ["--data", str(where), "--json"]).stdout)
    assert (first["copies"], first["same_label"]) == (5, 4)


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    """An untrained CNN."""
    models.build(config.Config("cnn", "cnn", (config.Phase(1, 48),)), 48).save(tmp_path / "final.keras")
    return tmp_path / "final.keras"


def test_the_command_scores_a_model_without_them_too(keras_file: Path, shared: data.Dataset, tmp_path: Path) -> None:
    """Asked for, they are left out of a second row, a twin beyond --limit included; the first row has all."""
    arguments = [str(keras_file), "--data", str(write_folders(tmp_path / "set", shared))]
    asked = [*arguments, "--without-copies", "--html", str(tmp_path / "r.html")]
    (found,) = json.loads(CliRunner().invoke(evaluate.main, [*asked, "--limit", "12", "--json"]).stdout)
    assert (found["protocols"]["majority"]["n"], found["without_copies"]["majority"]["n"]) == (12, 7)
    text = CliRunner().invoke(evaluate.main, asked).stdout
    assert re.search(r"majority n = 11   accuracy 0\.\d{4} \[.*\] without near-copies", text)
    assert "majority, without near-copies" in (tmp_path / "r.html").read_text()
    (plain,) = json.loads(CliRunner().invoke(evaluate.main, [*arguments, "--json"]).stdout)
    assert "without_copies" not in plain


def test_only_what_is_new_counts(shared: data.Dataset) -> None:
    """Answers that are right for the five copies and wrong for the rest: 5 of 16, and none without them."""
    _, label = protocol.PROTOCOLS["majority"](shared.validation.votes)
    copied = copies.twins(shared.validation.faces, shared.train.faces, "").copied
    answers = np.eye(8)[np.where(copied, label, (label + 1) % 8)]
    assert evaluate.scored(answers, shared.validation.votes)["majority"].accuracy.value == pytest.approx(5 / 16)
    assert evaluate.scored(answers, shared.validation.votes, copied)["argmax"].accuracy.value == 0


def test_a_split_of_copies_alone_leaves_nothing_to_score(shared: data.Dataset) -> None:
    """One line, not a division by zero."""
    with pytest.raises(InputError, match="expected a face to measure under majority, got none in 16"):
        evaluate.scored(np.full((16, 8), 1 / 8), shared.validation.votes, np.ones(16, bool))


def test_the_training_split_has_no_copies_of_itself(keras_file: Path, tmp_path: Path) -> None:
    """Asked for there, it is refused before any work."""
    done = CliRunner().invoke(
        evaluate.main, [str(keras_file), "--data", str(tmp_path), "--without-copies", "--split", "train"]
    )
    assert (done.exit_code, "expected --split validation or test" in done.stderr) == (2, True)
