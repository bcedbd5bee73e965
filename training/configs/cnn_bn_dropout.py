"""The small VGG with batch normalisation and dropout, no augmentation: the second of the four models.

Source:  the mission's CNN with batch normalisation and dropout (no number published)
Cost:    7 convolutions, 96 M multiply-adds a face; 2.8 minutes an epoch on one x86 thread
Result:  0.8438 on the FERPlus test split (majority, n = 3,137); validation 0.8502
Command: KERAS_BACKEND=torch python -m training.fit cnn_bn_dropout --data DIR --resume
"""

from training.config import Config, Phase

CONFIG = Config(
    name="cnn_bn_dropout",
    model="cnn_bn_dropout",
    phases=(Phase(epochs=18, side=48),),
    batch=64,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=0.05,
    train_on="all",
)
