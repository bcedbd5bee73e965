"""ResNet-50 of resnet50, going on from the released one's weights, with what two other networks see in four looks.

Source:  Hinton et al. 2015 (arXiv 1503.02531); nine tenths of a face's target are the mean of what the teachers,
         `compact` and resnet29_taught, TEACHER, say of it as it is, upright, and of both mirrored, the same whenever it
         comes; the rest are its votes. Mean of weights: Izmailov et al. 2018 (arXiv 1803.05407), Wortsman et al. 2022
         (arXiv 2203.05482). The bundle that it goes on from, BEFORE, is resnet50_distilled-96px-int8-0789eba6
         (agent/models/released in commit acc125a)
Cost:    23.5 M parameters, 694 M multiply-adds a face at 96 px; 143 minutes on two x86 cores with AVX-512 BF16, shared
         with other work, after 89 of the first run and 79 of the round before
Result:  0.8850 on validation, 0.8725 on test (n = 3,137); int8 0.8706, calibrated 0.8757
Command: python -m training.distill agent/models/compact TEACHER --data DIR --flip --upright --out soft.npz
         python -m quantize.restore BEFORE resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit FILE --data DIR --start start.keras --run FIRST --seed 18 --keep 9 \
             --teacher soft.npz
         python -m training.average FIRST/epoch-000[89]/model.keras start.keras --out mean.keras
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --start mean.keras --run LAST \
             --seed 19 --teacher soft.npz
         python -m training.average LAST/epoch-0012/model.keras mean.keras --out LAST/final.keras
         where FILE is a copy of this file with epochs=9 and augment=Augment(flip=True, rotate=8, scale=0.06,
         shift=0.04, contrast=0.2, brightness=20) (here the first mean had a fourth part, a network of the round
         before, whose code was not kept)
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=12, side=96),),
    batch=96,
    optimizer="adamw",
    learning_rate=3e-4,
    warmup_epochs=0.05,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.9,
    augment=Augment(flip=True, rotate=12, scale=0.08, shift=0.06, contrast=0.25, brightness=25, erase=0.1),
    precision="mixed_bfloat16",
)
