"""Which tensors of a network have the same channels: the streams that go through ReLU, pooling, normalisation and sums.

What is done to a channel where it is made, a factor (`quantize.equalize`) or its removal (`quantize.narrow`), has to be
done in every layer that reads it. A residual stream goes from its first block to the layers that read it, with all
branches that are added to it.
"""

from typing import Any, Final

from agent.errors import ModelError

PASSING: Final = frozenset({"MaxPooling2D", "ZeroPadding2D", "Dropout", "GlobalAveragePooling2D", "Add"})
"""Layers that give a factor on their input's channels on to their output's."""
MAKING: Final = frozenset({"Conv2D", "Dense"})
"""Layers that read a stream and make one."""
_THROUGH: Final = (None, "linear", "relu", "leaky_relu")
"""Activations that let a positive factor through."""


class Streams:
    """Of a Keras network of training/models.py."""

    def __init__(self, model: Any) -> None:
        import keras

        steps = model.operations  # layers, and bare keras.ops of networks that are not ours
        for layer in steps:
            if len(layer._inbound_nodes) > 1:
                raise ModelError(f"{model.name}: expected each layer to be used once, got {layer.name} used again")
        maker = {id(layer.output): layer for layer in steps}
        self._inputs = {layer.name: [maker[id(t)] for t in keras.tree.flatten(layer.input)] for layer in steps[1:]}
        readers: dict[str, list[Any]] = {layer.name: [] for layer in steps}
        for layer in steps[1:]:
            for giver in self._inputs[layer.name]:
                readers[giver.name].append(layer)
        self.normalised = {
            layer.name: readers[layer.name][0]
            for layer in steps
            if type(layer).__name__ in MAKING and _kinds(readers[layer.name]) == {"BatchNormalization"}
        }
        """Convolutions whose own output is no tensor of the integer network → the normalisation after it, which is."""
        normalising = {layer.name for layer in self.normalised.values() if layer.scale and layer.center}
        self.kept = [
            layer
            for layer in steps
            if type(layer).__name__ in {"Conv2D", "BatchNormalization", "ReLU", "Activation", "Add"}
            and layer.name not in self.normalised
            and not _kinds(readers[layer.name]) <= {"ReLU", "Activation"}
        ]
        """Layers whose outputs the integer network stores: what is activated next is not."""
        self._root = {layer.name: layer.name for layer in steps}
        self._fixed = set()
        for layer in steps:
            if (layer.name in normalising or _gives_on(layer)) and layer.name not in self.normalised:
                for giver in self._inputs[layer.name]:
                    if giver.name not in self.normalised:
                        self._root[self._find(giver.name)] = self._find(layer.name)
        for layer in steps:
            whole = layer.name in normalising or _gives_on(layer) or makes(layer)
            if not whole:
                self._fixed |= {self._find(giver.name) for giver in self._inputs.get(layer.name, [])}
            if not whole or getattr(getattr(layer, "activation", None), "__name__", None) not in _THROUGH:
                self._fixed.add(self._find(layer.name))
        self._fixed.add(self._find(steps[-1].name))  # logits

    def made_by(self, layer: Any) -> str | None:
        """Return the stream of what `layer` gives, normalised; None where its channels must stay as they are."""
        found = self._find(self.normalised.get(layer.name, layer).name)
        return None if found in self._fixed else found

    def read_by(self, layer: Any) -> str | None:
        """Return the stream of what `layer` takes, or None."""
        return self.made_by(self.giver(layer))

    def giver(self, layer: Any) -> Any:
        """Return the layer whose output `layer`, which has one input, takes."""
        (giver,) = self._inputs[layer.name]
        return giver

    def _find(self, name: str) -> str:
        while self._root[name] != name:
            name = self._root[name]
        return name


def makes(layer: Any) -> bool:
    """True for a layer that reads every channel of its input for every one that it makes."""
    return type(layer).__name__ in MAKING and getattr(layer, "groups", 1) == 1


def _gives_on(layer: Any) -> bool:
    """True for a layer that gives a positive factor on. A normalisation does by its own scale, right after what makes
    the channels alone: elsewhere its moments are those of channels without the factor."""
    kind = type(layer).__name__
    if kind == "ReLU":
        return layer.max_value is None and not layer.threshold
    return kind in PASSING or (kind == "Activation" and layer.get_config()["activation"] == "relu")


def _kinds(layers: list[Any]) -> set[str]:
    return {type(layer).__name__ for layer in layers}
