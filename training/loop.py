"""Train one config, phase by phase, so that a kill at any moment costs at most one epoch."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from agent.errors import InputError, ModelError, first_line
from training import checkpoint, data, distill, keeper, models, progress, protocol, recipe, record
from training.batches import as_input
from training.config import Config
from training.torch_speed import use_fast_kernels


def fit(
    config: Config,
    dataset: data.Dataset,
    run: Path,
    *,
    resume: bool,
    verbose: int = 2,
    title: str | None = None,
    teacher: distill.Teacher | distill.OnView | None = None,
    workers: int = 1,
    start_from: Path | None = None,
    checkpoints: int = 2,
) -> keras.Model:
    """Train `config`, leaving run.json, the newest `checkpoints`, history.csv, best.keras and final.keras in `run`.

    `start_from` is a .keras file whose weights a new run begins with, and whose name goes to `run`/started_from.txt; a
    run that is resumed after its first epoch has its own. With a `title`, each epoch is a bar on stderr: Keras' own
    words, by `verbose`, go to stdout.

    Returns the model of the last phase's best validation epoch, with its input side fixed, in float32.

    Raises
    ------
    InputError
        `run` holds another run, or a run.json of another program; `start_from` is not of this network; or as
        `checkpoint.to_go_on`, `recipe.targets`
    """
    prepare(config)
    faces, target = recipe.targets(config, dataset.train, teacher)
    steps = recipe.steps_per_epoch(config, len(faces))
    run.mkdir(parents=True, exist_ok=True)
    done = checkpoint.to_go_on(run, resume=resume)
    mine = record.of(config, dataset, start_from, teacher.name if teacher else None)
    if resume:
        record.expect(run, mine, begun=done is not None)
    else:
        record.read(run)  # a file that is somebody else's is refused here, where it is still whole
    keep = keeper.Keeper(run, list(done.history) if done else [], config.early_stop_epochs, checkpoints)
    last, at_side = 0, None
    for phase in config.phases:
        keep.first, keep.side = last, phase.side
        last += phase.epochs
        start = len(keep.history)
        if start >= last or _stopped(config, keep.accuracies()):
            continue
        # Each phase starts from the checkpoint, as a resumed run does: Keras ends `fit` by changing the weights (ema).
        model = recipe.compiled(config, steps)
        if start and (done := checkpoint.latest(run)):
            done.restore(model)
        elif not start:
            _begin(run, mine, model, start_from)
        at_side = at_side or recipe.batches(config, faces, target, teacher, workers)  # only where an epoch follows
        batches = at_side(side=phase.side)
        model.fit(
            batches, epochs=last, initial_epoch=start, validation_data=_validation(dataset.validation, phase.side),
            validation_batch_size=256 - 256 % _devices(), verbose=verbose,
            shuffle=False,  # Batches does it; torch's loader would do it again, differently after a resume
            callbacks=[keeper.Starter(batches, config.seed), keeper.ValidateAveraged(), keep, *progress.bars(title)],
        )  # fmt: skip
    # Again: a kill between the last checkpoint and its row would leave it one epoch short.
    keeper.write_history(run / "history.csv", keep.history)
    return _finish(config, run)


def prepare(config: Config) -> None:
    """Set what is global in Keras: seeds, precision, kernels, and all devices that JAX sees."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    use_fast_kernels()
    if keras.backend.backend() == "jax" and len(devices := keras.distribution.list_devices()) > 1:
        if config.batch % len(devices):
            raise InputError(f"expected a batch that {len(devices)} devices can share, got {config.batch}")
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


def _begin(run: Path, mine: record.Record, model: keras.Model, start_from: Path | None) -> None:
    """Give `model` its first weights, and leave in `run` what they are."""
    started = run / "started_from.txt"
    if start_from is None:
        started.unlink(missing_ok=True)  # of a run that was killed in its first epoch
    else:
        started.write_text(_begin_with(model, start_from), encoding="utf-8")
    mine.write(run)


def _begin_with(model: keras.Model, path: Path) -> str:
    """Put the weights of the file `path` into `model` and return their name; InputError if it is another network."""
    try:
        given = checkpoint.read(path)
        model.set_weights(given.get_weights())
    except (ValueError, ModelError) as cause:
        what = f"{path}: expected a .keras file of the network {model.name}"
        raise InputError(f"{what}: {first_line(cause)}") from cause
    return str(given.name)


def _stopped(config: Config, accuracies: list[float]) -> bool:
    patience = config.early_stop_epochs
    return patience is not None and bool(accuracies) and not keeper.improved_lately(accuracies, patience)


def _validation(split: data.Split, side: int) -> tuple[npt.NDArray, npt.NDArray]:
    """Return validation faces and labels; several devices leave out the last few that they cannot share evenly."""
    kept, label = protocol.majority(split.votes)
    chosen = np.flatnonzero(kept)
    chosen = chosen[: len(chosen) - len(chosen) % _devices()]
    if not len(chosen):
        raise InputError(f"expected a validation face with a majority, got none in {len(kept)}; use more faces")
    return as_input(split.faces[chosen], side), np.eye(protocol.N_CLASSES, dtype=np.float32)[label[chosen]]


def _devices() -> int:
    """Return how many devices share a batch."""
    spread = keras.distribution.distribution()
    return 1 if spread is None else int(np.prod(spread.device_mesh.shape))


def _finish(config: Config, run: Path) -> keras.Model:
    """Save and return the best epoch's weights in a float32 model of the released input side."""
    best = checkpoint.read(run / "best.keras")
    keras.config.set_dtype_policy("float32")
    model = models.build(config, config.phases[-1].side)
    model.set_weights(best.get_weights())
    checkpoint.write(model, run / "final.keras")
    return model
