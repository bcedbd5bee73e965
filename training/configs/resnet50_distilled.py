"""ResNet-50 of resnet50, going on from the released one's weights, taught by three other networks and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teachers, `compact`, resnet29_taught, TEACHER, and the bundle that
         it goes on from, BEFORE, look at each augmented and mixed face (Beyer et al. 2022, arXiv 2106.05237; mixup:
         Zhang et al. 2018, arXiv 1710.09412; a network that teaches its own next round: Furlanello et al. 2018, arXiv
         1805.04770); mean of weights: Izmailov et al. 2018 (arXiv 1803.05407). BEFORE is
         resnet50_distilled-96px-int8-ddff4788 (agent/models/released in commit 63523fc)
Cost:    23.5 M parameters, 694 M multiply-adds a face at 96 px; 67 minutes on two x86 cores with AMX, shared with other
         work, after 42 of the rate held and 62 of the round before
Result:  0.8825 on validation, 0.8709 on test (n = 3,137); int8 0.8690, calibrated 0.8712
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit FILE --data DIR --start start.keras --run HELD --keep 5 \
             --teacher agent/models/compact --teacher TEACHER
         python -m training.average HELD/epoch-*/model.keras --out mean.keras
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --start mean.keras --seed 14 \
             --teacher agent/models/compact --teacher TEACHER --teacher BEFORE
         where FILE is a copy of this file with epochs=40 and teacher_share=0.8, ended after eight: the rate hardly
         falls (here the first three were let down with epochs=3 before the other five, TEACHER was converted to int8,
         which takes a third of its time, and the start was not restored but the round's own final.keras)
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=6, side=96),),
    batch=96,
    optimizer="adamw",
    learning_rate=2.5e-4,
    warmup_epochs=0.05,
    weight_decay=0.05,
    train_on="all",
    mixup=0.5,
    teacher_share=0.9,
    augment=Augment(flip=True, rotate=20, scale=0.15, shift=0.1, contrast=0.25, brightness=25, erase=0.35),
    precision="mixed_bfloat16",
)
