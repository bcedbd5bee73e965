"""`python -m quantize.edgetpu check FILE`: the Edge TPU's rules, read off the file, then its compiler's word.

The compiler is its vendor's: where it is not on PATH, the check is static and says so.
Rules: "TensorFlow models on the Edge TPU" (coral.ai, model requirements), and what edgetpu_compiler 16.0 refuses.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from agent.errors import CheckFailed, InputError
from quantize import graph, pack
from quantize.graph import Graph, Op
from training.cli import reported

COMPILER: Final = "edgetpu_compiler"

VERSIONS: Final = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4,
    "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2, "MUL": 2, "PAD": 2, "QUANTIZE": 2,
    "RELU": 2, "RELU6": 2, "RESHAPE": 1, "SOFTMAX": 2, "SUB": 2, "TANH": 2,
}  # fmt: skip
"""Supported operator → newest version that the compiler's TensorFlow (2.5) knows."""

CACHE_BYTES: Final = 8 * 2**20
"""On-chip memory."""

USABLE_BYTES: Final = int(6.5 * 2**20)
"""Of it left for parameters beside the program and its buffers (6 to 7.5 MiB); the rest streams on every inference."""


@dataclass(frozen=True)
class Finding:
    """A rule that the file breaks."""

    op: int | None
    """Position of the operator; None for the file as a whole."""
    rule: str


@dataclass(frozen=True)
class PreFlight:
    """What the static check found, and the compiler's answer."""

    model: str
    ops: dict[str, int]
    parameter_bytes: int
    fits_cache: bool
    """Parameters fit what is usable of the on-chip memory; otherwise they stream over USB on every inference."""
    findings: tuple[Finding, ...]
    compiled: bool | None
    """Whether edgetpu_compiler took the model; None where it was not asked."""
    compiler: str
    """What edgetpu_compiler said, or why it was not asked."""


def check(layout: Graph) -> Iterator[Finding]:
    """Yield every rule that the graph breaks."""
    if layout.subgraphs != 1:
        yield Finding(None, f"expected one subgraph, got {layout.subgraphs}")
    for tensor in layout.tensors:
        if tensor.dynamic:
            yield Finding(None, f"{tensor.name[:60]}: expected fixed dimensions, got an open one in {tensor.shape}")
    for tensor in (*layout.inputs, *layout.outputs):
        if tensor.shape and tensor.shape[0] != 1:
            yield Finding(None, f"{tensor.name[:60]}: expected batch 1, got {tensor.shape}")
    for index, op in enumerate(layout.ops):
        for rule in _check_op(op):
            yield Finding(index, f"{op.name}: {rule}")


def _check_op(op: Op) -> Iterator[str]:
    if op.custom or op.name not in VERSIONS:
        yield "not an operator of the Edge TPU"
        return
    if op.version > VERSIONS[op.name]:
        yield f"expected version {VERSIONS[op.name]} at most, got {op.version}"
    for tensor in (*op.inputs, *op.outputs):
        integer = tensor.dtype in ("INT8", "UINT8") or (tensor.constant and tensor.dtype == "INT32")
        if not integer:
            yield f"expected int8, uint8 or constant int32, got {tensor.dtype} in {tensor.name[:60]}"
        if not tensor.constant and any(d != 1 for d in tensor.shape[:-3]):
            yield f"expected only the three innermost dimensions above 1, got {tensor.shape}"
    if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D") and op.activation != "NONE":
        yield f"expected no fused activation, got {op.activation}"
    if op.name == "FULLY_CONNECTED":
        yield from _check_dense(op)
    if op.name == "PAD" and op.inputs[1].array[[0, -1]].any():
        yield f"expected padding of height and width alone, got {op.inputs[1].array.tolist()}"
    if op.name == "MEAN" and not set(op.inputs[1].array.ravel().tolist()) <= {1, 2}:
        yield f"expected a mean over height and width, got axes {op.inputs[1].array.tolist()}"
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and not op.inputs[1].constant:
        yield "expected constant weights"


def _check_dense(op: Op) -> Iterator[str]:
    if op.inputs[1].scales > 1:
        yield f"expected per-tensor weights, got {op.inputs[1].scales} scales"
    if any(d != 1 for d in op.outputs[0].shape[:-1]):
        yield f"expected a one-dimensional output, got {op.outputs[0].shape}"


def fits(parameter_bytes: int) -> bool:
    """Return whether that many bytes of parameters stay on the chip."""
    return parameter_bytes <= USABLE_BYTES


def pre_flight(model: bytes, name: str, out: Path | None = None) -> PreFlight:
    """Return what a static check of the bytes of a .tflite file finds, and the compiler's answer where it is on PATH.

    It is asked only for a model that breaks no rule. What it makes is written to `out`, if that is given.

    Raises
    ------
    InputError
        `out` is given and the compiler is not on PATH
    """
    layout = graph.read(model, name)
    findings = tuple(check(layout))
    compiled, answer = (None, f"{COMPILER}: not asked, the file breaks rules") if findings else _asked(model, out)
    return PreFlight(
        model=name,
        ops=layout.counts,
        parameter_bytes=layout.constant_bytes,
        fits_cache=fits(layout.constant_bytes),
        findings=findings,
        compiled=compiled,
        compiler=answer,
    )


def _asked(model: bytes, out: Path | None) -> tuple[bool | None, str]:
    """Return whether the compiler takes `model`, and its answer; None where it is neither here nor needed for `out`."""
    if out is None and shutil.which(COMPILER) is None:
        return None, f"{COMPILER} is not on PATH: this check is static"
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        try:
            log = compile_into(model, out or Path(folder) / "model_edgetpu.tflite")
        except CheckFailed as refused:
            return False, str(refused)
    return True, f"{COMPILER} compiled it: {log.strip() or 'no log'}"


def compile_into(model: bytes, out: Path) -> str:
    """Compile the bytes of a .tflite file with edgetpu_compiler, write the result to `out` and return its log.

    Raises
    ------
    InputError
        the compiler is not on PATH: it is x86-64 only and comes from its vendor
    CheckFailed
        it refused the model
    """
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise InputError(f"{COMPILER}: not on PATH; it is x86-64 only and comes from its vendor's repository")
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        (Path(folder) / "model.tflite").write_bytes(model)
        done = subprocess.run(
            [compiler, "-s", "-o", folder, str(Path(folder) / "model.tflite")],
            capture_output=True,
            text=True,
            check=False,
        )
        made = Path(folder) / "model_edgetpu.tflite"
        if done.returncode or not made.is_file():
            last = ((done.stdout + done.stderr).strip().splitlines() or ["no output"])[-1]
            raise CheckFailed(f"{COMPILER} refused it: {last[:300]}")
        pack.write_file(out, made.read_bytes())
    return done.stdout


def as_text(found: PreFlight) -> str:
    """Return the findings for a terminal."""
    size = f"{found.parameter_bytes / 2**20:.1f} MiB of parameters"
    fits = (
        "fit the on-chip memory"
        if found.fits_cache
        else "do not fit the on-chip memory: the rest streams on every inference"
    )
    lines = [found.model, "ops: " + ", ".join(f"{n} {name}" for name, n in found.ops.items())]
    lines.append(f"{size}, {USABLE_BYTES / 2**20:.1f} of {CACHE_BYTES / 2**20:.0f} MiB usable: {fits}")
    for finding in found.findings:
        lines.append(f"  {'file' if finding.op is None else f'op {finding.op}'}: {finding.rule}")
    lines.append("pre-flight " + ("FAILED" if found.findings else "passed"))
    return "\n".join([*lines, found.compiler])


@click.group()
def main() -> None:
    """Edge TPU: check a model against its rules, and compile it where the vendor's compiler is."""


@main.command("check", epilog="Example: python -m quantize.edgetpu check bundle/model.tflite")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--fit", is_flag=True, help="Fail, too, where the parameters do not fit the on-chip memory.")
@click.option("--compile", "out", type=click.Path(path_type=Path), default=None, help="Write the compiled file here.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
@reported
def check_command(model: Path, fit: bool, out: Path | None, json_wanted: bool) -> None:
    """Check MODEL (.tflite or bundle) against the Edge TPU's rules, then by its compiler where that is on PATH.

    Exit 1 where it breaks a rule or the compiler refuses it.
    """
    path = model / "model.tflite" if model.is_dir() else model
    content, _ = graph.read_file(path)
    found = pre_flight(content, str(path), out)
    click.echo(json.dumps(asdict(found), indent=1) if json_wanted else as_text(found))
    if found.findings:
        raise CheckFailed(f"{path}: breaks {len(found.findings)} rules of the Edge TPU")
    if found.compiled is False:
        raise CheckFailed(f"{path}: {found.compiler}")
    if fit and not found.fits_cache:
        raise CheckFailed(f"{path}: {found.parameter_bytes} bytes of parameters, expected at most {USABLE_BYTES}")


if __name__ == "__main__":
    main()
