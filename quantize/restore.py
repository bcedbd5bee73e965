"""`python -m quantize.restore BUNDLE CONFIG --data DIR --out START.keras`: a released int8 network as a float32 one.

What is in a bundle is enough to train on: `training.fit CONFIG --start START.keras`. The converter folded every batch
normalisation into the convolution before it; here each gets back the moments that its convolution really has on
training faces, and the scale and shift that undo them. The function stays the released one, up to the rounding of the
integer activations, and training finds normalised layers again.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from agent.errors import ModelError
from agent.vision import runtime
from agent.vision.model_card import Bundle
from quantize import graph, layers, representative
from training import config as configs
from training import data, moments
from training.cli import expect_writable, reported, with_data, with_start


def restore(bundle: Bundle, config: configs.Config, faces: npt.NDArray[np.uint8]) -> Any:
    """Return the network of `config` with the weights of `bundle`, its normalisation set by `faces` (n, h, w).

    Raises
    ------
    ModelError
        the bundle holds another network than `config` describes
    """
    import keras

    from training import models

    # By way of its description: layers that were used once more while building would name the wrong neighbours.
    # The name goes with the weights: training.fit --start keeps it for the card of what comes out.
    model = keras.Model.from_config(models.build(config, bundle.card.side).get_config() | {"name": bundle.card.id})
    kernels = _kernels(bundle)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    # The converter writes a residual block's shortcut first, Keras lists it third: names tell. Those of the other
    # networks are numbered from wherever Keras' counter stood, and their order is the same.
    by_name = {name: pair for name, *pair in kernels}
    named = all(layer.name in by_name for layer in convolutions)
    order = [layer.name for layer in (*convolutions, *dense)] if named else list(by_name)
    if len(order) != len(convolutions) + len(dense) or len(order) != len(by_name):
        raise ModelError(f"{bundle.card.id}: expected the network of config {config.name}, got {len(by_name)} layers")
    normalisations = {id(layer.input): layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"}
    pairs = []
    for layer, name in zip((*convolutions, *dense), order, strict=True):
        kernel, bias = by_name[name]
        if layer in dense and kernel.ndim == 4:  # the converter makes convolutions of dense layers
            kernel = kernel.reshape(-1, kernel.shape[-1])
        if kernel.shape != tuple(layer.kernel.shape):
            raise ModelError(
                f"{bundle.card.id}: {layer.name}: expected a kernel of {tuple(layer.kernel.shape)} as in config "
                f"{config.name}, got {kernel.shape}"
            )
        following = normalisations.get(id(layer.output))
        if following is None:
            layer.set_weights([kernel, bias])
            continue
        pairs.append(moments.Folded(layer, following, kernel, bias))
    if pairs:
        moments.unfold(model, pairs, representative.pinned(faces, bundle.card.side))
    return model


def _kernels(bundle: Bundle) -> list[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return (layer's name, kernel as Keras has it, bias) of every layer with weights, in the file's order."""
    inspector = layers.Inspector(bundle.model, runtime.choose())
    found = []
    for op in graph.read(bundle.model, bundle.card.id).ops:
        if not op.macs:
            continue
        kernel, *biases = (inspector.tensor(t.index).astype(np.float32) for t in op.inputs[1:3])
        kernel = kernel.T if op.name == "FULLY_CONNECTED" else kernel.transpose(1, 2, 3, 0)
        bias = biases[0] if biases else np.zeros(kernel.shape[-1], np.float32)  # the converter leaves out zeros
        found.append((op.inputs[1].name.split("/")[1].removesuffix("_1"), kernel, bias))
    return found


@click.command(epilog="Example: python -m quantize.restore agent/models/released resnet50 --data DIR --out start.keras")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("config")
@with_data
@with_start
@reported
def main(bundle: Path, config: str, directory: Path, out: Path, faces: int) -> None:
    """Write the float32 network of CONFIG with the weights of BUNDLE, to train on."""
    expect_writable(out, ".keras")
    settings = configs.load(config)
    chosen = data.some(data.load(directory).train, faces)
    released = Bundle.load(bundle)
    from training import checkpoint  # not at the top: it brings Keras, and --help need not wait for it

    checkpoint.write(restore(released, settings, chosen), out)
    click.echo(f"{out}: {settings.name}, {released.card.id}, moments of {len(chosen)} training faces")


if __name__ == "__main__":
    main()
