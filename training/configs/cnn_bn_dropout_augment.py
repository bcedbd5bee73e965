"""The network of cnn_bn_dropout with augmentation, for longer: the third of the four models.

Source:  the mission's CNN with batch normalisation, dropout and augmentation (0.8142 there)
Cost:    7 convolutions, 96 M multiply-adds a face; 2.9 minutes an epoch on one x86 thread
Result:  0.8569 on the FERPlus test split (majority, n = 3,137); validation 0.8634
Command: KERAS_BACKEND=torch python -m training.fit cnn_bn_dropout_augment --data DIR --resume
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="cnn_bn_dropout_augment",
    model="cnn_bn_dropout",
    phases=(Phase(epochs=36, side=48),),
    batch=64,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=0.05,
    train_on="all",
    augment=Augment(flip=True, rotate=12, scale=0.1, shift=0.06, contrast=0.2, brightness=20),
)
