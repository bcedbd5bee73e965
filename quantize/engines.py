"""`python -m quantize.engines`: the engines that a Python has, each run the same way; `elsewhere` calls it.

Needs numpy and the engine alone: it runs in environments that have no TensorFlow.
"""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Engine:
    """A model in an engine: `step` runs one batch of grey levels (batch, side, side, 1), uint8."""

    def __init__(self, pixels: Callable[[Any], Any], step: Callable[[Any], Any], real: Callable[[Any], Floats]) -> None:
        """Take how grey levels become input, how a batch is run, and how outputs become logits."""
        self.pixels, self.step, self.real = pixels, step, real


def _tflite(name: str, reference: bool = False) -> Callable[[bytes, int, int], Engine]:
    def make(model: bytes, threads: int, batch: int) -> Engine:
        from agent.vision.runtime import choose
        from training.network import Network

        network = Network(model, choose(name), threads=threads, batch=batch, reference=reference)
        return Engine(network.pixels, network.step, network.real)

    return make


def _onnxruntime(model: bytes, threads: int, batch: int) -> Engine:  # noqa: ARG001 (its files have an open batch)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Engine(lambda f: f.astype(np.float32), lambda f: session.run(None, {name: f})[0], np.float64)


def _openvino(model: bytes, threads: int, batch: int) -> Engine:
    import openvino

    core = openvino.Core()
    # It tells a .tflite by the file's name, so the bytes must be in one.
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        network = core.read_model(path)
        network.reshape([batch, *list(network.inputs[0].shape)[1:]])
        hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        compiled = core.compile_model(network, "CPU", hints)
    kind = compiled.inputs[0].element_type.to_dtype()
    request = compiled.create_infer_request()

    def pixels(faces: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return (faces.astype(np.int16) - 128).astype(np.int8) if kind == np.int8 else faces.astype(kind)

    return Engine(pixels, lambda f: request.infer([f])[0], np.float64)


ENGINES: Final[dict[str, tuple[str, str, Callable[[bytes, int, int], Engine]]]] = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert", _tflite("litert")),
    "litert-reference": ("ai_edge_litert.interpreter", "ai-edge-litert", _tflite("litert", True)),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime", _tflite("tflite-runtime")),
    "tflite-runtime-reference": ("tflite_runtime.interpreter", "tflite-runtime", _tflite("tflite-runtime", True)),
    "onnxruntime": ("onnxruntime", "onnxruntime", _onnxruntime),
    "openvino": ("openvino", "openvino", _openvino),
}
"""Name → (module, distribution, maker of bytes, threads, batch)."""


def installed() -> dict[str, str]:
    """Return engine → version for those that this Python can import."""
    found = {}
    for name, (module, distribution, _) in ENGINES.items():
        try:
            importlib.import_module(module)
            found[name] = version(distribution)
        except (ImportError, PackageNotFoundError):
            continue
    return found


def run(job: dict[str, Any], faces: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Return {"logits": (n, 8)}, or {"seconds": (passes,)} when the job asks for times."""
    model = Path(job["model"]).read_bytes()
    engine = ENGINES[job["engine"]][2](model, job["threads"], job["batch"])
    if job["seconds"]:
        return {"seconds": seconds(engine, faces[: job["batch"]], job["seconds"])}
    assert len(faces) % job["batch"] == 0, "whole batches only"
    outputs, began = [], time.monotonic()
    shown = began
    for i in range(0, len(faces), job["batch"]):
        outputs.append(engine.real(np.array(engine.step(engine.pixels(faces[i : i + job["batch"]])))))
        done, now = i + job["batch"], time.monotonic()
        if now - shown > 1 or (done == len(faces) and shown > began):
            shown = now
            sys.stdout.write(f"progress {done} {len(faces)}\n")
            sys.stdout.flush()
    return {"logits": np.concatenate(outputs)}


def seconds(engine: Engine, faces: npt.NDArray[np.uint8], budget: float) -> Floats:
    """Return the seconds of each pass, for `budget` seconds after a quarter of that for warming up."""
    ready = engine.pixels(faces)
    for limit in (budget / 4, budget):
        taken: list[float] = []
        while sum(taken) < limit or len(taken) < 3:
            start = time.perf_counter()
            engine.step(ready)
            taken.append(time.perf_counter() - start)
    return np.array(taken)


def main(arguments: list[str]) -> None:
    """`list`, or `run JOB IN.npz OUT.npz`."""
    if arguments == ["list"]:
        sys.stdout.write(json.dumps(installed()))
        return
    _, job, given, made = arguments
    with np.load(given) as stored:
        faces = stored["faces"]
    np.savez(made, **run(json.loads(job), faces))


if __name__ == "__main__":
    main(sys.argv[1:])
