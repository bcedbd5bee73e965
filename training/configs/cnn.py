"""A plain convolutional network, no normalisation, no dropout, no augmentation: the first of the four models.

Source:  the simplest model of the project's mission (0.6227 there)
Cost:    5 convolutions, 66 M multiply-adds a face; 89 s an epoch on two cores
Result:  0.7836 on the FERPlus test split (majority, n = 3,137); validation 0.7972
Command: KERAS_BACKEND=torch python -m training.fit cnn --data DIR --resume
"""

from training.config import Config, Phase

CONFIG = Config(
    name="cnn",
    model="cnn",
    phases=(Phase(epochs=10, side=48),),
    batch=64,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    precision="mixed_bfloat16",
)
