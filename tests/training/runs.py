"""What the tests of training runs share: small networks that train within a second."""

import keras
import numpy as np

from training import recipe
from training.config import Augment, Config, Phase

CONFIG = Config(name="c", model="cnn", phases=(Phase(2, 48),), batch=16, optimizer="adamw", augment=Augment(flip=False))


def trained() -> keras.Model:
    """Return a model after one step, so that its optimizer has a state."""
    model = recipe.compiled(CONFIG, 1)
    model.train_on_batch(np.zeros((16, 48, 48, 1)), np.full((16, 8), 1 / 8))
    return model


STILL = Config(name="still", model="cnn", phases=(Phase(1, 48),), batch=16, learning_rate=1e-12, weight_decay=0)
