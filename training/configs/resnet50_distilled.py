"""ResNet-50 of resnet50, going on from the released one's weights, taught by two other networks and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teachers, `compact` and resnet29_faces, look at each augmented and
         mixed face (Beyer et al. 2022, arXiv 2106.05237; mixup: Zhang et al. 2018, arXiv 1710.09412); start:
         resnet50_distilled-64px-int8-80a2c87a, the round before (agent/models/released in commit 5089519)
Cost:    23.5 M parameters, 308 M multiply-adds a face at 64 px; 85 minutes on two x86 cores with AVX-512 BF16 and AMX
Result:  0.8668 on validation, 0.8550 on test (n = 3,137); int8 0.8537, calibrated 0.8546. That was five epochs of a
         schedule of 19, then, from the last of them, nine of this one; the tenth was worse, the eleventh was left out
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --start start.keras \
             --teacher agent/models/compact --teacher FACES/best.keras
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=11, side=64),),
    batch=96,
    optimizer="adamw",
    learning_rate=6e-4,
    warmup_epochs=0.3,
    weight_decay=0.05,
    train_on="all",
    mixup=0.5,
    teacher_share=0.8,
    augment=Augment(flip=True, rotate=20, scale=0.15, shift=0.1, contrast=0.25, brightness=25, erase=0.35),
    precision="mixed_bfloat16",
)
