"""Run by tests in a process of its own, since a process has one Keras backend: `probe.py WHAT` prints JSON."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from tests.training.conftest import split
from training import data, loop, recipe
from training.batches import Batches
from training.config import Augment, Config, Phase

SMALL = Config(
    name="probe", model="cnn", phases=(Phase(1, 48),), batch=16, optimizer="adamw", learning_rate=1e-3,
    warmup_epochs=0.1,
    augment=Augment(flip=True, rotate=10, erase=0.5),
)  # fmt: skip


def step(config: Config) -> float:
    """Return the loss after two steps from weights that are the same on every backend, as is the data."""
    loop.prepare(config)
    faces, target = recipe.targets(config, split(32, 7))
    model = recipe.compiled(config, 2)
    rng = np.random.default_rng(0)
    # Biases and normalisation start alike everywhere; kernels are drawn by each backend in its own way.
    model.set_weights([w if w.ndim == 1 else _kernel(rng, w.shape) for w in model.get_weights()])
    batches = Batches(faces, target, batch=16, side=48, how=config.augment, seed=1)
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    x, y = batches[0]
    return float(model.evaluate(x, y, verbose=0, return_dict=True)["loss"])


def _kernel(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)


def curve(config: Config) -> list[dict[str, float]]:
    """Return the history of a run on made-up faces."""
    dataset = data.Dataset("label.csv", split(48, 0), split(25, 1), split(8, 2))
    with tempfile.TemporaryDirectory() as folder:
        loop.fit(config, dataset, Path(folder), resume=False, verbose=0)
        return json.loads((Path(folder) / f"epoch-{config.epochs:04d}" / "history.json").read_text())


def seeds() -> dict[str, object]:
    """Return the curves of seeds 1, 1 and 2, with everything random turned on."""
    busy = dataclasses.replace(
        SMALL, model="cnn_bn_dropout", phases=(Phase(1, 48),), mixup=0.2, ema=0.9, balance="sampler"
    )
    return {"a": curve(busy), "b": curve(busy), "other": curve(dataclasses.replace(busy, seed=2))}


def adamw(steps: int = 20) -> dict[str, float]:
    """Return how far weights after `steps` steps of the fused AdamW are from those of Keras' own (torch only)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5)).astype(np.float32), rng.normal(size=(32, 3)).astype(np.float32)

    def run() -> np.ndarray:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3)])
        optimizer = keras.optimizers.AdamW(1e-2, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, "mse")
        for _ in range(steps):
            model.train_on_batch(x, y)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    slow = run()
    loop.use_fast_kernels()
    fast = run()
    return {"difference": float(np.abs(slow - fast).max()), "largest": float(np.abs(slow).max())}


def step_device() -> dict[str, list[str]]:
    """Return the devices of the step that the fused AdamW hands to torch, for weights on "meta" (torch only)."""
    from types import SimpleNamespace

    import torch

    loop.use_fast_kernels()
    seen: set[str] = set()
    torch._fused_adamw_ = lambda *lists, **_: seen.update(str(step.device) for step in lists[5])
    weight = SimpleNamespace(value=torch.zeros(3, device="meta"))
    optimizer = SimpleNamespace(
        _get_variable_index=lambda _: 0, _use_weight_decay=lambda _: True, _momentums=[weight], _velocities=[weight],
        iterations=4, beta_1=0.9, beta_2=0.999, weight_decay=0.1, epsilon=1e-7,
    )  # fmt: skip
    type(keras.optimizers.AdamW())._parallel_update_step(optimizer, [weight.value], [weight], 0.1)
    return {"devices": sorted(seen)}


def kernels() -> dict[str, float]:
    """Return how far a training step of fast kernels is from Keras' own, relative to the largest value (torch only)."""
    inputs = np.random.default_rng(0).normal(size=(4, 9, 9, 6)).astype(np.float32)

    def run() -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        layers = keras.layers
        made = keras.Sequential([
            layers.Conv2D(6, 3, padding="same", activation="relu", bias_initializer="ones"),
            layers.BatchNormalization(), layers.MaxPooling2D(3, 2), layers.Conv2D(4, 1, strides=2),
            layers.Conv2D(5, 3, padding="same"),  # over 2 x 2 pixels
        ])  # fmt: skip
        made.build(inputs.shape)
        value = keras.ops.convert_to_tensor(inputs).requires_grad_()
        out = made(value, training=True)
        (out * out).sum().backward()
        return [np.asarray(v.detach()) for v in (out, value.grad, *(w.value.grad for w in made.trainable_variables))]

    slow = run()
    loop.use_fast_kernels()
    replaced = getattr(keras.layers.BatchNormalization.call, "fast", False)
    return {
        "difference": float(max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(slow, run(), strict=True))),
        "replaced": bool(replaced),
    }


WHAT = {
    "step": lambda: {"loss": step(SMALL)},
    "seeds": seeds,
    "kernels": kernels,
    "adamw": adamw,
    "step_device": step_device,
    "resnet": lambda: {"loss": step(dataclasses.replace(SMALL, model="resnet50", width=0.25))},
    "distributed": lambda: {
        "loss": step(SMALL),
        "devices": len(keras.distribution.list_devices()),
        "curve": curve(SMALL),
    },
}

if __name__ == "__main__":
    print(json.dumps(WHAT[sys.argv[1]]()))
