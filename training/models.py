"""The networks. Each takes raw grey levels 0-255, scales them in its first layer, and ends in 8 logits."""

from typing import Any

import keras
from keras import layers

from agent.emotions import LABELS
from training.config import Config


def build(config: Config, side: int | None) -> keras.Model:
    """Return the untrained network of `config`: float32 (n, side, side, 1), 0-255 → float32 logits (n, 8).

    `side` None leaves height and width open, for progressive sizes; only ResNet-50 can do that.
    """
    keras.config.set_image_data_format("channels_last")  # whatever ~/.keras/keras.json has: grey levels come last
    inputs = keras.Input((side, side, 1), name="face")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    networks = {"cnn": _cnn, "cnn_bn_dropout": _cnn_bn_dropout, "resnet29": _resnet29, "resnet50": _resnet50}
    features = networks[config.model](scaled, config)
    # float32 whatever the precision: softmax and loss lose too much in half precision.
    logits = layers.Dense(len(LABELS), name="logits", dtype="float32")(features)
    return keras.Model(inputs, logits, name=config.name)


def _cnn(x: Any, _: Config) -> Any:
    """Return features of a plain convolutional network: 3x3 convolutions, no normalisation, no dropout."""
    for stage in ((32,), (64, 64), (128, 128)):
        for filters in stage:
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    return layers.Dense(256, activation="relu", kernel_initializer="he_normal")(x)


def _cnn_bn_dropout(x: Any, _: Config) -> Any:
    """Return features of a small VGG (Simonyan & Zisserman 2015) with batch normalisation, and dropout after stages.

    One convolution at full size, as channels are few there and pixels many: the second would cost as much as a stage.
    """
    for stage, dropout in (((32,), 0.1), ((64, 64), 0.2), ((128, 128), 0.3), ((256, 256), 0.3)):
        for filters in stage:
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
            x = layers.BatchNormalization()(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(dropout)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(0.4)(x)


def _resnet50(x: Any, config: Config) -> Any:
    """Return the pooled features of `keras.applications.ResNet50` (He et al. 2016), at a width and stem stride."""
    base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 1), pooling="avg")

    def changed(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            settings["filters"] = max(8, round(settings["filters"] * config.width / 8) * 8)
            if layer.name == "conv1_conv":
                settings["strides"] = (config.stem_stride, config.stem_stride)
        elif layer.name.endswith("_3_bn"):
            # Every residual block starts as the identity, which trains faster (He et al. 2019, "Bag of Tricks").
            settings["gamma_initializer"] = "zeros"
        return layer.__class__.from_config(settings)

    body = keras.models.clone_model(base, clone_function=changed)
    # Layer by layer, not as a nested model: the converter and the layer table of quantize.verify see them all.
    outputs: dict[str, Any] = {}
    for layer in body.layers:
        if isinstance(layer, layers.InputLayer):
            outputs[layer.name] = x
            continue
        parents = [outputs[t._keras_history.operation.name] for t in keras.tree.flatten(layer.input)]
        outputs[layer.name] = layer(parents if len(parents) > 1 else parents[0])
    return outputs[body.layers[-1].name]


def _resnet29(x: Any, _: Config) -> Any:
    """Return the pooled features of dlib's face recognition network, with batch normalisation: 29 layers, shortcuts
    without weights (option A of He et al. 2016), convolutions that shrink the map unpadded.

    dlib keeps scale and shift of each channel instead, as normalisation was folded there; `training.pretrained` brings
    the weights here. Zeros fill a smaller sum, as there.
    """
    x = layers.MaxPooling2D(3, strides=2)(layers.ReLU()(_normalised(x, 32, 7, strides=2)))
    for width, blocks in ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1)):
        for block in range(blocks):
            shrinks = block == 0 and (width, blocks) != (32, 3)
            y = layers.ReLU()(_normalised(x, width, 3, strides=2 if shrinks else 1))
            y = _normalised(y, width, 3)
            if shrinks:
                x = layers.AveragePooling2D(2)(x)
                short = x.shape[1] - y.shape[1]
                y = layers.ZeroPadding2D(((0, short), (0, short)))(y) if short else y
                if more := width - x.shape[-1]:
                    x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)))
            x = layers.ReLU()(layers.Add()([x, y]))
    return layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))


def _normalised(x: Any, filters: int, kernel: int, strides: int = 1) -> Any:
    """Return a convolution of `x` and its normalisation."""
    x = layers.Conv2D(
        filters, kernel, strides=strides, padding="same" if strides == 1 else "valid", use_bias=False,
        kernel_initializer="he_normal",
    )(x)  # fmt: skip
    return layers.BatchNormalization()(x)
