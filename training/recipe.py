"""Config + data → what is optimised: optimizer, targets, weights and the compiled model."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from agent.errors import InputError
from training import data, models, upright
from training.batches import Batches
from training.config import Config
from training.distill import OnView, Teacher


def steps_per_epoch(config: Config, n_faces: int) -> int:
    """Return whole batches an epoch, at least one, or raise InputError."""
    if n_faces < config.batch:
        raise InputError(
            f"expected at least one batch of {config.batch} faces, got {n_faces}; use more faces, or a smaller batch"
        )
    return n_faces // config.batch


def optimizer(config: Config, steps: int, rate: float | None = None) -> keras.optimizers.Optimizer:
    """Return the optimizer with the schedule of `config` at `steps` an epoch, or with a constant `rate`."""
    shared: dict[str, Any] = {"learning_rate": rate or schedule(config, steps), "weight_decay": config.weight_decay}
    if config.ema:
        shared |= {"use_ema": True, "ema_momentum": config.ema}
    chosen: keras.optimizers.Optimizer
    if config.optimizer == "sgd":
        chosen = keras.optimizers.SGD(momentum=0.9, nesterov=True, **shared)
    else:
        chosen = keras.optimizers.AdamW(**shared)
    # Decaying normalisation and biases only moves the scale around (He et al. 2019, "Bag of Tricks").
    chosen.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return chosen


def schedule(config: Config, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return linear warm-up and cosine decay to zero over all epochs of `steps` each."""
    warmup = max(1, round(config.warmup_epochs * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate * 0.01,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )


def compiled(config: Config, steps: int) -> keras.Model:
    """Return the untrained model, ready for `fit`; height and width stay open where the network allows it."""
    model = models.build(config, None if config.model == "resnet50" else config.phases[-1].side)
    model.compile(
        optimizer=optimizer(config, steps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        # Under mixup or a teacher this compares with the target's top class.
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def targets(
    config: Config, split: data.Split, teacher: Teacher | OnView | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return faces (n, 48, 48) and targets (n, 8), rows summing to 1, as the config's loss wants them.

    A teacher that looks at augmented faces has no part in these targets: `Batches` mixes it in.

    Raises
    ------
    InputError
        no face to train on; the config wants a teacher and there is none, or one of other faces; or there is one that
        it does not want
    """
    if teacher is not None and not config.teacher_share:
        raise InputError(f"config {config.name} has teacher_share 0: expected no --teacher, got one; set the share")
    faces, soft = data.soft_targets(split, config.train_on)
    if not len(faces):
        raise InputError(f"expected faces to train on ({config.train_on}), got none in {len(split.faces)}; use more")
    if config.loss == "majority":
        soft = np.eye(soft.shape[1], dtype=np.float32)[soft.argmax(axis=1)]
    if not config.teacher_share:
        return faces, soft
    if teacher is None:
        raise InputError(f"config {config.name} has teacher_share {config.teacher_share}: give a --teacher")
    if not isinstance(teacher, Teacher):
        return faces, soft
    if config.teacher_upright:
        raise InputError(f"config {config.name} has teacher_upright: expected models as --teacher, got a .npz")
    share = config.teacher_share
    taught = teacher.of(split.faces)[data.usable(split, config.train_on)]
    return faces, (1 - share) * soft + share * taught


def batches(
    config: Config,
    faces: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
    teacher: Teacher | OnView | None,
    workers: int = 1,
) -> Callable[..., Batches]:
    """Return what makes the batches of a phase of its `side`, of `targets` and the teacher that they were made for.

    All that does not depend on the side is done once, here: every face is turned upright, if the config wants it.
    """
    return partial(
        Batches, faces, target, batch=config.batch, how=config.augment, seed=config.seed, mixup=config.mixup,
        weights=class_weights(config, target), odds=draw_odds(config, target),
        teacher=teacher if isinstance(teacher, OnView) else None, teacher_share=config.teacher_share,
        upright=upright.turned(faces) if config.teacher_upright else None, workers=workers,
    )  # fmt: skip


def class_weights(config: Config, target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Return one loss weight a face, (n,), mean 1, inverse to its class' frequency; None where not asked for."""
    return _rarity(target) if config.balance == "weights" else None


def draw_odds(config: Config, target: npt.NDArray[np.float32]) -> npt.NDArray[np.float64] | None:
    """Return each face's odds of being drawn, (n,), sum 1, for a balanced sampler; None where not asked for."""
    if config.balance != "sampler":
        return None
    rarity = _rarity(target).astype(np.float64)
    return np.asarray(rarity / rarity.sum())


def _rarity(target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    label = target.argmax(axis=1)
    weight = 1 / np.maximum(np.bincount(label, minlength=target.shape[1]), 1)[label]
    return np.asarray(weight / weight.mean(), dtype=np.float32)
