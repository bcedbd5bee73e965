"""ResNet-50 of resnet50, going on from the released one's weights, taught by the best small network and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teacher is the bundle `compact`, which looks at each augmented face
         (Beyer et al. 2022, arXiv 2106.05237); the start resnet50_distilled-48px-int8-cd83e6da, of an earlier round
Cost:    23.5 M parameters, 308 M multiply-adds a face; 94 minutes on two x86 cores with AVX-512 BF16
Result:  0.8587 on validation, 0.8511 on test (n = 3,137); int8 0.8489, calibrated 0.8508
Command: python -m quantize.restore agent/models/released resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --teacher agent/models/compact \
             --start start.keras
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=14, side=48), Phase(epochs=12, side=64)),
    batch=96,
    optimizer="adamw",
    learning_rate=7e-4,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.6,
    augment=Augment(flip=True, rotate=15, scale=0.12, shift=0.08, contrast=0.2, brightness=20, erase=0.25),
    precision="mixed_bfloat16",
)
