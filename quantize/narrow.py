"""`python -m quantize.narrow WIDE.keras CONFIG --data DIR --out START.keras`: a trained network's most used channels.

A network of half the width, for a Coral's on-chip memory, need not begin at random: `training.fit CONFIG --start
START.keras` begins with the channels of the wide one that carry most. Structured pruning, as Li et al. 2017 (arXiv
1608.08710) and Luo et al. 2017 (ThiNet, arXiv 1707.06342): whole channels go, where they are made and wherever they are
read, and training mends what is left.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from agent.errors import ModelError
from quantize import representative, source
from quantize.streams import MAKING, Streams
from training import config as configs
from training import data, moments
from training.cli import expect_writable, reported, with_data, with_start


def narrow(wide: Any, config: configs.Config, faces: npt.NDArray[np.uint8]) -> Any:
    """Return the network of `config` with those channels of `wide`, a Keras network, that carry most for `faces`.

    What a channel carries: its variance over `faces`, uint8 (n, side, side, 1), times the squared weights that read it,
    as a share of all that the reading layer takes; summed over the layers that read it.

    Raises
    ------
    ModelError
        `config` describes another network, or a wider one
    """
    import keras

    from training import models

    built = models.build(config, wide.input_shape[1])
    small = keras.Model.from_config(built.get_config() | {"name": f"{wide.name}.narrowed"})
    if [type(layer) for layer in wide.layers] != [type(layer) for layer in small.layers]:
        raise ModelError(f"{wide.name}: expected the layers of config {config.name}, got others")
    twins = {layer.name: twin for layer, twin in zip(wide.layers, small.layers, strict=True)}
    making = [layer for layer in wide.layers if type(layer).__name__ in MAKING]
    streams = Streams(wide)
    carried = _carried(wide, streams, making, faces)
    kept = {}
    for layer in making:
        has, wanted = layer.kernel.shape[-1], twins[layer.name].kernel.shape[-1]
        if wanted > has:
            raise ModelError(f"{wide.name}: {layer.name}: config {config.name} wants {wanted} channels, it has {has}")
        if (made := streams.made_by(layer)) is not None:
            kept[made] = np.sort(np.argsort(-carried[made], kind="stable")[:wanted])
    for layer in making:
        kernel, *bias = layer.get_weights()
        made = kept.get(streams.made_by(layer), slice(None))
        read = kept.get(streams.read_by(layer), slice(None))
        twins[layer.name].set_weights([kernel[..., read, :][..., made], *[values[made] for values in bias]])
        if (normalisation := streams.normalised.get(layer.name)) is not None:
            twins[normalisation.name].set_weights([values[made] for values in normalisation.get_weights()])
    return small


def _carried(
    model: Any, streams: Streams, readers: list[Any], faces: npt.NDArray[np.uint8]
) -> dict[str | None, npt.NDArray[np.float64]]:
    """Return for each stream, (channels,), what its channels carry to the `readers`."""
    chosen = [layer for layer in readers if streams.read_by(layer) is not None]
    found = moments.moments(model, [streams.giver(layer) for layer in chosen], faces)
    carried: dict[str | None, npt.NDArray[np.float64]] = {}
    for layer, (_, varied) in zip(chosen, found, strict=True):
        kernel = layer.get_weights()[0].astype(np.float64)
        if (normalisation := streams.normalised.get(layer.name)) is not None:
            gamma, _, _, variance = normalisation.get_weights()
            kernel = kernel * gamma / np.sqrt(variance + normalisation.epsilon)
        weight = (kernel**2).sum(axis=-1).reshape(-1, kernel.shape[-2]).sum(axis=0)
        shares = varied * weight
        stream = streams.read_by(layer)
        carried[stream] = carried.get(stream, 0) + shares / max(shares.sum(), np.finfo(np.float64).tiny)
    return carried


@click.command(epilog="Example: python -m quantize.narrow final.keras resnet50_half --data DIR --out start.keras")
@click.argument("wide", type=click.Path(path_type=Path))
@click.argument("config")
@with_data
@with_start
@reported
def main(wide: Path, config: str, directory: Path, out: Path, faces: int) -> None:
    """Write the network of CONFIG, narrower than WIDE, with the channels of WIDE that carry most, to train on."""
    expect_writable(out, ".keras")
    settings = configs.load(config)
    model = source.load(wide)
    chosen = data.some(data.load(directory).train, faces)
    small = narrow(model, settings, representative.pinned(chosen, model.input_shape[1]))
    from training import checkpoint  # not at the top: it brings Keras, whose backend `source.load` chooses

    checkpoint.write(small, out)
    click.echo(
        f"{out}: {settings.name}, {small.count_params() / 1e6:.1f} M of {model.count_params() / 1e6:.1f} M parameters "
        f"of {model.name}, chosen by {len(chosen)} training faces"
    )


if __name__ == "__main__":
    main()
