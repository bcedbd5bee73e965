"""The faster torch kernels give what Keras' own give. Skipped where torch is not installed, as in CI."""

import importlib.util
from pathlib import Path

import pytest

from tests.training.conftest import probe

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="Keras' torch backend is not installed (pip install torch)"
)


def test_convolution_normalisation_and_pooling_are_the_same_forward_and_backward(tmp_path: Path) -> None:
    """Outputs and gradients of a training step differ by float32's rounding, and the fast kernels really ran."""
    found = probe("torch", "kernels", tmp_path)
    assert found["replaced"]
    assert found["difference"] < 1e-5


def test_the_fused_adamw_counts_steps_where_the_weights_are(tmp_path: Path) -> None:
    """The kernel for CUDA reads the step on its device; torch's device "meta" stands in for a GPU here."""
    assert probe("torch", "step_device", tmp_path) == {"devices": ["meta"]}


def test_the_fused_adamw_walks_the_same_path(tmp_path: Path) -> None:
    """Twenty steps with decay and an exemption from it end within a thousandth of the largest weight."""
    found = probe("torch", "adamw", tmp_path)
    assert found["difference"] < 1e-3 * found["largest"]
