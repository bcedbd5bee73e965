"""`python -m training.fit CONFIG --data DIR`: train one config; a kill at any moment costs at most one epoch."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import click

from agent.errors import InputError
from training import cache, data, distill
from training.cli import reported, with_data, with_limit, with_teachers
from training.config import load


@click.command(epilog="Example: python -m training.fit cnn --data ~/ferplus --resume")
@click.argument("config")
@with_data
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for checkpoints [~/.cache/fer-agent/runs/NAME, or NAME-seedN with another seed than the config's].",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, if there is one.")
@click.option("--seed", type=int, default=None, help="Instead of the config's seed.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    default=None,
    help="Instead of the config's: bfloat16 pays on GPUs and CPUs with AVX-512 BF16.",
)
@with_teachers
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    default=None,
    help="Begin with the weights of this .keras file, say of quantize.restore.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads that prepare batches; a fast GPU wants several.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="Checkpoints that stay, one an epoch, say for training.average.",
)
@with_limit
@reported
def main(
    config: str,
    directory: Path,
    run: Path | None,
    resume: bool,
    seed: int | None,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] | None,
    teachers: tuple[Path, ...],
    start: Path | None,
    workers: int,
    keep: int,
    limit: int | None,
) -> None:
    """Train CONFIG (a name in training/configs/, or a file)."""
    settings = load(config)
    name = settings.name if seed in (None, settings.seed) else f"{settings.name}-seed{seed}"
    if seed is not None:
        settings = dataclasses.replace(settings, seed=seed)
    if precision is not None:
        settings = dataclasses.replace(settings, precision=precision)
    if start is not None and not start.is_file():
        raise InputError(f"{start}: no such file; expected a .keras file to begin with")
    dataset = data.head(data.load(directory), limit)
    teacher = distill.teacher_of(teachers)
    from training import checkpoint, loop  # not at the top: they bring Keras, which --help and a wrong name do without

    folder = run or cache.folder() / "runs" / name
    verbose = 1 if sys.stdout.isatty() else 2  # Keras' words go there
    with checkpoint.alone(folder):
        loop.fit(
            settings, dataset, folder, resume=resume, verbose=verbose,
            teacher=teacher, workers=workers, start_from=start, checkpoints=keep,
        )  # fmt: skip
    click.echo(folder / "final.keras")


if __name__ == "__main__":
    main()
