"""MediaPipe's BlazeFace networks: a batch of RGB tiles → scored boxes with eye points. Decoding is numpy alone.

Source of the decoding: MediaPipe's ssd_anchors_calculator and tensors_to_detections_calculator (Apache-2.0).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from agent.vision import weights
from agent.vision.runtime import Runtime

Floats = npt.NDArray[np.float32]

_Found = tuple[npt.NDArray[np.int64], Floats, Floats]
"""(tile, score, points), see `BlazeFace.__call__`."""

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


class _Worker:
    """One interpreter with a batch of its own; used by one thread at a time."""

    def __init__(self, content: bytes, runtime: Runtime, side: int) -> None:
        self._interpreter = runtime.interpreter(content, 1)
        self._given = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._given, [BATCH, side, side, 3])
        self._interpreter.allocate_tensors()
        self._outputs = [o["index"] for o in self._interpreter.get_output_details()]
        self._batch = np.zeros((BATCH, side, side, 3), np.float32)

    def __call__(self, tiles: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return the raw (boxes, logits) of a batch of which the first tiles are `tiles`."""
        # What is left over from the batch before fills a short batch: its rows are not read.
        self._batch[: len(tiles)] = tiles.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
        self._interpreter.set_tensor(self._given, self._batch)
        self._interpreter.invoke()
        boxes, logits = (self._interpreter.get_tensor(index) for index in self._outputs)
        return boxes, logits


class BlazeFace:
    """One network in one runtime. A context manager; not for use by two threads at once.

    Batches are shared out to single-threaded interpreters, one a thread: the network is too small to be split, and
    tflite-runtime's own threads wait for each other by spinning (150 times slower with two on busy cores).
    """

    def __init__(self, model: weights.Model, runtime: Runtime, *, threads: int) -> None:
        self.model = model
        self._runtime = runtime
        self._threads = threads
        self._anchors = anchors(model)
        self._workers: list[_Worker] = []
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        content = weights.read(self.model)
        self._workers = [_Worker(content, self._runtime, self.model.side) for _ in range(self._threads)]
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="detect")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pool is not None
        self._pool.shutdown()
        self._workers = []

    def __call__(self, tiles: npt.NDArray[np.uint8], threshold: float) -> _Found:
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
        if not len(tiles):
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 4, 2), np.float32)
        assert self._pool is not None, "use as a context manager"
        shares = self._pool.map(lambda number: self._share(tiles, number, least), range(self._threads))
        found = [part for share in shares for part in share]
        tile, score, points = (np.concatenate(part) for part in zip(*found, strict=True))
        return tile, score, points

    def _share(self, tiles: npt.NDArray[np.uint8], number: int, least: float) -> list[_Found]:
        """Return what worker `number` finds in its share of the batches: every n-th."""
        starts = range(number * BATCH, len(tiles), self._threads * BATCH)
        return [self._infer(self._workers[number], tiles[start : start + BATCH], start, least) for start in starts]

    def _infer(self, worker: _Worker, tiles: npt.NDArray[np.uint8], start: int, least: float) -> _Found:
        """Return what `__call__` does, for at most `BATCH` tiles of which the first is number `start`."""
        boxes, logits = (self._by_tile(rows)[: len(tiles)] for rows in worker(tiles))
        tile, score, points = self._decode(boxes, logits[:, :, 0], least)
        return tile + start, score, points

    def _by_tile(self, rows: Floats) -> Floats:
        """Return output (1, BATCH x anchors, k) as (BATCH, anchors, k).

        The graph was made for one picture: it joins the grids of a batch, each with the rows of all pictures.
        """
        lengths = [BATCH * repeats * (self.model.side // stride) ** 2 for stride, repeats in self.model.grids]
        grids = np.split(rows.reshape(sum(lengths), -1), np.cumsum(lengths)[:-1])
        return np.concatenate([grid.reshape(BATCH, -1, rows.shape[-1]) for grid in grids], axis=1)

    def _decode(self, boxes: Floats, logits: Floats, least: float) -> _Found:
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
