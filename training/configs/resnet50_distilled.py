"""ResNet-50 as in resnet50, taught by the small networks as well as by the votes, all epochs at 48 px.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teachers are cnn_bn_dropout_augment, cnn_bn_dropout and cnn
Cost:    23.5 M parameters, 200 M multiply-adds a face; about 6 minutes an epoch on two idle x86 cores
Result:  see training/README.md
Command: KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --teacher soft.npz --resume
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=10, side=48),),
    batch=48,
    optimizer="adamw",
    learning_rate=6e-4,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.6,
    augment=Augment(flip=True, rotate=12, scale=0.1, shift=0.06, contrast=0.2, brightness=20),
)
