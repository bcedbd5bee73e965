"""`python -m quantize.verify FLOAT INT8 --data DIR`: what the integers cost, in both runtimes, with its proof."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from agent.calibration import probabilities
from agent.cli._options import Number
from agent.errors import CheckFailed, ConfigError, ModelError
from agent.vision import runtime
from agent.vision.card import Calibration
from agent.vision.model_card import Bundle
from quantize import elsewhere, equalize, golden, graph, integers, layers, lite, pack, representative, scores, source
from quantize.elsewhere import Job, Places
from quantize.verdict import InRuntime, Limits, Report, as_json, as_text
from training import data, metrics
from training.cli import reported, with_data, with_limit

RUNTIMES = ("litert", "tflite-runtime")


@dataclass(frozen=True)
class Sources:
    """Both networks, read and checked."""

    float_path: Path
    path: Path
    float_model: bytes
    model: bytes
    float_graph: graph.Graph
    graph: graph.Graph
    calibration: Calibration | None
    """A bundle's; None for a bare .tflite."""
    golden: npt.NDArray[np.uint8] | None
    """A bundle's golden faces (n, side, side, 1)."""
    layers_compare: bool
    """Whether the float network's channels are as those that the integers were made of."""


def read(float_path: Path, path: Path, train: data.Split | None = None) -> Sources:
    """Return the float network (.keras or .tflite) and the integer one (.tflite or bundle folder).

    With the split `train`, a .keras is equalised as the bundle was. Only by the same faces do layers compare, which the
    golden ones tell: they are means of those.

    Raises
    ------
    InputError, ModelError
        a file that is missing or damaged, an integer network that is not full-integer, or two different networks
    """
    if path.is_dir():
        bundle = Bundle.load(path)
        model, card, given = bundle.model, bundle.card, bundle.golden.faces
        layout = graph.read(model, str(path))
    else:
        (model, layout), card, given = graph.read_file(path), None, None
    integers.check(layout, str(path))
    side, alike = layout.inputs[0].shape[1], float_path.suffix != ".keras"
    if not alike:
        network = source.load(float_path, side)
        if card is not None and given is not None and train is not None:
            how = card.quantization
            faces, label = representative.again(train, card)
            equalize.equalize(network, faces, how.equalized)
            alike = not how.equalized or np.array_equal(golden.faces(faces, label, how.seed), given)
        float_model = lite.to_float(network)
        float_graph = graph.read(float_model, str(float_path))
    else:
        float_model, float_graph = graph.read_file(float_path)
    if float_graph.inputs[0].dtype != "FLOAT32" or float_graph.inputs[0].shape[1] != side:
        raise ModelError(
            f"{float_path}: expected the float network with {side} px input, got "
            f"{float_graph.inputs[0].dtype} {float_graph.inputs[0].shape}"
        )
    try:
        layers.paired(float_graph, layout)  # here, not in the table of layers: inference takes minutes
    except ModelError as cause:
        raise ModelError(f"{float_path}, {path}: {cause}") from cause
    return Sources(float_path, path, float_model, model, float_graph, layout, card and card.calibration, given, alike)


def verify(
    given: Sources,
    dataset: data.Dataset,
    split: Literal["train", "validation", "test"],
    *,
    limits: Limits,
    places: Places,
    reference_faces: int,
    layer_faces: int,
    work: Path,
    threads: int = 2,
) -> Report:
    """Return the report of `given` on `split`; files for other processes go to the folder `work`."""
    faces = scores.labelled(dataset, split, given.graph.inputs[0].shape[1])
    files = {"float": work / "float.tflite", "int8": work / "int8.tflite"}
    pack.write_file(files["float"], given.float_model)
    pack.write_file(files["int8"], given.model)
    present = [r for r in RUNTIMES if r in places.python]
    if not present:
        raise ConfigError("expected a TFLite runtime, got none; pip install ai-edge-litert")
    floats = places.outputs(Job(present[0], str(files["float"]), threads), faces.faces)
    coded = {}
    for name in present:
        _say(f"int8 in {name} {places.version[name]}, {len(faces.faces)} faces")
        coded[name] = places.outputs(Job(name, str(files["int8"]), threads), faces.faces)
    kept, label = faces.majority, faces.label[faces.majority]
    equal, skipped = _reference(places, str(files["int8"]), faces.faces[:reference_faces])
    rows: list[layers.Layer] = []
    if given.layers_compare:
        rows = layers.table(
            given.float_model, given.float_graph, given.model, given.graph, faces.faces[:layer_faces], runtime.choose()
        )
    else:
        skipped += (
            f"layers: expected a bundle that was made of faces in --data, all of them, to equalise {given.float_path} "
            "by, got another or a bare .tflite; name the file of quantize.convert --float as FLOAT",
        )

    def rows_with(how: Calibration) -> tuple[InRuntime, ...]:
        found = {f"{name} {places.version[name]}": scores.calibrated(z[kept], how) for name, z in coded.items()}
        return tuple(_in_runtime(name, floats[kept], p, label) for name, p in found.items())

    before, own = rows_with(Calibration()), given.calibration
    after = rows_with(own) if own is not None else ()
    ece = _ece(floats, coded[present[0]], faces.votes, own)
    return Report(
        float_model=str(given.float_path),
        model=str(given.path),
        edition=dataset.edition,
        split=split,
        n=len(label),
        float_accuracy=metrics.measure(metrics.softmax(floats[kept]), label).accuracy,
        float_calibrated=own and metrics.measure(scores.calibrated(floats[kept], own), label).accuracy,
        runtimes=before,
        calibrated=after,
        reference_faces=min(reference_faces, len(faces.faces)),
        reference_equal=equal,
        limits=limits,
        fitted_here=own is not None and own.split == split,
        ece=ece,
        layers=tuple(rows),
        failures=(*_failures(before, equal, limits), *_calibration_failures(after, ece, limits)),
        skipped=skipped,
    )


def _reference(places: Places, model: str, faces: Any) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether both runtimes' reference kernels give the same bits, or why that is not known."""
    missing = [name for name in RUNTIMES if name not in places.python]
    if missing:
        return None, (f"{missing[0]} is not here: name a Python that has it with --python or {elsewhere.ENVIRONMENT}",)
    _say(f"reference kernels of both runtimes, {len(faces)} faces")
    a, b = (places.outputs(Job(f"{name}-reference", model, 1), faces) for name in RUNTIMES)
    return bool(np.array_equal(a, b)), ()


def _in_runtime(name: str, floats: Any, q: Any, label: Any) -> InRuntime:
    """Return the row of probabilities `q` (n, 8), which integers gave, beside the `floats` logits."""
    p = metrics.softmax(floats)
    return InRuntime(
        runtime=name,
        accuracy=metrics.measure(q, label).accuracy,
        drop=scores.drop(p, q, label),
        agreement=metrics.agreement(p, q),
        mean_probability_error=float(np.abs(p - q).mean()),
        worst_probability_error=float(np.abs(p - q).max()),
    )


def _ece(floats: Any, ints: Any, votes: Any, calibration: Calibration | None) -> dict[str, float]:
    cases = {"float": (floats, Calibration()), "int8": (ints, Calibration())}
    if calibration is not None:
        cases["int8 calibrated"] = (ints, calibration)
    return {name: probabilities.ece(scores.calibrated(z, how), votes) for name, (z, how) in cases.items()}


def _failures(measured: tuple[InRuntime, ...], equal: bool | None, limits: Limits) -> Iterator[str]:
    for one in measured:
        yield from _dropped(one.runtime, one, limits)
        if one.agreement < limits.agreement:
            yield f"{one.runtime}: expected agreement of at least {limits.agreement:.2%}, got {one.agreement:.2%}"
        if one.mean_probability_error > limits.mean_error:
            yield (
                f"{one.runtime}: expected probabilities within {limits.mean_error:g} of float's on average, got "
                f"{one.mean_probability_error:.4f}"
            )
    if equal is False:
        yield "the reference kernels of the two runtimes differ"


def _calibration_failures(found: tuple[InRuntime, ...], ece: dict[str, float], limits: Limits) -> Iterator[str]:
    if not found:
        return
    for one in found:
        yield from _dropped(f"{one.runtime}, calibrated", one, limits)
    error, before = ece["int8 calibrated"], ece["int8"]
    if error > limits.ece:
        yield f"calibrated: expected an error against the votes of at most {limits.ece}, got {error:.4f}"
    if error > before + limits.ece_worse:
        yield (
            f"calibrated: expected an error against the votes of at most {limits.ece_worse} more than the {before:.4f} "
            f"without calibration, got {error:.4f}"
        )


def _dropped(name: str, one: InRuntime, limits: Limits) -> Iterator[str]:
    if one.drop.value > limits.drop:
        yield (
            f"{name}: expected a drop of at most {limits.drop} points, got {one.drop.value:.2f} "
            f"[{one.drop.low:.2f}, {one.drop.high:.2f}]"
        )


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command(
    epilog="Example: python -m quantize.verify final.keras bundle --data ~/ferplus --python ~/tfl/bin/python"
)
@click.argument("float_model", metavar="FLOAT", type=click.Path(path_type=Path))
@click.argument("model", metavar="INT8", type=click.Path(path_type=Path))
@with_data
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Look at test once for a model that you report.",
)
@click.option(
    "--drop", type=Number(-100, 100), default=Limits.drop, show_default=True, help="Most points lost against float."
)
@click.option(
    "--agreement", type=Number(0, 1), default=Limits.agreement, show_default=True, help="Smallest top-1 agreement."
)
@click.option(
    "--mean-error",
    type=Number(0, 1),
    default=Limits.mean_error,
    show_default=True,
    help="Largest mean difference of a probability from float's.",
)
@click.option(
    "--python", "pythons", multiple=True, help=f"Another Python that has a runtime [{elsewhere.ENVIRONMENT}]."
)
@click.option(
    "--reference-faces", type=click.IntRange(1), default=256, show_default=True, help="For the reference kernels."
)
@click.option("--layer-faces", type=click.IntRange(1), default=32, show_default=True, help="For the table of layers.")
@with_limit
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
@reported
def main(
    float_model: Path,
    model: Path,
    directory: Path,
    split: Literal["validation", "test"],
    drop: float,
    agreement: float,
    mean_error: float,
    pythons: tuple[str, ...],
    limit: int | None,
    json_wanted: bool,
    **sizes: int,
) -> None:
    """Compare INT8 (.tflite or bundle) with FLOAT (.keras or .tflite); exit 1 where it loses too much."""
    dataset = data.load(directory)
    given = read(float_model, model, dataset.train)
    dataset = data.head(dataset, limit)
    with tempfile.TemporaryDirectory(prefix="fer-") as work:
        report = verify(
            given,
            dataset,
            split,
            limits=Limits(drop, agreement, mean_error),
            places=elsewhere.places(pythons),
            work=Path(work),
            **sizes,
        )
    click.echo(as_json(report) if json_wanted else as_text(report))
    if report.failures:
        raise CheckFailed("; ".join(report.failures))


if __name__ == "__main__":
    main()
