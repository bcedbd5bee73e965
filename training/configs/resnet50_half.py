"""ResNet-50 of half the width, for the memory of a Coral Edge TPU: the released one's most used channels, taught by it
and by the small network.

Source:  structured pruning and distillation, see quantize/narrow.py and Hinton et al. 2015 (arXiv 1503.02531); from
         resnet50_distilled-64px-int8-13e7d9bf, BEFORE, and taught by it and the `compact` of its time
Cost:    5.9 M parameters, 5.6 MiB in int8, 78 M multiply-adds a face; 20 minutes on two x86 cores with AVX-512 BF16,
         shared with other work
Result:  0.8449 on validation, 0.8301 on test (n = 3,137); int8 0.8295, calibrated 0.8307
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out wide.keras
         python -m quantize.narrow wide.keras resnet50_half --data DIR --out start.keras
         python -m training.distill BEFORE COMPACT --data DIR --flip --out soft.npz
         KERAS_BACKEND=torch python -m training.fit resnet50_half --data DIR --teacher soft.npz --start start.keras
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_half",
    model="resnet50",
    phases=(Phase(epochs=10, side=64),),
    batch=96,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.7,
    augment=Augment(flip=True, rotate=15, scale=0.12, shift=0.08, contrast=0.2, brightness=20, erase=0.25),
    width=0.5,
    precision="mixed_bfloat16",
)
