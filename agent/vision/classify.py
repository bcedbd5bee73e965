"""Face crops → calibrated probabilities: the bundle's int8 network in batches, softmax and calibration on the host."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from agent.calibration import probabilities
from agent.device.edgetpu import Delegation, fallback
from agent.errors import ModelError
from agent.records import Face, Frame, Reading
from agent.vision import tiles
from agent.vision.model_card import Bundle
from agent.vision.preprocess import preprocess
from agent.vision.runtime import choose
from agent.vision.turns import Turns

BATCH: Final = 8
"""Most faces given to the network at once: more gains nothing and costs memory."""


class Classifier:
    """Reads emotions off faces. A context manager, then callable; not for use by two threads at once."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        runtime: str = "auto",
        faces_per_frame: int,
        delegation: Delegation | None = None,
    ) -> None:
        """Take a checked bundle; `faces_per_frame` are classified a frame (see `turns`).

        `delegation` puts the network on an Edge TPU; should that fail later, the CPU takes over, and `backend` says so.
        """
        self._bundle = bundle
        self._runtime = choose(runtime)
        self._on = delegation or Delegation(self._runtime.name, bundle.model)
        self._threads = threads
        self._turns = Turns(faces_per_frame)
        self._interpreter: Any = None
        self._batch = 1

    @property
    def backend(self) -> str:
        """What computes, e.g. "litert", "tflite-runtime+edgetpu" or "litert (edgetpu: <why not>)"."""
        return self._on.backend

    def __enter__(self) -> Self:
        """Build the network in this machine's runtime. Raises ModelError if it cannot, or gives other outputs."""
        try:
            self._checked_start()
        except ModelError as error:
            if not self._on.delegates:
                raise
            self._on = fallback(
                self._runtime.name, self._bundle.model, str(error).removeprefix(f"{self._bundle.path}: ")
            )
            self._checked_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interpreter = None

    def __call__(self, frame: Frame, faces: Sequence[Face]) -> list[Reading]:
        """Return one reading a face, in order; no probabilities where it was rejected or must wait for its turn."""
        fit = [i for i, face in enumerate(faces) if face.rejected is None]
        chosen = [fit[i] for i in self._turns.choose(frame.at, [faces[i].box for i in fit])]
        readings = [Reading(face.box, None, waits=face.rejected is None) for face in faces]
        if chosen:
            side = self._bundle.card.side
            rows = self.probabilities(np.stack([preprocess(faces[i].crop, side) for i in chosen]))
            for i, row in zip(chosen, rows.tolist(), strict=True):
                readings[i] = Reading(faces[i].box, tuple(row))
        return readings

    def probabilities(self, inputs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return float64 (n, 8), each 0-1, rows sum 1, of inputs uint8 (n, side, side, 1) as `preprocess` made them."""
        output = self._bundle.card.output
        logits = (self.logits(inputs).astype(np.float64) - output.zero_point) * output.scale
        calibration = self._bundle.card.calibration
        return probabilities.apply(logits, calibration.temperature, calibration.biases)

    def logits(self, inputs: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """Return the network's own integers (n, 8) for inputs uint8 (n, side, side, 1), grey 0-255."""
        assert self._interpreter is not None, "use as a context manager"
        # A network compiled for the Edge TPU has one batch size, 1.
        most = 1 if self._on.delegates else BATCH
        parts = [self._infer(inputs[part]) for part in tiles.batches(len(inputs), most)]
        return np.concatenate(parts) if parts else np.empty((0, len(self._bundle.card.labels)), np.int8)

    def _checked_start(self) -> None:
        try:
            self._start()
            self._check_edges()
            self._bundle.check_golden(self.logits)
        except (RuntimeError, ValueError) as cause:  # the runtime's own: an operator that it lacks, a broken graph
            why = " ".join(str(cause).split())
            raise ModelError(f"{self._bundle.path}: {self._runtime.name} cannot run this model: {why}") from cause

    def _start(self) -> None:
        self._interpreter = self._runtime.interpreter(
            self._on.model, self._threads, delegates=self._on.delegates or None
        )
        self._batch = int(self._interpreter.get_input_details()[0]["shape"][0])

    def _fall_back(self, why: str) -> None:
        """Go on with the CPU, for good."""
        self._on = fallback(self._runtime.name, self._bundle.model, why)
        self._start()

    def _infer(self, inputs: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        try:
            return self._run(inputs)
        except (RuntimeError, ValueError) as error:
            if not self._on.delegates:
                raise
            self._fall_back(str(error) or type(error).__name__)
            return self._run(inputs)

    def _run(self, inputs: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        given = self._interpreter.get_input_details()[0]["index"]
        if len(inputs) != self._batch:
            self._interpreter.resize_tensor_input(given, list(inputs.shape))
            self._interpreter.allocate_tensors()
            self._batch = len(inputs)
        card = self._bundle.card.input
        # The zero point is exact (0 or -128, checked): grey levels go in as they are, no scaling here.
        values = (inputs.astype(np.int16) + card.zero_point).astype(card.dtype)
        self._interpreter.set_tensor(given, values)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"]))

    def _check_edges(self) -> None:
        """Refuse a network whose input or output is not what its card says: a grey level would not be itself."""
        card = self._bundle.card
        pairs = (("input", self._interpreter.get_input_details()), ("output", self._interpreter.get_output_details()))
        for edge, (detail, *_) in pairs:
            wanted = card.input if edge == "input" else card.output
            scale, zero_point = detail["quantization"]
            got = (np.dtype(detail["dtype"]).name, zero_point)
            if got != (wanted.dtype, wanted.zero_point) or not np.isclose(scale, wanted.scale, rtol=1e-5):
                raise ModelError(f"{self._bundle.path}: {edge}: expected {wanted}, got {got[0]}, {scale}, {zero_point}")
