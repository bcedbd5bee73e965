"""ResNet-50 of resnet50, going on from the released one's weights, taught by two other networks and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teachers, `compact` and resnet29_taught, TEACHER, look at each
         augmented and mixed face (Beyer et al. 2022, arXiv 2106.05237; mixup: Zhang et al. 2018, arXiv 1710.09412);
         start: the float weights behind resnet50_distilled-64px-int8-a5bec53b, the round before (agent/models/released
         in commit 1a78609)
Cost:    23.5 M parameters, 694 M multiply-adds a face at 96 px; 121 minutes on two x86 cores with AMX, shared with
         other work, after 117 at 64 px
Result:  0.8765 on validation, 0.8645 on test (n = 3,137); int8 0.8636, calibrated 0.8658
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit FILE --data DIR --start start.keras --run FIRST \
             --teacher agent/models/compact --teacher TEACHER
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --start FIRST/final.keras \
             --teacher agent/models/compact --teacher TEACHER
         where FILE is a copy of this file with 20 epochs at side=64 (here TEACHER was converted to int8, which takes
         a third of its time, and the start was not restored but the round's own final.keras)
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=12, side=96),),
    batch=96,
    optimizer="adamw",
    learning_rate=6e-4,
    warmup_epochs=0.2,
    weight_decay=0.05,
    train_on="all",
    mixup=0.5,
    teacher_share=0.8,
    augment=Augment(flip=True, rotate=20, scale=0.15, shift=0.1, contrast=0.25, brightness=25, erase=0.35),
    precision="mixed_bfloat16",
)
