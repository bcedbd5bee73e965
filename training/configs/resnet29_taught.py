"""A second, harder cycle of resnet29_faces, taught by the small network: the better teacher of the two.

Source:  cyclic schedules: Huang et al. 2017 (arXiv 1704.00109); networks that teach each other: Zhang et al. 2018,
         "Deep Mutual Learning" (arXiv 1706.00384), here one after the other; start: resnet29_faces' run, FACES
Cost:    5.6 M parameters; 19 minutes on two x86 cores with AVX-512 BF16 and AMX
Result:  0.8797 on validation (majority, n = 3,191), where it began at 0.8646; a teacher, not released
Command: KERAS_BACKEND=torch python -m training.fit resnet29_taught --data DIR --start FACES/best.keras \
             --teacher agent/models/compact
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet29_taught",
    model="resnet29",
    phases=(Phase(epochs=9, side=112),),
    batch=128,
    optimizer="adamw",
    learning_rate=6e-4,
    warmup_epochs=0.3,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.6,
    augment=Augment(flip=True, rotate=18, scale=0.15, shift=0.1, contrast=0.25, brightness=25, erase=0.3),
    precision="mixed_bfloat16",
)
