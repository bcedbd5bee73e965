"""`python -m training.average A.keras B.keras … --out START.keras`: one network with the mean of several ones' weights.

Epochs of one run at a rate that is held lie around a better place than each of them (Izmailov et al. 2018, arXiv
1803.05407). The statistics of batch normalisation are averaged like weights, not measured anew: a run that starts from
the file (`training.fit --start`) measures them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from agent.errors import InputError, UsageError
from training.cli import expect_writable, reported


def write_mean(paths: Sequence[Path], out: Path) -> str:
    """Write the network with the mean of the weights in these .keras files, checkpoints included; return its name.

    Raises
    ------
    ModelError
        a file is no Keras model
    InputError
        one holds another network than the first
    """
    from training import checkpoint  # not at the top: it brings Keras, which --help and a wrong name do without

    total: list[Any] = []
    for path in paths:
        model = checkpoint.read(path)
        weights = [value.astype(np.float64) for value in model.get_weights()]
        if total and [value.shape for value in weights] != [value.shape for value in total]:
            raise InputError(f"{path}: expected the network of {paths[0]}, got another one")
        total = weights if not total else [a + b for a, b in zip(total, weights, strict=True)]
    model.set_weights([value / len(paths) for value in total])
    checkpoint.write(model, out)
    return str(model.name)


@click.command(epilog="Example: python -m training.average RUN/epoch-*/model.keras --out start.keras")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (.keras).")
@reported
def main(models: tuple[Path, ...], out: Path) -> None:
    """Write a network with the mean of the weights of MODELS, .keras files of one network (training.fit --keep)."""
    if len(models) < 2:
        raise UsageError("expected two models or more, got one; its mean is itself")
    expect_writable(out, ".keras")
    for path in models:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected a .keras file")
    click.echo(f"{out}: {write_mean(models, out)}, the mean of {len(models)}")


if __name__ == "__main__":
    main()
