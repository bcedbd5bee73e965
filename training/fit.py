"""`python -m training.fit CONFIG --data DIR`: train one config; a kill at any moment costs at most one epoch."""

import csv
import math
import sys
from pathlib import Path

import click
import keras
import numpy as np
import numpy.typing as npt

from agent.errors import CannotWriteError, FerAgentError, InputError
from training import checkpoint, data, models, protocol
from training.batches import Batches, as_input
from training.config import Config, load
from training.torch_speed import use_fast_kernels


def steps_per_epoch(config: Config, n_faces: int) -> int:
    """Return whole batches an epoch."""
    return n_faces // config.batch


def optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer with linear warm-up and cosine decay over `steps` an epoch."""
    warmup = max(1, round(config.warmup_epochs * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate * 0.01,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    chosen: keras.optimizers.Optimizer
    if config.optimizer == "sgd":
        chosen = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    else:
        chosen = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    # Decaying normalisation and biases only moves the scale around (He et al. 2019, "Bag of Tricks").
    chosen.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return chosen


def targets(config: Config, split: data.Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return faces (n, 48, 48) and targets (n, 8) as the config's loss wants them."""
    faces, soft = data.soft_targets(split, config.train_on)
    if config.loss == "soft":
        return faces, soft
    return faces, np.eye(soft.shape[1], dtype=np.float32)[soft.argmax(axis=1)]


def class_weights(config: Config, target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Return one weight a face, (n,), mean 1, inverse to its class' frequency; None where not asked for."""
    if config.class_weights == "none":
        return None
    label = target.argmax(axis=1)
    weight = 1 / np.maximum(np.bincount(label, minlength=target.shape[1]), 1)[label]
    return np.asarray(weight / weight.mean(), dtype=np.float32)


class _Keeper(keras.callbacks.Callback):
    """After each epoch: history, checkpoint, and the best model so far."""

    def __init__(self, run: Path, history: list[dict[str, float]], patience: int | None) -> None:
        super().__init__()
        self._run, self.history, self._patience = run, history, patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        record = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        if not math.isfinite(record["loss"]):
            raise FerAgentError(f"epoch {epoch + 1}: the loss is {record['loss']}; lower learning_rate")
        best = max((r["val_accuracy"] for r in self.history), default=-1.0)
        self.history.append(record)
        if record["val_accuracy"] > best:
            temporary = self._run / "best.partial.keras"
            self.model.save(temporary, include_optimizer=False)
            temporary.replace(self._run / "best.keras")
        checkpoint.save(self._run, self.model, self.history)
        _write_history(self._run / "history.csv", self.history)
        if self._patience is not None and not improved_lately(self.history, self._patience):
            self.model.stop_training = True


def improved_lately(history: list[dict[str, float]], patience: int) -> bool:
    """Return whether the best validation accuracy is among the last `patience` epochs."""
    values = [record["val_accuracy"] for record in history]
    return len(values) - 1 - int(np.argmax(values)) < patience


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with open(path.with_suffix(".partial"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(history)
    path.with_suffix(".partial").replace(path)


def fit(config: Config, dataset: data.Dataset, run: Path, *, resume: bool, verbose: int = 2) -> keras.Model:
    """Train `config`, leaving checkpoints, history.csv, best.keras and final.keras in `run`.

    Returns the model of the best validation epoch, with its input side fixed.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    use_fast_kernels()
    faces, target = targets(config, dataset.train)
    done = checkpoint.latest(run) if resume else None
    open_side = config.model == "resnet50"
    if done is None:
        run.mkdir(parents=True, exist_ok=True)
        model = models.build(config, None if open_side else config.phases[-1].side)
        model.compile(
            optimizer=optimizer(config, steps_per_epoch(config, len(faces))),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=keras.backend.backend() == "jax",
        )
    else:
        model = done.load()
    keeper = _Keeper(run, list(done.history) if done else [], config.early_stop_epochs)
    weights = class_weights(config, target)
    first = 0
    for phase in config.phases:
        last = first + phase.epochs
        start = max(first, len(keeper.history))
        stopped = (
            config.early_stop_epochs
            and keeper.history
            and not improved_lately(keeper.history, config.early_stop_epochs)
        )
        if start < last and not stopped:
            batches = Batches(
                faces, target, batch=config.batch, side=phase.side, how=config.augment,
                seed=config.seed, epoch=start, weights=weights,
            )  # fmt: skip
            validation = _validation(dataset.validation, phase.side)
            model.fit(
                batches, epochs=last, initial_epoch=start, validation_data=validation,
                validation_batch_size=256, callbacks=[keeper], verbose=verbose,
            )  # fmt: skip
        first = last
    return _finish(config, run)


def _validation(split: data.Split, side: int) -> tuple[npt.NDArray, npt.NDArray]:
    kept, label = protocol.majority(split.votes)
    return as_input(split.faces[kept], side), np.eye(protocol.N_CLASSES, dtype=np.float32)[label[kept]]


def _finish(config: Config, run: Path) -> keras.Model:
    """Save and return the best epoch's weights in a float32 model of the released input side."""
    best = keras.saving.load_model(run / "best.keras", compile=False)
    keras.config.set_dtype_policy("float32")
    model = models.build(config, config.phases[-1].side)
    model.set_weights(best.get_weights())
    model.save(run / "final.partial.keras")
    (run / "final.partial.keras").replace(run / "final.keras")
    return model


@click.command(epilog="Example: python -m training.fit cnn --data ~/ferplus --resume")
@click.argument("config")
@click.option(
    "--data", "directory", type=click.Path(path_type=Path), required=True, help="FER2013 + FERPlus, either layout."
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for checkpoints [~/.cache/fer-agent/runs/NAME].",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, if there is one.")
@click.option("--limit", type=int, default=None, help="Use only this many faces a split (to try a command).")
def main(config: str, directory: Path, run: Path | None, resume: bool, limit: int | None) -> None:
    """Train CONFIG (a name in training/configs/, or a file)."""
    try:
        settings = load(config)
        dataset = data.load(directory)
        if limit is not None:
            dataset = data.head(dataset, limit)
        folder = run or Path.home() / ".cache" / "fer-agent" / "runs" / settings.name
        if not resume and checkpoint.latest(folder):
            raise InputError(f"{folder}: holds a run already; add --resume, or name another folder with --run")
        fit(settings, dataset, folder, resume=resume, verbose=1 if sys.stdout.isatty() else 2)
        click.echo(f"{folder / 'final.keras'}", err=False)
    except FerAgentError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(CannotWriteError.exit_code)


if __name__ == "__main__":
    main()
