"""`python -m quantize.aarch64 [BUNDLE]`: the wheels of a Raspberry Pi under emulation, bit for bit against x86.

Emulation shows what is computed, not how fast: times on a Raspberry Pi are a projection (`boards`).
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from agent.errors import CheckFailed, ConfigError, last_line
from agent.vision.model_card import Bundle, find
from quantize import boards, elsewhere, emulated, golden, scores
from quantize.elsewhere import Job, Places
from quantize.emulated import Emulated
from training import metrics
from training.cli import reported

KERNELS: Final = ("reference", "default")

AGENT: Final = """
import sys
from pathlib import Path
import agent.cli
from agent.config import Classify
from agent.trust.accept import works_here
from agent.vision.model_card import Bundle
works_here(Classify())(Bundle.load(Path(sys.argv[1])))
"""
"""What the agent asks of a bundle before it takes it: the golden faces through its own classifier, in its batches."""


@dataclass(frozen=True)
class Row:
    """One engine on one emulated processor, against the same engine on x86."""

    engine: str
    """Runtime and version."""
    kernels: str
    """"reference" or "default"."""
    processor: str
    faces: int
    equal: int
    """Faces with the same eight integers."""
    worst_steps: int
    """Largest difference of an output integer."""
    worst_probability: float
    """Largest difference of a calibrated probability, 0-1."""
    same_top: int
    """Faces with the same top class."""


@dataclass(frozen=True)
class Result:
    """All that was compared, and what is projected."""

    model: str
    rows: tuple[Row, ...]
    agent: dict[str, str]
    """ "processor runtime" → "accepted", or why the agent's own check refuses the bundle there."""
    projection: tuple[boards.Projection, ...]
    """Not measured."""
    failures: tuple[str, ...]
    skipped: tuple[str, ...]


def check(bundle: Bundle, faces: npt.NDArray[np.uint8], here: Places, there: Emulated) -> Result:
    """Return how the emulated Pythons `there` compute `faces` (n, side, side, 1), against the engines `here`."""
    model, rows, skipped = str(bundle.path / "model.tflite"), [], list(there.skipped)
    expected: dict[str, npt.NDArray[np.float64]] = {}
    for (processor, runtime), python in there.pythons.items():
        for kernels in KERNELS:
            if kernels == "reference" and processor != next(iter(emulated.PROCESSORS)):
                continue  # plain C++: it asks for no instruction that only one of the processors has
            engine = _engine(runtime, kernels)
            if engine not in here.python:
                skipped.append(f"{engine} on {processor}: not in this Python; name one that has it with --python")
                continue
            click.echo(f"{engine} on {processor}, {len(faces)} faces …", err=True)
            if engine not in expected:
                expected[engine] = here.outputs(Job(engine, model), faces)
            got = Places({engine: python}, {}).outputs(Job(engine, model), faces)
            name = f"{runtime} {there.version[runtime]}"
            rows.append(compare(name, kernels, processor, expected[engine], got, bundle))
            click.echo(f"  {rows[-1].equal} of {rows[-1].faces} bit-equal", err=True)
    agent = {" ".join(key): _agent(python, bundle.path, *key) for key, python in there.pythons.items()}
    return Result(
        model=str(bundle.path),
        rows=tuple(rows),
        agent=agent,
        projection=boards.project(bundle.card.macs),
        failures=tuple(failures(rows, agent, bundle)),
        skipped=tuple(skipped),
    )


def compare(
    engine: str,
    kernels: str,
    processor: str,
    x86: npt.NDArray[np.float64],
    arm: npt.NDArray[np.float64],
    bundle: Bundle,
) -> Row:
    """Return how far the logits `arm` (n, 8) are from `x86`, both of `bundle`'s network."""
    apart = np.rint(np.abs(arm - x86) / bundle.card.output.scale).astype(int)
    p, q = (scores.calibrated(z, bundle.card.calibration) for z in (x86, arm))
    return Row(
        engine=engine,
        kernels=kernels,
        processor=processor,
        faces=len(x86),
        equal=int((apart == 0).all(axis=1).sum()),
        worst_steps=int(apart.max()),
        worst_probability=float(np.abs(p - q).max()),
        same_top=round(metrics.agreement(p, q) * len(x86)),
    )


def faces_for(bundle: Bundle, n: int) -> npt.NDArray[np.uint8]:
    """Return `n` faces (n, side, side, 1): the golden ones, then smooth noise, seeded."""
    chosen = bundle.golden.faces[:n]
    return np.concatenate([chosen, golden.smooth(n - len(chosen), bundle.card.side)])


def _engine(runtime: str, kernels: str) -> str:
    return f"{runtime}-reference" if kernels == "reference" else runtime


def _agent(python: str, bundle: Path, processor: str, runtime: str) -> str:
    click.echo(f"the agent's own check, {runtime} on {processor} …", err=True)
    command = [python, "-c", AGENT, str(bundle.absolute())]
    with elsewhere.environment() as env:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return last_line(done.stderr, f"exit code {done.returncode}")
    return "accepted"


def failures(rows: list[Row], agent: dict[str, str], bundle: Bundle) -> Iterator[str]:
    allowed = round(bundle.card.golden.max_logit_error / bundle.card.output.scale)
    for row in rows:
        limit = 0 if row.kernels == "reference" else allowed
        if row.worst_steps > limit:
            yield (
                f"{row.engine}, {row.kernels} kernels on {row.processor}: expected integers at most {limit} apart "
                f"from x86's, got {row.worst_steps}"
            )
    for where, answer in agent.items():
        if answer != "accepted":
            yield f"the agent on {where}: {answer}"


def as_text(result: Result) -> str:
    """Return the result for a terminal."""
    lines = [f"{result.model}: aarch64 under emulation against x86"]
    lines.append(
        f"{'engine':22} {'kernels':10} {'processor':11} bit-equal faces  worst step  worst |dp|  same top class"
    )
    for row in result.rows:
        equal, top = f"{row.equal} of {row.faces}", f"{row.same_top} of {row.faces}"
        lines.append(
            f"{row.engine:22} {row.kernels:10} {row.processor:11} {equal:>15} {row.worst_steps:>11} "
            f"{row.worst_probability:>11.4f} {top:>15}"
        )
    lines += [f"the agent's own check on {where}: {answer}" for where, answer in result.agent.items()]
    lines.append("PROJECTION, not measured, ms a face:      one core, limit   all cores, limit   projected")
    for one in result.projection:
        lines.append(
            f"  {one.board:40} {one.one_core_limit_ms:14.1f} {one.limit_ms:18.2f} {one.projected_ms:11.1f}"
            f"   ({one.of_limit:.0%} of the limit)"
        )
    lines += [f"  {one.basis}" for one in result.projection]
    return "\n".join([*lines, *(f"skipped: {why}" for why in result.skipped)])


@click.command(epilog="Example: python -m quantize.aarch64 --python ~/tfl/bin/python")
@click.argument("bundle", default="released")
@click.option(
    "--python", "pythons", multiple=True, help=f"Another x86 Python that has a runtime [{elsewhere.ENVIRONMENT}]."
)
@click.option("--faces", type=click.IntRange(1), default=20, show_default=True, help="Golden ones first, then drawn.")
@click.option(
    "--cache", type=click.Path(path_type=Path), default=None, help="Where the Pythons are [~/.cache/fer-agent/aarch64]."
)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
@reported
def main(bundle: str, pythons: tuple[str, ...], faces: int, cache: Path | None, json_wanted: bool) -> None:
    """Run BUNDLE (a folder, or a name in the package) on emulated Raspberry Pi processors; exit 1 where bits differ."""
    loaded = Bundle.load(find(bundle))
    there = emulated.build((cache or emulated.home()).absolute())
    here = elsewhere.places(pythons)
    if "litert" not in here.python:
        raise ConfigError("expected LiteRT in this Python to compare with; pip install ai-edge-litert")
    result = check(loaded, faces_for(loaded, faces), here, there)
    click.echo(json.dumps(asdict(result), indent=1) if json_wanted else as_text(result))
    if result.failures:
        raise CheckFailed("; ".join(result.failures))


if __name__ == "__main__":
    main()
