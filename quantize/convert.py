"""`python -m quantize.convert MODEL.keras --data DIR --out BUNDLE`: a trained model becomes a checked int8 bundle."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from agent.cli._options import Number
from agent.emotions import LABELS
from agent.errors import InputError, ModelError
from agent.vision import runtime
from agent.vision.card import Calibration, Card, Metric, Quantization, Tensor, Training
from agent.vision.model_card import Bundle
from agent.vision.preprocess import version
from quantize import calibrate, equalize, golden, graph, integers, lite, pack, representative, scores, source
from training import config, data, record
from training.cli import expect_writable, reported, with_data, with_limit
from training.network import Network


@dataclass(frozen=True)
class Options:
    """How to convert."""

    side: int | None = None
    """Network input, pixels; None takes the model's own."""
    input_type: Literal["int8", "uint8"] = "int8"
    faces: int = representative.FACES
    """Representative faces, all classes together."""
    seed: int = 1
    equalize: float = 1.0
    """Strength 0-1, see `quantize.equalize`."""
    threads: int = 2
    test: bool = False
    """Whether to measure on the test split: once, for a model that is reported."""


@dataclass(frozen=True)
class Converted:
    """Everything that goes into a bundle, and the float network that it is measured against."""

    card: Card
    model: bytes
    golden: golden.Goldens
    float_model: bytes


def convert(path: Path, dataset: data.Dataset, options: Options) -> Converted:
    """Return the integer network of the .keras file at `path`, calibrated and measured on `dataset`.

    Raises
    ------
    InputError, ModelError
        see `source.load`, `record.read`, `representative.choose`, `lite.to_integer`, `integers.check`, `_check_batches`
    """
    model = source.load(path, options.side)
    side, origin = model.input_shape[1], _training(path, model.name, dataset)
    chosen, label = representative.choose(dataset.train, options.faces, options.seed)
    faces = representative.pinned(chosen, side)
    _say(f"converting {model.name}, {side} px, {len(faces)} representative faces")
    equalized = equalize.equalize(model, faces, options.equalize)
    if equalized != options.equalize:
        _say(f"warning: the channels of {model.name} are not equalized: it holds layers for which that is not known")
    float_model = lite.to_float(model)
    model_bytes = lite.to_integer(model, faces, input_type=options.input_type)
    layout = graph.read(model_bytes, path.name)
    integers.check(layout, path.name)
    _check_batches(model_bytes, faces, path.name)
    out = _tensor(layout.outputs[0])
    goldens, allowed = golden.make(
        model_bytes, runtime.choose(), golden.faces(faces, label, options.seed), faces, out.scale
    )
    calibration, metrics = _measure(model_bytes, float_model, dataset, side, options)
    card = Card(
        format="fer-bundle/1",
        id=_id(model.name, side, model_bytes),
        labels=LABELS,
        preprocess_version=version(side),
        side=side,
        input=_tensor(layout.inputs[0]),
        output=out,
        sha256=hashlib.sha256(model_bytes).hexdigest(),
        bytes=len(model_bytes),
        parameters=layout.parameters,
        macs=layout.macs,
        training=origin,
        quantization=Quantization(
            method="post-training, min-max activation ranges, those of residual branches by the sum's error, "
            "per-channel weights",
            equalized=equalized,
            representative=len(faces),
            per_class=tuple(int(v) for v in np.bincount(label, minlength=len(LABELS))),
            seed=options.seed,
            ops=layout.counts,
            converter=lite.version(),
        ),
        calibration=calibration,
        golden=allowed,
        metrics=tuple(metrics),
    )
    return Converted(card, model_bytes, goldens, float_model)


def _measure(
    model: bytes, float_model: bytes, dataset: data.Dataset, side: int, options: Options
) -> tuple[Calibration, list[Metric]]:
    """Fit the calibration on validation, then measure both networks on validation and, where asked for, on test."""
    chosen = runtime.choose()
    networks = [Network(content, chosen, threads=options.threads) for content in (float_model, model)]
    calibration, metrics = Calibration(), []
    for name in ("validation", "test") if options.test else ("validation",):
        faces = scores.labelled(dataset, name, side)
        floats, ints = (
            network.logits(faces.faces, f"{name}, {kind}")
            for network, kind in zip(networks, ("float", "int8"), strict=True)
        )
        if name == "validation":
            calibration = calibrate.fit(ints, faces)
        metrics += scores.rows(faces, floats, ints, calibration, scores.runtime_name(chosen))
    return calibration, metrics


def _check_batches(model: bytes, faces: npt.NDArray[np.uint8], name: str) -> None:
    """Raise ModelError unless several faces at a time, as the device runs them, are the same as one by one."""
    try:
        one, four = (Network(model, runtime.choose(), batch=n).raw(faces[:4]) for n in (1, 4))
    except RuntimeError as cause:  # where a feature map is one pixel, the converter writes the batch into a RESHAPE
        raise ModelError(f"{name}: cannot take several faces at a time, choose a larger side: {cause}") from cause
    if not np.array_equal(one, four):
        raise ModelError(f"{name}: expected the same logits for four faces at a time as one by one")


def _tensor(tensor: graph.Tensor) -> Tensor:
    assert tensor.scale is not None  # integers.check saw both
    assert tensor.zero_point is not None
    return Tensor(dtype="int8" if tensor.dtype == "INT8" else "uint8", scale=tensor.scale, zero_point=tensor.zero_point)


def _id(name: str, side: int, model: bytes) -> str:
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name.lower())
    return f"{safe}-{side}px-int8-{hashlib.sha256(model).hexdigest()[:8]}"


def _training(path: Path, name: str, dataset: data.Dataset) -> Training:
    """Return where the model comes from, by what `training.fit` left beside it; without run.json, by its name."""
    run, started = record.read(path.parent), path.parent / "started_from.txt"
    if run is not None:
        edition, faces = run.edition, run.faces
    else:
        edition, faces = dataset.edition, int(data.usable(dataset.train, _train_on(name)).sum())
    return Training(
        config=name,
        data=f"FER2013 + FERPlus, votes of {edition}",
        protocol="majority (FERPlus): single votes zeroed, winner over half of the rest, no unknown or non-face",
        faces=faces,
        epochs=_epochs(path.parent / "history.csv"),
        teacher=run.teacher if run else None,
        started_from=started.read_text(encoding="utf-8") if started.is_file() else None,
    )


def _train_on(name: str) -> Literal["majority", "all"]:
    """Return which faces the config `name` trains on; those of the protocol where there is no such config."""
    try:
        return config.load(name).train_on
    except InputError:
        return "majority"


def _epochs(history: Path) -> int | None:
    """Return how many epochs the history beside a model holds, or None."""
    if not history.is_file():
        return None
    with open(history, newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.DictReader(file))


def summary(bundle: Bundle) -> str:
    """Return what the card says, for a terminal."""
    card = bundle.card
    lines = [
        f"{bundle.path}: {card.id}, {card.bytes / 1e6:.1f} MB, {card.parameters / 1e6:.1f} M parameters, "
        f"{card.macs / 1e6:.0f} M MACs"
    ]
    for m in card.metrics:
        interval = f" [{m.ci95[0]:.4f}, {m.ci95[1]:.4f}]" if m.ci95 else ""
        lines.append(f"  {m.split:<10} {m.faces:<8} {m.model:<18} {m.name:<22} {m.value:.4f}{interval}  n = {m.n}")
    return "\n".join(lines)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command(epilog="Example: python -m quantize.convert final.keras --data ~/ferplus --out bundle")
@click.argument("model", type=click.Path(path_type=Path))
@with_data
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle to write.")
@click.option("--side", type=click.IntRange(16, 512), default=None, help="Input, pixels [the model's own].")
@click.option(
    "--input",
    "input_type",
    type=click.Choice(["int8", "uint8"]),
    default="int8",
    show_default=True,
    help="Type of the grey levels.",
)
@click.option(
    "--faces", type=click.IntRange(8), default=representative.FACES, show_default=True, help="Representative faces."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of their choice.")
@click.option(
    "--equalize",
    type=Number(0, 1),
    default=Options.equalize,
    show_default=True,
    help="How far channels of one tensor get one range; 0 is not at all.",
)
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="For measuring.")
@click.option(
    "--test/--no-test",
    default=Options.test,
    show_default=True,
    help="Measure on the test split, too: once, and only a model to be reported.",
)
@click.option(
    "--float", "float_out", type=click.Path(path_type=Path), default=None, help="Write the float .tflite here too."
)
@with_limit
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@reported
def main(
    model: Path, directory: Path, out: Path, float_out: Path | None, limit: int | None, force: bool, **how: Any
) -> None:
    """Convert MODEL, a .keras file of training.fit, to a full-integer int8 bundle."""
    pack.refuse_existing(out, force)
    if float_out is not None:
        expect_writable(float_out, ".tflite")
    source.check_file(model)
    source.tensorflow_keras()
    dataset = data.head(data.load(directory), limit)
    made = convert(model, dataset, Options(**how))
    click.echo(summary(pack.write(out, made.card, made.model, made.golden, force=force)))
    if float_out is not None:
        pack.write_file(float_out, made.float_model)


if __name__ == "__main__":
    main()
