"""MediaPipe's BlazeFace networks: a batch of RGB tiles → scored boxes with eye points. Decoding is numpy alone.

Source of the decoding: MediaPipe's ssd_anchors_calculator and tensors_to_detections_calculator (Apache-2.0).
"""

import math
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from agent.vision import weights
from agent.vision.runtime import Runtime

Floats = npt.NDArray[np.float32]

BATCH: Final = 4
"""Tiles given to the network at once, always so many: more gains nothing, and another number costs an allocation."""


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

    def __init__(self, model: weights.Model, runtime: Runtime, *, threads: int) -> None:
        self.model = model
        self._runtime = runtime
        self._threads = threads
        self._anchors = anchors(model)
        self._interpreter: Any = None
        self._filled = np.empty(0, np.float32)

    def __enter__(self) -> Self:
        side = self.model.side
        interpreter = self._runtime.interpreter(weights.read(self.model), self._threads)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [BATCH, side, side, 3])
        interpreter.allocate_tensors()
        self._filled = np.zeros((BATCH, side, side, 3), np.float32)
        self._interpreter = interpreter
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interpreter = None

    def __call__(self, tiles: npt.NDArray[np.uint8], threshold: float) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return what the network sees in `tiles`, every anchor above the threshold by itself.

        Parameters
        ----------
        tiles : uint8 array of shape (n, side, side, 3), RGB, values 0-255
        threshold : least score, 0-1

        Returns
        -------
        tile : int64 array of shape (m,), which tile
        score : float32 array of shape (m,), 0-1
        points : float32 array of shape (m, 4, 2): top left, bottom right, eye, eye, in input pixels
        """
        least = math.log(threshold / (1 - threshold))
        found = [self._infer(tiles[start : start + BATCH], start, least) for start in range(0, len(tiles), BATCH)]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 4, 2), np.float32)
        tile, score, points = (np.concatenate(part) for part in zip(*found, strict=True))
        return tile, score, points

    def _infer(
        self, tiles: npt.NDArray[np.uint8], start: int, least: float
    ) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return what `__call__` does, for at most `BATCH` tiles of which the first is number `start`."""
        assert self._interpreter is not None, "use as a context manager"
        given = self._interpreter.get_input_details()[0]["index"]
        # What is left over from the batch before fills a short batch: its rows are not read.
        self._filled[: len(tiles)] = tiles.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
        self._interpreter.set_tensor(given, self._filled)
        self._interpreter.invoke()
        boxes, logits = (self._interpreter.get_tensor(o["index"]) for o in self._interpreter.get_output_details())
        tile, score, points = self._decode(
            self._by_tile(boxes)[: len(tiles)], self._by_tile(logits)[: len(tiles), :, 0], least
        )
        return tile + start, score, points

    def _by_tile(self, rows: Floats) -> Floats:
        """Return output (1, BATCH x anchors, k) as (BATCH, anchors, k).

        The graph was made for one picture: it joins the grids of a batch, each with the rows of all pictures.
        """
        lengths = [BATCH * repeats * (self.model.side // stride) ** 2 for stride, repeats in self.model.grids]
        grids = np.split(rows.reshape(sum(lengths), -1), np.cumsum(lengths)[:-1])
        return np.concatenate([grid.reshape(BATCH, -1, rows.shape[-1]) for grid in grids], axis=1)

    def _decode(self, boxes: Floats, logits: Floats, least: float) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return (tile, score, points) of the rows above the threshold; a row that is not finite is dropped."""
        tile, row = np.nonzero(logits > least)
        raw = boxes[tile, row].reshape(-1, 8, 2)
        size = raw[:, 1]
        fine = np.isfinite(raw).all(axis=(1, 2)) & (size > 0).all(axis=1)
        tile, row, raw, size = tile[fine], row[fine], raw[fine], size[fine]
        anchor = self._anchors[row]
        centre = raw[:, 0] + anchor
        points = np.stack([centre - size / 2, centre + size / 2, raw[:, 2] + anchor, raw[:, 3] + anchor], axis=1)
        score = 1 / (1 + np.exp(-np.clip(logits[tile, row], -80, 80)))
        return tile, score.astype(np.float32), points.astype(np.float32)
