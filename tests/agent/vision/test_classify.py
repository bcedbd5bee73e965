"""The classifier: batches, calibration, refusal."""

from dataclasses import replace

import numpy as np
import pytest

from agent.emotions import LABELS
from agent.errors import ModelError
from agent.records import Box, Face, Frame
from agent.vision.card import Calibration
from agent.vision.classify import Classifier
from agent.vision.model_card import MODELS, Bundle

pytestmark = pytest.mark.wheel

FRAME = Frame(np.zeros((10, 10, 3), np.uint8), 0.0)


def face(seed, rejected=None):
    crop = np.random.default_rng(seed).integers(0, 256, (50, 50), dtype=np.uint8)
    return Face(Box(60.0 * seed, 0, 45, 45), crop, rejected)


def test_probabilities_are_probabilities(bundle, runtime):
    """Every reading holds eight numbers in 0-1 that sum to 1, in the faces' order, in every runtime."""
    faces = [face(seed) for seed in range(11)]
    with Classifier(bundle, threads=1, runtime=runtime, faces_per_frame=32) as classifier:
        readings = classifier(FRAME, faces)
    assert [r.box for r in readings] == [f.box for f in faces]
    assert all(len(r.probabilities) == len(LABELS) for r in readings)
    assert all(sum(r.probabilities) == pytest.approx(1, abs=1e-6) for r in readings)


@pytest.mark.parametrize("path", sorted(p for p in MODELS.glob("*") if p.is_dir()), ids=lambda p: p.name)
def test_the_packages_models_compute_right_here(path, runtime):
    """Each bundle of the package passes its hashes and golden vectors, in every runtime."""
    with Classifier(Bundle.load(path), threads=1, runtime=runtime, faces_per_frame=32) as classifier:
        assert classifier(FRAME, [face(1)])[0].probabilities is not None


def test_a_batch_changes_nothing(bundle):
    """A face has the same probabilities alone and among ten others, to the bit."""
    faces = [face(seed) for seed in range(11)]
    with Classifier(bundle, threads=1, faces_per_frame=32) as classifier:
        together = classifier(FRAME, faces)
    for seed, reading in enumerate(together):
        with Classifier(bundle, threads=1, faces_per_frame=32) as classifier:
            assert classifier(FRAME, [face(seed)])[0].probabilities == reading.probabilities


def test_rejected_faces_are_missing_samples(bundle):
    """A face that failed the quality gate has no probabilities, and its neighbours keep theirs."""
    with Classifier(bundle, threads=1, faces_per_frame=32) as classifier:
        readings = classifier(FRAME, [face(0), face(1, "blurred"), face(2)])
    assert [r.probabilities is None for r in readings] == [False, True, False]


def test_the_budget_leaves_the_rest_for_later(bundle):
    """With a budget of 3, eight faces are read in three frames, one of them twice."""
    with Classifier(bundle, threads=1, faces_per_frame=3) as classifier:
        seen = []
        for number in range(3):
            frame = Frame(FRAME.image, number / 10)
            readings = classifier(frame, [face(seed) for seed in range(8)])
            seen += [i for i, r in enumerate(readings) if r.probabilities is not None]
    assert set(seen) == set(range(8))
    assert len(seen) == 9


@pytest.mark.parametrize("model", [b"", b"\0" * 100, b"\x1c\0\0\0TFL4" + b"\0" * 92])
def test_what_the_runtime_cannot_build_is_a_refused_model(bundle, runtime, model):
    """A graph for another runtime, with hashes that fit: exit code 78, and a store falls back on the one before."""
    classifier = Classifier(replace(bundle, model=model), threads=1, runtime=runtime, faces_per_frame=1)
    with pytest.raises(ModelError, match=f"{runtime} cannot run this model"):
        classifier.__enter__()
    assert classifier.backend == runtime, "nothing to fall back on was tried"


def test_no_faces(bundle):
    """No face gives no reading."""
    with Classifier(bundle, threads=1, faces_per_frame=3) as classifier:
        assert classifier(FRAME, []) == []


def test_the_network_is_there_in_its_block_alone(bundle):
    """Before the block and after it there is no network, even for no face."""
    classifier = Classifier(bundle, threads=1, faces_per_frame=3)
    none = np.empty((0, bundle.card.side, bundle.card.side, 1), np.uint8)
    with pytest.raises(AssertionError, match="context manager"):
        classifier.logits(none)
    with classifier:
        assert classifier.logits(none).shape == (0, len(LABELS))
    with pytest.raises(AssertionError, match="context manager"):
        classifier.logits(none)


def test_a_bundles_calibration_is_used(bundle):
    """Another temperature and other biases on the card, other probabilities; the network's own integers stay."""
    inputs = np.random.default_rng(0).integers(0, 256, (3, bundle.card.side, bundle.card.side, 1), dtype=np.uint8)
    scaling = Calibration(method="bcts", temperature=2.0, biases=(0.5, 0, 0, 0, 0, 0, 0, -1))
    changed = replace(bundle, card=bundle.card.model_copy(update={"calibration": scaling}))
    with Classifier(changed, threads=1, faces_per_frame=3) as classifier:
        output = bundle.card.output
        logits = (classifier.logits(inputs).astype(float) - output.zero_point) * output.scale
        scores = np.exp(logits / 2 + np.array(scaling.biases))
        np.testing.assert_allclose(classifier.probabilities(inputs), scores / scores.sum(axis=1, keepdims=True))


def test_wrong_golden_outputs_are_refused(bundle):
    """A runtime that does not compute what the bundle was measured with is refused when it is opened."""
    wrong = replace(bundle.golden, default=np.roll(bundle.golden.default, 1, axis=1))
    with (
        pytest.raises(ModelError, match="golden"),
        Classifier(replace(bundle, golden=wrong), threads=1, faces_per_frame=3),
    ):
        pass


def test_a_card_with_another_scale_is_refused(bundle):
    """A card whose output scale is not the network's own is refused: its probabilities would be wrong."""
    output = bundle.card.output.model_copy(update={"scale": bundle.card.output.scale * 2})
    other = replace(bundle, card=bundle.card.model_copy(update={"output": output}))
    with pytest.raises(ModelError, match="output: expected"), Classifier(other, threads=1, faces_per_frame=3):
        pass


def test_faces_of_a_class_are_mostly_read_as_that_class(bundle, labelled):
    """The released model reads at least 70 % of 300 labelled validation faces as what they are."""
    from agent.vision.preprocess import preprocess

    pictures, labels = labelled
    inputs = np.stack([preprocess(p, bundle.card.side) for p in pictures])
    with Classifier(bundle, threads=2, faces_per_frame=300) as classifier:
        right = classifier.probabilities(inputs).argmax(axis=1) == labels
    assert right.mean() >= 0.7
