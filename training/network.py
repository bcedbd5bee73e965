"""Run the bytes of a .tflite network on faces: integers or floats in and out, any batch, either kernels."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.vision.runtime import Runtime


class Network:
    """A .tflite network in a runtime, ready to run. Not for several threads at once."""

    def __init__(
        self, model: bytes, runtime: Runtime, *, threads: int = 2, reference: bool = False, batch: int = 1
    ) -> None:
        """Take `model`'s bytes, which must come from a trusted or hashed file; `batch` faces run at a time."""
        self.batch = batch
        self._interpreter = runtime.interpreter(model, threads, reference=reference)
        self._input = self._interpreter.get_input_details()[0]
        if batch != 1:
            self._interpreter.resize_tensor_input(self._input["index"], [batch, *self._input["shape"][1:]])
            self._interpreter.allocate_tensors()
        self._output = self._interpreter.get_output_details()[0]

    @property
    def side(self) -> int:
        """Input, pixels."""
        return int(self._input["shape"][1])

    def raw(self, faces: npt.NDArray[np.uint8], title: str | None = None) -> npt.NDArray[Any]:
        """Return the output as it is, (n, 8), for faces uint8 (n, side, side, 1); `title` shows a progress bar."""
        if not len(faces):
            return np.zeros((0, *self._output["shape"][1:]), self._output["dtype"])
        return np.concatenate(list(self._batches(faces, title)))

    def logits(self, faces: npt.NDArray[np.uint8], title: str | None = None) -> npt.NDArray[np.float64]:
        """Return float64 logits (n, 8) for faces uint8 (n, side, side, 1)."""
        return self.real(self.raw(faces, title))

    def real(self, raw: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return output integers as the real numbers that they stand for."""
        if raw.dtype == np.float32:
            return raw.astype(np.float64)
        scale, zero_point = self._output["quantization"]
        return (raw.astype(np.float64) - zero_point) * scale

    def step(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run one batch that `pixels` made."""
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output["index"]))

    def pixels(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return grey levels in the input's type and scale; exact where that is 1, as it is in ours."""
        kind, (scale, zero_point) = self._input["dtype"], self._input["quantization"]
        if kind == np.float32:
            return faces.astype(np.float32)
        limits = np.iinfo(kind)
        levels = np.rint(np.arange(256) / scale + zero_point)
        return np.clip(levels, limits.min, limits.max).astype(kind)[faces]

    def _batches(self, faces: npt.NDArray[np.uint8], title: str | None) -> Iterator[npt.NDArray[Any]]:
        starts: Iterable[int] = range(0, len(faces), self.batch)
        if title is not None:
            from tqdm import tqdm  # not at the top: the other runtime's environment may lack it

            starts = tqdm(starts, desc=title, unit="batch" if self.batch > 1 else "face", mininterval=1)
        for start in starts:
            some = faces[start : start + self.batch]
            short = self.batch - len(some)
            full = np.concatenate([some, np.repeat(some[-1:], short, axis=0)]) if short else some
            yield self.step(self.pixels(full))[: len(some)]
