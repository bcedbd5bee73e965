"""`python -m training.distill`, and what a student makes of its file."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest

from agent.errors import InputError
from tests.training.commands import CONFIG, run
from tests.training.conftest import split
from training import checkpoint, config, data, distill, metrics, predict, recipe, upright

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def soft(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> Path:
    """The file of one teacher."""
    path = tmp_path / "soft.npz"
    code, out, errors = run(distill.main, keras_file, "--data", tiny_dir, "--flip", "--out", path)
    assert code == 0, errors
    assert "1 teachers, validation accuracy" in out
    assert re.search(r"final.keras: 100%", errors)  # a bar, as an ensemble looks at every face for minutes
    return path


@pytest.mark.parametrize("temperature", ["nan", "inf"])
def test_a_temperature_that_leaves_no_answer_is_refused(
    temperature: str, keras_file: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    """By none a file of NaN was written, by infinity one that gives every emotion an eighth."""
    arguments = ("--data", tiny_dir, "--out", tmp_path / "s.npz", "--temperature", temperature)
    code, _, errors = run(distill.main, keras_file, *arguments)
    assert (code, (tmp_path / "s.npz").exists()) == (2, False), errors


def test_the_accuracy_is_of_the_softened_answers(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """One teacher is sure of class 0, one torn between 1 and 2: softened, their mean names class 1."""
    network = checkpoint.read(keras_file)
    for name, logits in (("sure", [10, 0, 0, 0, 0, 0, 0, 0]), ("torn", [0, 12, 12, 0, 0, 0, 0, 0])):
        head = network.get_layer("logits")
        head.set_weights([np.zeros_like(head.get_weights()[0]), np.array(logits)])
        network.save(tmp_path / f"{name}.keras")
    arguments = (tmp_path / "sure.keras", tmp_path / "torn.keras", "--data", tiny_dir, "--out", tmp_path / "s.npz")
    for temperature, of_class in ((1, 4 / 25), (100, 3 / 25)):
        _, out, errors = run(distill.main, *arguments, "--temperature", temperature)
        assert f"2 teachers, validation accuracy {of_class:.4f}" in out, errors


def test_a_second_look_counts_half(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """With --upright the file has the answers to the mean of both logits."""
    path = tmp_path / "both.npz"
    code, _, errors = run(distill.main, keras_file, "--data", tiny_dir, "--upright", "--limit", 8, "--out", path)
    assert code == 0, errors
    network, faces = predict.load(keras_file), data.head(data.load(tiny_dir), 8).train.faces
    logits = (network(faces) + network(upright.turned(faces))) / 2
    assert np.allclose(distill.load(path).probabilities, metrics.softmax(logits), atol=1e-6)


def test_a_file_cannot_look_twice(soft: Path, tiny: data.Dataset) -> None:
    """Nor can a teacher that a config does not have."""
    settings = config.Config("s", "cnn", CONFIG.phases, teacher_share=0.5, teacher_upright=True)
    with pytest.raises(InputError, match=r"s has teacher_upright: expected models as --teacher, got a \.npz"):
        recipe.targets(settings, tiny.train, distill.load(soft))
    with pytest.raises(InputError, match="teacher_upright: expected False with teacher_share 0"):
        config.Config("s", "cnn", CONFIG.phases, teacher_upright=True)


def test_a_student_learns_from_votes_and_teachers(soft: Path, tiny: data.Dataset) -> None:
    """With a share of 0.5 the target is the mean of both."""
    teacher = distill.load(soft)
    settings = config.Config("s", "cnn", CONFIG.phases, batch=16, train_on="all", teacher_share=0.5)
    _, target = recipe.targets(settings, tiny.train, teacher)
    _, votes = data.soft_targets(tiny.train, "all")
    assert np.allclose(target, (votes + teacher.probabilities) / 2)


def test_models_that_look_for_themselves_teach_their_mean(keras_file: Path, tiny: data.Dataset) -> None:
    """The votes stay the target; what the models think of a view comes with it, as a file would have it."""
    teacher = distill.teacher_of([keras_file, keras_file])
    settings = config.Config("s", "cnn", CONFIG.phases, batch=16, train_on="all", teacher_share=0.5)
    _, target = recipe.targets(settings, tiny.train, teacher)
    assert np.array_equal(target, data.soft_targets(tiny.train, "all")[1])
    alone = metrics.softmax(predict.load(keras_file)(tiny.train.faces))
    assert callable(teacher)
    assert np.allclose(teacher(tiny.train.faces), alone, atol=1e-6)


def test_a_file_that_may_not_grow_leaves_nothing(tiny: data.Dataset, tmp_path: Path) -> None:
    """A quota or a full disk: an OSError, and no half file under another name."""
    teacher = distill.Teacher(data.digest(tiny.train.faces), np.zeros((96, 8), np.float32))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError, match=r"."):
            distill.save(tmp_path / "soft.npz", teacher, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 4, 3000])
def test_a_damaged_file_is_one_line(keep: int, soft: Path, tmp_path: Path) -> None:
    """Cut off anywhere, whatever numpy and zipfile raise."""
    (tmp_path / "cut.npz").write_bytes(soft.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cut.npz: expected a file of training.distill"):
        distill.load(tmp_path / "cut.npz")


def test_a_file_beside_models_is_refused(soft: Path, keras_file: Path) -> None:
    """Their mean would mean nothing."""
    with pytest.raises(InputError, match="expected one file"):
        distill.teacher_of([keras_file, soft])


def test_a_teacher_of_other_faces_is_refused(soft: Path) -> None:
    """Its rows would belong to somebody else."""
    settings = config.Config("s", "cnn", CONFIG.phases, batch=16, teacher_share=0.5)
    with pytest.raises(InputError, match="other faces"):
        recipe.targets(settings, split(96, 9), distill.load(soft))


def test_a_config_that_wants_a_teacher_says_so(tiny: data.Dataset) -> None:
    """The message names the option."""
    with pytest.raises(InputError, match="--teacher"):
        recipe.targets(config.Config("s", "cnn", CONFIG.phases, teacher_share=0.5), tiny.train)
