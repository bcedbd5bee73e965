"""ResNet-50 of resnet50, going on from the released one's weights, taught by the best small network and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teacher is the bundle `compact` (validation 0.8643 with both mirror
         images), the start resnet50-48px-int8-124f5955 of `resnet50` (0.7484 after quantize.restore)
Cost:    23.5 M parameters, 200 M multiply-adds a face; 10.7 minutes an epoch on two x86 cores with AVX2
Result:  0.8339 on validation, 0.8081 on test (n = 3,137); int8 0.8062, calibrated 0.8097
Command: python -m quantize.restore agent/models/released resnet50 --data DIR --out start.keras
         python -m training.distill agent/models/compact --data DIR --flip --out soft.npz
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --teacher soft.npz --start start.keras
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
