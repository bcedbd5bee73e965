"""MediaPipe's BlazeFace networks: a batch of RGB tiles → scored boxes with eye points. Decoding is numpy alone.

Source of the decoding: MediaPipe's ssd_anchors_calculator and tensors_to_detections_calculator (Apache-2.0).
"""

import math
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from agent.vision import weights
from agent.vision.runtime import Runtime

Floats = npt.NDArray[np.float32]


def anchors(model: weights.Model) -> Floats:
    """Return the anchors' centres, float32 array of shape (n, 2) (x, y) in input pixels, in output order."""
    grids = []
    for stride, repeats in model.grids:
        cells = model.side // stride
        centre = (np.arange(cells, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(centre, centre)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(grids)


class BlazeFace:
    """One network in one runtime. A context manager; not for use by two threads at once."""

    def __init__(self, model: weights.Model, runtime: Runtime, *, threads: int, threshold: float) -> None:
        self.model = model
        self._runtime = runtime
        self._threads = threads
        self._least_logit = math.log(threshold / (1 - threshold))
        self._anchors = anchors(model)
        self._interpreter: Any = None
        self._batch = 0

    def __enter__(self) -> Self:
        self._interpreter = self._runtime.interpreter(weights.read(self.model), self._threads)
        self._batch = 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interpreter = None

    def __call__(self, tiles: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return what the network sees in `tiles`, every anchor above the threshold by itself.

        Parameters
        ----------
        tiles : uint8 array of shape (n, side, side, 3), RGB, values 0-255

        Returns
        -------
        tile : int64 array of shape (m,), which tile
        score : float32 array of shape (m,), 0-1
        points : float32 array of shape (m, 4, 2): top left, bottom right, eye, eye, in input pixels
        """
        assert self._interpreter is not None, "use as a context manager"
        self._resize(len(tiles))
        given = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.set_tensor(given, tiles.astype(np.float32) * np.float32(2 / 255) - np.float32(1))
        self._interpreter.invoke()
        boxes, logits = (self._interpreter.get_tensor(o["index"]) for o in self._interpreter.get_output_details())
        if boxes.shape[-1] == 1:
            boxes, logits = logits, boxes
        return self._decode(boxes.reshape(len(tiles), -1, 16), logits.reshape(len(tiles), -1))

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        given = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(given, [batch, self.model.side, self.model.side, 3])
        self._interpreter.allocate_tensors()
        self._batch = batch

    def _decode(self, boxes: Floats, logits: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return (tile, score, points) of the rows above the threshold; a row that is not finite is dropped."""
        tile, row = np.nonzero(logits > self._least_logit)
        raw = boxes[tile, row].reshape(-1, 8, 2)
        size = raw[:, 1]
        fine = np.isfinite(raw).all(axis=(1, 2)) & (size > 0).all(axis=1)
        tile, row, raw, size = tile[fine], row[fine], raw[fine], size[fine]
        anchor = self._anchors[row]
        centre = raw[:, 0] + anchor
        points = np.stack([centre - size / 2, centre + size / 2, raw[:, 2] + anchor, raw[:, 3] + anchor], axis=1)
        score = 1 / (1 + np.exp(-np.clip(logits[tile, row], -80, 80)))
        return tile, score.astype(np.float32), points.astype(np.float32)
