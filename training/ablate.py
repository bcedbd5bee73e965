"""`python -m training.ablate CONFIG --vary FIELD=VALUE,VALUE…`: what one change does, with seeds and costs, as a table.

One factor at a time: the config as it is, and the config with each change alone, trained with the same seeds. Only
validation is looked at.
"""

import ast
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from agent.errors import InputError, UsageError
from agent.trust.files import write_atomically
from training import data, distill, predict, protocol, record
from training.cli import reported, with_data, with_limit, with_teachers
from training.config import Augment, Config, Phase, load
from training.evaluate import evaluate

BASE: Final = "as configured"


@dataclass(frozen=True)
class Result:
    """One variant with one seed."""

    accuracy: float
    """On validation, majority protocol, 0-1, of the epoch that is best there: a little too good, in every variant."""
    macro_f1: float
    """0-1."""
    minutes: float
    """Wall time of training, without what an earlier, killed call had done."""


def variants(config: Config, changes: Sequence[str]) -> dict[str, Config]:
    """Return {name: config}, the unchanged one first and none twice; a change is "field=value,value" or
    "augment.field=value".

    Raises
    ------
    UsageError
        no such field, or a value of another kind than the field's
    """
    found = {BASE: config}
    for change in changes:
        name, equals, values = change.partition("=")
        if not equals or not values:
            raise UsageError(f"--vary {change}: expected FIELD=VALUE,VALUE…, such as balance=weights,sampler")
        for text in values.split(","):
            changed = _changed(config, name, text)
            if changed not in found.values():
                found[f"{name} = {text}"] = changed
    if len(found) == 1:
        raise UsageError("--vary: every value is what the config has already; nothing to compare")
    return found


def _changed(config: Config, name: str, text: str) -> Config:
    owner: Config | Augment = config.augment if name.startswith("augment.") else config
    field = name.removeprefix("augment.")
    known = [f.name for f in dataclasses.fields(owner) if f.name not in ("name", "seed", "phases", "augment")]
    if field not in known:
        raise UsageError(f"--vary {name}: no such field; there are {', '.join(known)}")
    value = _value(text)
    if isinstance(getattr(owner, field), float) and type(value) is int:
        value = float(value)
    try:
        changed: Any = dataclasses.replace(owner, **{field: value})
    except InputError as cause:
        raise UsageError(f"--vary {name}={text}: {cause}") from cause
    return dataclasses.replace(config, augment=changed) if owner is config.augment else changed


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def run(
    config: Config, dataset: data.Dataset, folder: Path, teacher: distill.Teacher | distill.OnView | None = None
) -> Result:
    """Train `config` in `folder`, going on where a killed call stopped; a finished run is not repeated.

    Raises
    ------
    InputError
        `folder` holds another run, or as `fit`
    """
    teacher = teacher if config.teacher_share else None
    done = folder / "result.json"
    if done.is_file():
        record.expect(folder, record.of(config, dataset, teacher=teacher.name if teacher else None), begun=True)
        with suppress(ValueError, TypeError):  # cut short by a power failure: measured again
            return Result(**json.loads(done.read_text()))
    import keras  # not at the top: --help and a wrong change do without it

    from training import checkpoint, loop

    keras.utils.clear_session()  # the networks of the runs before
    start = time.monotonic()
    with checkpoint.alone(folder):
        loop.fit(config, dataset, folder, resume=True, verbose=0, title=folder.name, teacher=teacher)
    minutes = (time.monotonic() - start) / 60
    network = predict.load(folder / "final.keras", title=f"{folder.name}, validation")
    scores = evaluate(network, dataset.validation)["majority"]
    result = Result(scores.accuracy.value, scores.macro_f1.value, minutes)
    write_atomically(done, json.dumps(dataclasses.asdict(result)).encode(), 0o644)
    return result


def table(results: dict[str, list[Result]], n: int) -> Iterator[str]:
    """Yield a Markdown table of {variant: one result a seed}, seeds in one order; `n` validation faces."""
    seeds = len(results[BASE])
    yield f"| variant | validation accuracy, n = {n:,}, mean of {seeds} seeds | change, points | macro-F1 | minutes |"
    yield "|---|---|---|---|---|"
    base = np.array([r.accuracy for r in results[BASE]])
    for name, rows in results.items():
        accuracy = np.array([r.accuracy for r in rows])
        change = 100 * (accuracy - base)
        by_seed = "" if name == BASE else f"**{change.mean():+.1f}** (" + ", ".join(f"{c:+.1f}" for c in change) + ")"
        f1, minutes = np.mean([(r.macro_f1, r.minutes) for r in rows], axis=0)
        yield f"| {name} | {accuracy.mean():.4f} | {by_seed} | {f1:.3f} | {minutes:.1f} |"


def _shortened(config: Config, epochs: int | None, side: int | None) -> Config:
    if epochs is None and side is None:
        return config
    return dataclasses.replace(config, phases=(Phase(epochs or config.epochs, side or config.phases[-1].side),))


@click.command(
    epilog="Example: python -m training.ablate cnn --vary balance=weights,sampler --epochs 4 --seed 1 --seed 2 "
    "--data DIR --out runs/balance"
)
@click.argument("config")
@click.option("--vary", "changes", multiple=True, required=True, metavar="FIELD=VALUE,…", help="May be repeated.")
@with_data
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and table.md.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2), show_default=True, help="May be repeated.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Instead of the config's, in one phase.")
@click.option("--side", type=click.IntRange(min=16), default=None, help="Input, pixels, instead of the config's.")
@with_teachers
@with_limit
@reported
def main(
    config: str, changes: tuple[str, ...], directory: Path, out: Path, seeds: tuple[int, ...],
    epochs: int | None, side: int | None, teachers: tuple[Path, ...], limit: int | None,
) -> None:  # fmt: skip
    """Train CONFIG, and CONFIG with each change alone; print validation accuracy, the change and the cost."""
    chosen = variants(_shortened(load(config), epochs, side), changes)
    if teachers and not any(variant.teacher_share for variant in chosen.values()):
        raise InputError(f"config {config} and its changes have teacher_share 0: expected no --teacher, got one")
    dataset = data.head(data.load(directory), limit)
    teacher = distill.teacher_of(teachers)
    results: dict[str, list[Result]] = {name: [] for name in chosen}
    for seed in dict.fromkeys(seeds):  # one that is named twice is one run, and no second witness
        for name, variant in chosen.items():
            folder = out / f"{name.replace(' ', '')}-seed{seed}"
            result = run(dataclasses.replace(variant, seed=seed), dataset, folder, teacher)
            click.echo(f"{name}, seed {seed}: {result.accuracy:.4f} in {result.minutes:.1f} minutes", err=True)
            results[name].append(result)
    lines = "\n".join(table(results, int(protocol.majority(dataset.validation.votes)[0].sum())))
    (out / "table.md").write_text(lines + "\n", encoding="utf-8")
    click.echo(lines)


if __name__ == "__main__":
    main()
