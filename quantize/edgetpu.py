"""`python -m quantize.edgetpu check FILE`: the Edge TPU's rules, read off the file, then its compiler's word.

The compiler is its vendor's: where it is not on PATH, the check is static and says so. What it made, here or elsewhere,
goes into the bundle with `--compile BUNDLE` or `--add FILE`.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from agent.errors import CheckFailed, InputError, ModelError, UsageError, last_line
from agent.vision.model_card import EDGETPU, SUMS
from quantize import graph, pack
from quantize.edgetpu_rules import Finding, check
from training.cli import reported

COMPILER: Final = "edgetpu_compiler"

OPERATOR: Final = "edgetpu-custom-op"
"""What the compiler makes of the operators that it takes."""

CACHE_BYTES: Final = 8 * 2**20
"""On-chip memory."""

USABLE_BYTES: Final = int(6.5 * 2**20)
"""Of it left for parameters beside the program and its buffers (6 to 7.5 MiB); the rest streams on every inference."""


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

    @property
    def broken(self) -> int:
        """How many rules the file breaks."""
        return _broken(self.findings)

    @property
    def verdict(self) -> str:
        """Of the static check, in a word or two."""
        if self.broken:
            return "FAILED"
        return f"undecided: {COMPILER} has to say" if self.findings else "passed"


def fits(parameter_bytes: int) -> bool:
    """Return whether that many bytes of parameters stay on the chip."""
    return parameter_bytes <= USABLE_BYTES


def pre_flight(model: bytes, name: str, out: Path | None = None) -> PreFlight:
    """Return what a static check of the bytes of a .tflite file finds, and the compiler's answer where it is on PATH.

    It is asked only for a model that breaks no rule; an operator that the check does not know breaks none. What it
    makes is written to `out`, if that is given.

    Raises
    ------
    InputError
        `out` is given and the compiler is not on PATH
    """
    layout = graph.read(model, name)
    findings = tuple(check(layout))
    refused = None, f"{COMPILER}: not asked, the file breaks rules"
    compiled, answer = refused if _broken(findings) else _asked(model, out)
    return PreFlight(
        model=name,
        ops=layout.counts,
        parameter_bytes=layout.constant_bytes,
        fits_cache=fits(layout.constant_bytes),
        findings=findings,
        compiled=compiled,
        compiler=answer,
    )


def _broken(findings: tuple[Finding, ...]) -> int:
    return sum(not finding.unknown for finding in findings)


def _asked(model: bytes, out: Path | None) -> tuple[bool | None, str]:
    """Return whether the compiler takes `model`, and its answer; None where it is neither here nor needed for `out`."""
    if out is None and shutil.which(COMPILER) is None:
        return None, f"{COMPILER} is not on PATH: this check is static"
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        try:
            log = compile_into(model, out or Path(folder) / EDGETPU)
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
        made = Path(folder) / EDGETPU
        if done.returncode or not made.is_file():
            raise CheckFailed(f"{COMPILER} refused it: {last_line(done.stdout + done.stderr, 'no output')}")
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
    lines.append("pre-flight " + found.verdict)
    return "\n".join([*lines, found.compiler])


@click.group()
def main() -> None:
    """Edge TPU: check a model against its rules, and compile it where the vendor's compiler is."""


@main.command("check", epilog="Example: python -m quantize.edgetpu check bundle --add model_edgetpu.tflite")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--fit", is_flag=True, help="Fail, too, where the parameters do not fit the on-chip memory.")
@click.option(
    "--compile",
    "out",
    type=click.Path(path_type=Path),
    default=None,
    help="Write the compiled file here; into the bundle, where that is what you name.",
)
@click.option(
    "--add",
    "compiled",
    type=click.Path(path_type=Path),
    default=None,
    help="Put this file, which the compiler made of MODEL elsewhere, into the bundle MODEL.",
)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
@reported
def check_command(model: Path, fit: bool, out: Path | None, compiled: Path | None, json_wanted: bool) -> None:
    """Check MODEL (.tflite or bundle) against the Edge TPU's rules, then by its compiler where that is on PATH.

    Exit 1 where it breaks a rule or the compiler refuses it; then nothing is put into the bundle.
    """
    _check_places(model, out, compiled)
    path = model / "model.tflite" if model.is_dir() else model
    content, layout = graph.read_file(path)
    made = None if compiled is None else read_compiled(compiled, layout)
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        inside = Path(folder) / EDGETPU if out is not None and out.is_dir() else None
        found = pre_flight(content, str(path), inside or out)
        click.echo(json.dumps(asdict(found), indent=1) if json_wanted else as_text(found))
        _expect_passed(found, fit)
        if inside is not None:
            made = read_compiled(inside, layout)
    if made is not None:
        pack.add(model, made)
        click.echo(f"{model / EDGETPU}: added; a bundle that is signed has to be signed again", err=True)


def _check_places(model: Path, out: Path | None, compiled: Path | None) -> None:
    """Raise UsageError where the compiled file has no bundle to go to, or would lie in one unlisted."""
    bundle = (model / SUMS).is_file()
    if compiled is not None and (out is not None or not bundle):
        raise UsageError(f"--add: expected a bundle as MODEL, and no --compile, got {model}")
    if out is None:
        return
    if out.is_dir() and not (bundle and out.resolve() == model.resolve()):
        raise UsageError(f"--compile: expected a file to write, or the bundle MODEL itself, got the folder {out}")
    if bundle and out.resolve().parent == model.resolve():
        raise UsageError(f"--compile {out}: in a bundle every file is listed; --compile {model} puts it in")


def _expect_passed(found: PreFlight, fit: bool) -> None:
    """Raise CheckFailed with the first thing that speaks against the model."""
    if found.broken:
        raise CheckFailed(f"{found.model}: breaks {found.broken} rules of the Edge TPU")
    if found.findings and found.compiled is None:
        raise CheckFailed(f"{found.model}: has operators that this check does not know, and {found.compiler}")
    if found.compiled is False:
        raise CheckFailed(f"{found.model}: {found.compiler}")
    if fit and not found.fits_cache:
        size, most = found.parameter_bytes, USABLE_BYTES
        raise CheckFailed(f"{found.model}: {size} bytes of parameters, expected at most {most}")


def read_compiled(path: Path, layout: graph.Graph) -> bytes:
    """Return the bytes of the file `path`, which edgetpu_compiler made of the network `layout`.

    Raises
    ------
    InputError, ModelError
        no such file, one that the compiler did not make, or one that it made of a network with other ends
    """
    content, made = graph.read_file(path)
    if not any(op.custom and op.name == OPERATOR for op in made.ops):
        ops = ", ".join(sorted(made.counts)) or "none"
        raise ModelError(f"{path}: expected what {COMPILER} made, with an {OPERATOR}, got the operators {ops[:200]}")
    for what, mine, theirs in (("input", layout.inputs, made.inputs), ("output", layout.outputs, made.outputs)):
        if _ends(mine) != _ends(theirs):
            raise ModelError(f"{path}: expected the {what} of the bundle's network, {_ends(mine)}, got {_ends(theirs)}")
    return content


def _ends(tensors: tuple[graph.Tensor, ...]) -> list[tuple[object, ...]]:
    return [(t.dtype, t.shape, t.scale, t.zero_point) for t in tensors]


if __name__ == "__main__":
    main()
