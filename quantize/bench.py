"""`python -m quantize.bench BUNDLE FLOAT`: how fast the integer network is beside everything it could be compared with.

All rows run the same weights on this machine, each in a process of its own, in rounds: a noisy neighbour hits all rows
alike, and the best round counts. Read the ratios; milliseconds are this machine's alone.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.cli._options import Number
from agent.errors import CheckFailed, last_line
from quantize import elsewhere, golden, onnx_peer, pack, peak, verify
from quantize.elsewhere import Job, Places
from training.cli import reported

BARS: Final = {
    "int8 / float, LiteRT": 1.0,
    "LiteRT int8 / tflite-runtime int8": 0.5,
    "LiteRT int8 / fastest peer's int8": 1.6,
}
"""Largest allowed ratio of times on x86, one thread, batch 1."""


@dataclass(frozen=True)
class Row:
    """One engine on one file."""

    engine: str
    version: str
    kind: str
    """"float" or "int8"."""
    threads: int
    batch: int
    """Faces a pass."""
    ms: float
    """Milliseconds a face: median pass of the best round."""
    ratio: float | None
    """To LiteRT's int8 with one thread and batch 1; None where that was not measured."""
    agreement: float
    """Share of the faces given with the same top class as the float network in LiteRT, 0-1."""


@dataclass(frozen=True)
class Result:
    """All that `bench` measured."""

    model: str
    macs: int
    """Multiply-accumulates a face."""
    rows: tuple[Row, ...]
    peak: dict[str, float]
    """Engine → int8 multiply-accumulates a second in a large matrix product, one thread."""
    limit_ms: float
    """MACs ÷ best peak: no int8 engine can be faster, one thread."""
    bars: dict[str, float]
    """Ratio of times, see `BARS`; those that could not be measured are absent."""
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to run."""

    threads: tuple[int, ...] = (1, 2)
    batches: tuple[int, ...] = (1, 4, 16)
    seconds: float = 0.5
    """A row and round."""
    rounds: int = 3


def bench(given: verify.Sources, faces: npt.NDArray[np.uint8], places: Places, plan: Plan, work: Path) -> Result:
    """Return the result for `given` with `faces` (n, side, side, 1), n a multiple of every batch."""
    files, skipped = _files(given, faces, places, work)
    cases = [
        (engine, kind, path, threads, batch)
        for engine, kind, path in files
        for threads in plan.threads
        for batch in plan.batches
    ]
    best = np.full(len(cases), np.inf)
    with tqdm(total=len(cases) * plan.rounds, desc="timing", unit="row", mininterval=1) as bar:
        for _ in range(plan.rounds):
            for i, (engine, _, path, threads, batch) in enumerate(cases):
                taken = places.times(Job(engine, str(path), threads, batch, plan.seconds), faces)
                best[i] = min(best[i], 1000 * float(np.median(taken)) / batch)
                bar.update()
    same = _agreements(files, faces, places)
    rows = tuple(
        Row(engine, places.version[engine], kind, threads, batch, float(ms), None, same[engine, kind])
        for (engine, kind, _, threads, batch), ms in zip(cases, best, strict=True)
    )
    product = work / "product.tflite"
    pack.write_file(product, peak.matrix_product())
    peaks = peak.rate(places, product, 1, plan.seconds)
    return Result(
        model=str(given.path),
        macs=given.graph.macs,
        rows=related(rows),
        peak=peaks,
        limit_ms=1000 * given.graph.macs / max(peaks.values()),
        bars=dict(_bars(rows)),
        skipped=skipped,
    )


def _files(
    given: verify.Sources, faces: npt.NDArray[np.uint8], places: Places, work: Path
) -> tuple[list[tuple[str, str, Path]], tuple[str, ...]]:
    """Return (engine, kind, file) for all that can run here, LiteRT's int8 first, and what cannot."""
    kinds = {"int8": work / "int8.tflite", "float": work / "float.tflite"}
    pack.write_file(kinds["int8"], given.model)
    pack.write_file(kinds["float"], given.float_model)
    files, skipped = [], []
    for engine in ("litert", "tflite-runtime", "openvino"):
        if engine in places.python:
            files += [(engine, kind, path) for kind, path in kinds.items()]
        else:
            skipped.append(f"{engine}: in none of the Pythons here; name one with --python or {elsewhere.ENVIRONMENT}")
    if "onnxruntime" in places.python:
        try:
            files += [("onnxruntime", kind, path) for kind, path in _onnx(given, faces, places, work).items()]
        except subprocess.CalledProcessError as cause:
            skipped.append(f"onnxruntime: no ONNX file: {last_line(cause.stderr, f'exit code {cause.returncode}')}")
    else:
        skipped.append("onnxruntime: in none of the Pythons here; it needs onnx beside it")
    return files, tuple(skipped)


def _onnx(given: verify.Sources, faces: npt.NDArray[np.uint8], places: Places, work: Path) -> dict[str, Path]:
    """Write the same weights as ONNX, by the Python that has onnxruntime (and onnx); return kind → file."""
    plan = work / "plan.npz"
    onnx_peer.plan(given.float_model, faces, plan)
    command = [places.python["onnxruntime"], "-m", "quantize.onnx_peer", str(plan), str(work)]
    with elsewhere.environment() as env:
        subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return {"int8": work / "int8.onnx", "float": work / "float.onnx"}


def _agreements(
    files: list[tuple[str, str, Path]], faces: npt.NDArray[np.uint8], places: Places
) -> dict[tuple[str, str], float]:
    """Return (engine, kind) → share of faces with the top class of the float network: proof of the same network."""
    tops = {(e, k): places.outputs(Job(e, str(path)), faces).argmax(axis=1) for e, k, path in files}
    return {key: float((top == tops["litert", "float"]).mean()) for key, top in tops.items()}


def _single(rows: tuple[Row, ...]) -> dict[tuple[str, str], float]:
    """Return (engine, kind) → milliseconds with one thread and batch 1, which ratios, bars and limit are of."""
    return {(row.engine, row.kind): row.ms for row in rows if row.threads == 1 and row.batch == 1}


def related(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return `rows` with their ratios."""
    ours = _single(rows).get(("litert", "int8"))
    return rows if ours is None else tuple(replace(row, ratio=row.ms / ours) for row in rows)


def _bars(rows: tuple[Row, ...]) -> Iterator[tuple[str, float]]:
    single = _single(rows)
    ours = single.get(("litert", "int8"))
    if ours is None:
        return
    peers = [single[e, "int8"] for e in ("onnxruntime", "openvino") if (e, "int8") in single]
    others = (single.get(("litert", "float")), single.get(("tflite-runtime", "int8")), min(peers, default=None))
    for name, other in zip(BARS, others, strict=True):
        if other is not None:
            yield name, ours / other


def failures(result: Result) -> Iterator[str]:
    """Yield a line for every bar that is missed or was not measured: what nobody measured is not met."""
    for name, bar in BARS.items():
        if name not in result.bars:
            yield (
                f"bar {name}: expected a ratio of at most {bar:.2f}, got none: not measured; it needs both engines, "
                "1 in --threads and 1 in --batches"
            )
        elif result.bars[name] > bar:
            yield f"bar {name}: expected a ratio of at most {bar:.2f}, got {result.bars[name]:.2f}"


def as_text(result: Result) -> str:
    """Return the result for a terminal."""
    lines = [f"{result.model}: {result.macs / 1e6:.0f} M MACs a face"]
    lines.append(
        f"{'engine':26} {'kind':6} {'threads':>7} {'batch':>6} {'ratio':>7} {'ms a face':>10} {'agreement':>10}"
    )
    for row in result.rows:
        name, ratio = f"{row.engine} {row.version}", "-" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            f"{name:26} {row.kind:6} {row.threads:7} {row.batch:6} {ratio:>7} {row.ms:10.3f} {row.agreement:10.1%}"
        )
    for engine, rate in result.peak.items():
        lines.append(f"int8 matrix product in {engine}, one thread: {rate / 1e9:.0f} G MAC/s")
    ours = _single(result.rows).get(("litert", "int8"))
    times = (
        "was not timed with one thread and batch 1"
        if ours is None
        else f"takes {ours / result.limit_ms:.1f} times that"
    )
    lines.append(f"arithmetic limit {result.limit_ms:.3f} ms a face: LiteRT int8 {times}")
    for name, bar in BARS.items():
        if name in result.bars:
            met = "met" if result.bars[name] <= bar else "MISSED"
            lines.append(f"bar {name}: {result.bars[name]:.2f}, at most {bar:.2f}: {met}")
        else:
            lines.append(f"bar {name}: not measured, at most {bar:.2f}")
    return "\n".join([*lines, *(f"skipped: {why}" for why in result.skipped)])


def _numbers(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(p.strip().isdecimal() and int(p) > 0 for p in parts):
        raise click.BadParameter(f"expected positive numbers like 1,2, got {value!r}")
    return tuple(map(int, parts))


@click.command(epilog="Example: python -m quantize.bench bundle float.tflite --python ~/peers/bin/python")
@click.argument("model", metavar="INT8", type=click.Path(path_type=Path))
@click.argument("float_model", metavar="FLOAT", type=click.Path(path_type=Path))
@click.option(
    "--python", "pythons", multiple=True, help=f"Another Python that has an engine [{elsewhere.ENVIRONMENT}]."
)
@click.option("--threads", default="1,2", show_default=True, callback=_numbers, help="Of each engine.")
@click.option("--batches", default="1,4,16", show_default=True, callback=_numbers, help="Faces a pass.")
@click.option("--seconds", type=Number(0.01, 3600), default=0.5, show_default=True, help="A row and round.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The fastest counts.")
@click.option("--check", is_flag=True, help="Exit 1 where a bar is missed or not measured.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
@reported
def main(model: Path, float_model: Path, pythons: tuple[str, ...], check: bool, json_wanted: bool, **plan: Any) -> None:
    """Time INT8 (.tflite or bundle) against FLOAT (.keras or .tflite) in every engine that is here."""
    given = verify.read(float_model, model)
    faces = sample(given, int(np.lcm.reduce(plan["batches"])))
    with tempfile.TemporaryDirectory(prefix="fer-") as work:
        result = bench(given, faces, elsewhere.places(pythons), Plan(**plan), Path(work))
    click.echo(json.dumps(asdict(result), indent=1) if json_wanted else as_text(result))
    if check and (failed := list(failures(result))):
        raise CheckFailed("; ".join(failed))


def sample(given: verify.Sources, multiple: int) -> npt.NDArray[np.uint8]:
    """Return faces (n, side, side, 1), n a multiple of `multiple`: golden ones, or smooth noise."""
    side = given.graph.inputs[0].shape[1]
    faces = golden.smooth(16, side) if given.golden is None else given.golden
    n = -(-len(faces) // multiple) * multiple
    return np.resize(faces, (n, *faces.shape[1:]))


if __name__ == "__main__":
    main()
