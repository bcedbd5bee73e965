"""What the benchmarks share: the data, the bundle, and the composed frames of the tests."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.agent.vision import scenes  # noqa: F401 (the benchmarks take it from here)
from training import data, metrics, protocol


def faces(directory: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (faces uint8 (n, 48, 48), labels (n,)) of a split under the majority protocol."""
    part = getattr(data.load(directory), split)
    kept, label = protocol.majority(part.votes)
    return part.faces[kept], label[kept]


def accuracy(right: npt.NDArray[np.bool_]) -> str:
    """Return "0.771 [0.750, 0.792] n=1500": a share with its 95 % Wilson interval."""
    found = metrics.share(right.sum(), len(right))
    return f"{found.value:.4f} [{found.low:.3f}, {found.high:.3f}] n={len(right)}"
