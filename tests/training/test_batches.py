"""Augmentation and batches: random, and the same for a seed."""

import dataclasses

import numpy as np
import pytest

from training import batches, data, recipe
from training.augment import augment
from training.batches import Batches
from training.config import Augment, Config, Phase

ALL = Augment(flip=True, rotate=12, scale=0.1, shift=0.06, contrast=0.2, brightness=20, erase=0.5)
CONFIG = Config(name="c", model="cnn", phases=(Phase(1, 48),), batch=16)


def made(tiny: data.Dataset, **changes: object) -> Batches:
    faces, target = data.soft_targets(tiny.train, "all")
    settings = {"batch": 16, "side": 48, "how": ALL, "seed": 1, **changes}
    return Batches(faces, target, **settings)


def test_a_seed_gives_the_same_faces(tiny: data.Dataset) -> None:
    """Two generators of one seed change a face alike, of two seeds differently."""
    face = tiny.train.faces[3]
    one, same, other = (augment(face, ALL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_all_off_changes_nothing(tiny: data.Dataset) -> None:
    """Zeros turn every change off."""
    face = tiny.train.faces[3]
    assert np.array_equal(augment(face, Augment(flip=False), np.random.default_rng(1)), face)


@pytest.mark.parametrize("option", ["flip", "rotate", "scale", "shift", "contrast", "brightness", "erase"])
def test_an_option_does_not_shift_anothers_draw(option: str, tiny: data.Dataset) -> None:
    """Whatever is on, a face uses up the same number of random values, so the next face is the same."""
    rng, plain = np.random.default_rng(1), np.random.default_rng(1)
    augment(tiny.train.faces[0], dataclasses.replace(ALL, **{option: False if option == "flip" else 0}), rng)
    augment(tiny.train.faces[0], ALL, plain)
    assert rng.random() == plain.random()


def test_a_changed_face_is_still_grey_levels_of_its_size(tiny: data.Dataset) -> None:
    """uint8 and 48 x 48, whatever was drawn."""
    rng = np.random.default_rng(5)
    for face in tiny.train.faces[:40]:
        changed = augment(face, ALL, rng)
        assert (changed.dtype, changed.shape) == (np.uint8, (48, 48))


def test_a_mixed_face_has_a_mixed_weight(tiny: data.Dataset) -> None:
    """A class' weight goes with the class, in the share that is left of it."""
    _, target = data.soft_targets(tiny.train, "all")
    of_class = np.float32([1, 2, 4, 8, 16, 32, 64, 128])
    for number in range(5):
        plain = made(tiny, weights=of_class[target.argmax(axis=1)])[number]
        _, y, weights = made(tiny, weights=of_class[target.argmax(axis=1)], mixup=0.4)[number]
        own = plain[1]
        # y = s own + (1 - s) other, by least squares
        other = own[::-1]
        share = ((y - other) * (own - other)).sum() / ((own - other) ** 2).sum()
        assert weights == pytest.approx(share * plain[2] + (1 - share) * plain[2][::-1], rel=1e-3)


def test_an_epoch_is_the_same_again_and_the_next_one_differs(tiny: data.Dataset) -> None:
    """Order and augmentation follow from seed and epoch alone."""
    first, again = made(tiny), made(tiny)
    assert np.array_equal(first[2][0], again[2][0])
    again.start(1)
    assert not np.array_equal(first[2][0], again[2][0])


def as_keras_reads(found: Batches, epochs: range) -> list[tuple[np.ndarray, ...]]:
    """Return every batch of `epochs`, read in Keras' order: a look at the first one, then epoch by epoch."""
    found[0]
    shown = []
    for epoch in epochs:
        found.start(epoch)
        shown += [found[i] for i in range(len(found))]
    return shown


@pytest.mark.parametrize("epochs", [range(2), range(1, 3)], ids=["new", "resumed"])
def test_workers_change_no_batch(epochs: range, tiny: data.Dataset) -> None:
    """Four threads that run ahead give what one gives, after the look that Keras takes and from epoch to epoch."""
    one, four = (as_keras_reads(made(tiny, batch=8, mixup=0.2, workers=n), epochs) for n in (1, 4))
    assert len(one) == len(four) == 24
    for (x, y), (same_x, same_y) in zip(one, four, strict=True):
        assert np.array_equal(x, same_x)
        assert np.array_equal(y, same_y)


def test_keras_itself_runs_no_workers(tiny: data.Dataset) -> None:
    """Its own run ahead into an epoch that has not been drawn yet."""
    assert made(tiny, workers=4).workers == 1


def test_an_epoch_shows_every_face_once(tiny: data.Dataset) -> None:
    """Ninety-six faces in six batches, none twice."""
    found = made(tiny, how=Augment(flip=False))
    shown = np.concatenate([found[i][0] for i in range(len(found))]).reshape(96, -1)
    assert len(np.unique(shown, axis=0)) == len(np.unique(tiny.train.faces.reshape(96, -1), axis=0))


def test_an_incomplete_batch_is_left_out(tiny: data.Dataset) -> None:
    """Shapes never change, which a compiled step would pay for."""
    assert [len(made(tiny, batch=n)) for n in (16, 20, 96)] == [6, 4, 1]


def test_mixup_blends_targets_as_it_blends_faces() -> None:
    """A quarter of the one and three quarters of the other, in both."""
    faces, y = np.array([0, 101], np.uint8), np.eye(2, dtype=np.float32)
    assert batches.mixed(faces, 0.25).tolist() == [75.75, 25.25]
    assert batches.mixed(y, 0.25).tolist() == [[0.25, 0.75], [0.75, 0.25]]


@pytest.mark.parametrize("mixup", [0.0, 0.5], ids=["augmented", "mixed"])
def test_a_teacher_looks_at_what_the_student_sees(mixup: float, tiny: data.Dataset) -> None:
    """Its share of the target follows what is shown, not the face in the file; the faces stay as they were."""
    shown = []

    def teacher(views: np.ndarray) -> np.ndarray:
        shown.append(views)
        return np.eye(8, dtype=np.float32)[views.sum(axis=(1, 2)) % 8]

    x, y = made(tiny, teacher=teacher, teacher_share=0.25, mixup=mixup)[1]
    plain_x, votes = made(tiny, mixup=mixup)[1]
    assert np.array_equal(x, plain_x)
    assert np.array_equal(x, batches.as_input(shown[0], 48))
    assert np.allclose(y, 0.75 * votes + 0.25 * np.eye(8)[x.astype(int).sum(axis=(1, 2, 3)) % 8])


@pytest.mark.parametrize("mixup", [0.0, 0.5], ids=["augmented", "mixed"])
def test_a_teacher_that_looks_twice_gives_its_mean(mixup: float, tiny: data.Dataset) -> None:
    """The second look is at the upright faces, in the order and mixture of the first, which stays what it was."""
    shown = []

    def teacher(views: np.ndarray) -> np.ndarray:
        shown.append(views)
        return np.eye(8, dtype=np.float32)[views.sum(axis=(1, 2)) % 8]

    faces, _ = data.soft_targets(tiny.train, "all")
    settings = {"teacher": teacher, "teacher_share": 1.0, "mixup": mixup, "how": Augment(flip=False)}
    x, y = made(tiny, upright=255 - faces, **settings)[1]
    plain_x, _ = made(tiny, **settings)[1]
    first, second, again = shown
    assert np.array_equal(x, plain_x)
    assert np.array_equal(first, again)
    assert np.abs(second.astype(int) - (255 - first.astype(int))).max() <= 1  # the inverse of what is mixed alike
    assert np.allclose(y, np.mean([np.eye(8)[look.sum(axis=(1, 2)) % 8] for look in (first, second)], axis=0))


def test_the_second_look_is_changed_anew(tiny: data.Dataset) -> None:
    """The same faces as the upright ones: what is drawn for them differs."""
    shown = []

    def teacher(views: np.ndarray) -> np.ndarray:
        shown.append(views)
        return np.full((len(views), 8), 1 / 8, np.float32)

    made(tiny, upright=data.soft_targets(tiny.train, "all")[0], teacher=teacher, teacher_share=1.0)[0]
    assert not np.array_equal(*shown)


def skewed() -> np.ndarray:
    """Targets of 30 faces of one class and 10 of another."""
    return np.eye(8, dtype=np.float32)[[0] * 30 + [3] * 10]


def test_class_weights_make_every_class_count_the_same() -> None:
    """Thrice as rare weighs thrice as much; the mean is 1, so the learning rate keeps its meaning."""
    weights = recipe.class_weights(dataclasses.replace(CONFIG, balance="weights"), skewed())
    assert weights is not None
    assert weights[-1] / weights[0] == pytest.approx(3)
    assert weights.mean() == pytest.approx(1)


def test_the_sampler_draws_every_class_equally_often() -> None:
    """The odds of a class sum to the same."""
    odds = recipe.draw_odds(dataclasses.replace(CONFIG, balance="sampler"), skewed())
    assert odds is not None
    assert odds[:30].sum() == pytest.approx(odds[30:].sum())
    assert odds.sum() == pytest.approx(1)


def test_balance_is_off_unless_asked_for() -> None:
    """Neither weights nor odds."""
    assert recipe.class_weights(CONFIG, skewed()) is None
    assert recipe.draw_odds(CONFIG, skewed()) is None
