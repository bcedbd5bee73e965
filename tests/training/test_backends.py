"""The same config trains on every Keras backend that is installed, and on several devices."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import BACKENDS, environment, probe

NAMES = ("tensorflow", "torch", "jax")
LOSS = 4.579
"""After the probe's two steps: 4.57868 on TensorFlow 2.21, 4.57975 on torch 2.13 (Keras 3.15, x86, 2026-11-26)."""
pytestmark = pytest.mark.timeout(900)  # a process a backend, on whatever else the machine has to do


def needs(backend: str) -> None:
    """Skip where `backend` is not installed."""
    if not importlib.util.find_spec(backend):
        pytest.skip(f"Keras' {backend} backend is not installed (pip install {backend})")


@pytest.fixture(scope="module")
def one_step(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Loss after two steps, from the same weights and data, on each backend that is installed."""
    cache = tmp_path_factory.mktemp("cache")
    return {name: probe(name, "step", cache)["loss"] for name in BACKENDS}


@pytest.mark.parametrize("backend", NAMES)
def test_a_step_of_training_falls_the_same_everywhere(backend: str, one_step: dict[str, float]) -> None:
    """The loss after two augmented steps is the same number on each backend, to float32's rounding."""
    needs(backend)
    assert one_step[backend] == pytest.approx(LOSS, rel=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("backend", NAMES)
def test_resnet50_takes_a_step(backend: str, tmp_path: Path) -> None:
    """A quarter of its width, open side, two steps: a finite loss."""
    needs(backend)
    assert math.isfinite(probe(backend, "resnet", tmp_path)["loss"])


@pytest.mark.parametrize("backend", NAMES)
def test_a_seed_reproduces_a_run(backend: str, tmp_path: Path) -> None:
    """With dropout, mixup, averaged weights and a sampler: the same curve for a seed, another one for another."""
    needs(backend)
    found = probe(backend, "seeds", tmp_path)
    losses = {name: [record["loss"] for record in curve] for name, curve in found.items()}
    assert losses["a"] == pytest.approx(losses["b"], rel=1e-4)
    assert losses["a"] != pytest.approx(losses["other"], rel=1e-4)


def test_a_backend_that_nobody_has_is_one_line(tiny_dir: Path, tmp_path: Path) -> None:
    """A misspelt KERAS_BACKEND: what it may be, and what it is."""
    command = [sys.executable, "-m", "training.fit", "cnn", "--data", str(tiny_dir), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment("tensorflwo", tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("to name one of tensorflow, torch, jax, got tensorflwo\n")


def test_two_devices_train_as_one(tmp_path: Path) -> None:
    """JAX with two virtual CPU devices shares each batch out, and the loss is that of one device."""
    needs("jax")
    two = probe("jax", "distributed", tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert two["devices"] == 2
    assert two["loss"] == pytest.approx(probe("jax", "step", tmp_path)["loss"], rel=1e-3)
    assert two["curve"][-1]["val_accuracy"] >= 0
