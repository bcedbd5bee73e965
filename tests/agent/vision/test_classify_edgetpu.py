"""The classifier on an Edge TPU: what it gives it, and how the CPU takes over."""

from dataclasses import replace

import numpy as np
import pytest

from agent.device.edgetpu import Delegation
from agent.emotions import LABELS
from agent.vision.classify import Classifier
from agent.vision.model_card import MODELS, Bundle
from agent.vision.runtime import choose
from tests.faults.edge_tpu import edge_tpu


@pytest.fixture
def compact():
    """A small network, whose golden check passes whatever it computes."""
    loaded = Bundle.load(MODELS / "compact")
    golden = loaded.card.golden.model_copy(update={"max_logit_error": 1e9})
    return replace(loaded, card=loaded.card.model_copy(update={"golden": golden}))


def on_edge_tpu(folder, bundle):
    """Return the bundle's network on an Edge TPU that leaves out the last operation; see `edge_tpu` for the files."""
    body = f'runs = "{folder}/runs"; unplugged = "{folder}/unplugged"; return works(wrong);'
    library = edge_tpu(folder, body)[0] / "libedgetpu.so.1"
    runtime = choose()
    return Delegation(f"{runtime.name}+edgetpu", bundle.model, [runtime.module.load_delegate(str(library))])


def pixels(bundle, count):
    """Return inputs of noise, uint8 (count, side, side, 1)."""
    shape = (count, bundle.card.side, bundle.card.side, 1)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_an_edge_tpu_that_computes_wrong_is_not_used(tmp_path):
    """What fails the golden check on the Edge TPU runs on the CPU, and `backend` says why."""
    strict = Bundle.load(MODELS / "compact")
    with Classifier(strict, threads=1, faces_per_frame=3, delegation=on_edge_tpu(tmp_path, strict)) as classifier:
        runs = (tmp_path / "runs").read_bytes()
        strict.check_golden(classifier.logits)
        assert classifier.backend.startswith(f"{choose().name} (edgetpu: golden check: ")
    assert (tmp_path / "runs").read_bytes() == runs


def test_an_edge_tpu_gets_one_face_at_a_time(compact, tmp_path):
    """A network compiled for it has one batch size: three faces are three runs."""
    on = on_edge_tpu(tmp_path, compact)
    with Classifier(compact, threads=1, faces_per_frame=3, delegation=on) as classifier:
        before = len((tmp_path / "runs").read_bytes())
        assert classifier.logits(pixels(compact, 3)).shape == (3, len(LABELS))
        assert classifier.backend == on.backend
    assert len((tmp_path / "runs").read_bytes()) == before + 3


def test_an_edge_tpu_that_goes_away_leaves_the_cpu(compact, tmp_path):
    """Unplugged while it works: the faces at hand and all later ones run on the CPU, and `backend` says so."""
    inputs = pixels(compact, 3)
    with Classifier(compact, threads=1, faces_per_frame=3) as plain:
        expected = plain.logits(inputs)
    with Classifier(compact, threads=1, faces_per_frame=3, delegation=on_edge_tpu(tmp_path, compact)) as classifier:
        assert (classifier.logits(inputs) != expected).any()
        (tmp_path / "unplugged").touch()
        np.testing.assert_array_equal(classifier.logits(inputs), expected)
        (tmp_path / "unplugged").unlink()
        np.testing.assert_array_equal(classifier.logits(inputs), expected)
        assert classifier.backend.startswith(f"{choose().name} (edgetpu: ")
        assert "failed to invoke" in classifier.backend
