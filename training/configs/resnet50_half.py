"""ResNet-50 of half the width, for the memory of a Coral Edge TPU: the released one's most used channels, and teachers.

Source:  structured pruning and distillation, see quantize/narrow.py and Hinton et al. 2015 (arXiv 1503.02531); from
         resnet50_distilled-64px-int8-a5bec53b, BEFORE (agent/models/released in commit 1a78609); `compact` and
         resnet29_taught, TEACHER, look at each augmented and mixed face (Beyer et al. 2022, arXiv 2106.05237)
Cost:    5.9 M parameters, 5.6 MiB in int8, 175 M multiply-adds a face; 61 minutes at 64 px and 31 at 96 on two x86
         cores with AVX-512 BF16 and AMX, shared with other work
Result:  0.8540 on validation after 13 epochs at 64 px (the fourteenth was worse), 0.8593 after ten of a second cycle,
         0.8696 after seven of this one, all in bfloat16; the bundle `coral`, in float32: 0.8703 on validation, 0.8578
         on test (n = 3,137); int8 0.8591, calibrated 0.8607
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out wide.keras
         python -m quantize.narrow wide.keras resnet50_half --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit FILE1 --data DIR --start start.keras --run CYCLE1 \
             --teacher agent/models/compact --teacher TEACHER
         and again with FILE2 --start CYCLE1/best.keras --seed 2 --run CYCLE2, then
         KERAS_BACKEND=torch python -m training.fit resnet50_half --data DIR --start CYCLE2/final.keras \
             --teacher agent/models/compact --teacher TEACHER
         where FILE1 and FILE2 are copies of it at 64 px with 14 epochs, a rate of 1.2e-3 and seed 1, and with 10 epochs
         (here TEACHER was converted to int8, which takes a third of its time, and `wide.keras` was not restored but
         the round's own final.keras)
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_half",
    model="resnet50",
    phases=(Phase(epochs=7, side=96),),
    batch=96,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup_epochs=0.3,
    weight_decay=0.05,
    train_on="all",
    mixup=0.5,
    teacher_share=0.8,
    augment=Augment(flip=True, rotate=18, scale=0.13, shift=0.1, contrast=0.2, brightness=20, erase=0.3),
    width=0.5,
    seed=3,
    precision="mixed_bfloat16",
)
