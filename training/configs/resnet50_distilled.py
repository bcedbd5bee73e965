"""ResNet-50 of resnet50, going on from the released one's weights, taught by the best small networks and by the votes.

Source:  Hinton et al. 2015 (arXiv 1503.02531); the teachers are cycles two and three of cnn_bn_dropout_snapshot, the
         third of which is `compact`, and look at each augmented face (Beyer et al. 2022, arXiv 2106.05237); start:
         resnet50_distilled-64px-int8-13e7d9bf, the round before (agent/models/released in commit 1f3811e)
Cost:    23.5 M parameters, 308 M multiply-adds a face at 64 px; 80 minutes on two x86 cores with AVX-512 BF16
Result:  0.8612 on validation; after one more epoch, at 64 px, 0.8609, 0.8518 on test (n = 3,137); int8 0.8543,
         calibrated 0.8502
Command: python -m quantize.restore BEFORE resnet50_distilled --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit resnet50_distilled --data DIR --start start.keras \
             --teacher CYCLE2/final.keras --teacher agent/models/compact
         The last epoch: phases=(Phase(1, 64),), learning_rate=1.5e-4, warmup_epochs=0.1, `compact` as the only teacher
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50_distilled",
    model="resnet50",
    phases=(Phase(epochs=6, side=64), Phase(epochs=5, side=96)),
    batch=96,
    optimizer="adamw",
    learning_rate=6e-4,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    teacher_share=0.75,
    augment=Augment(flip=True, rotate=15, scale=0.12, shift=0.08, contrast=0.2, brightness=20, erase=0.25),
    precision="mixed_bfloat16",
)
