"""The network of cnn_bn_dropout_augment in further cosine cycles under stronger changes, each from the one before.

Source:  cyclic schedules and what they leave: Huang et al. 2017, "Snapshot Ensembles" (arXiv 1704.00109)
Cost:    7 convolutions, 96 M multiply-adds a face; 13 minutes a cycle on two x86 cores with AVX-512 BF16
Result:  TODO
Command: python -m quantize.restore agent/models/compact cnn_bn_dropout_augment --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit cnn_bn_dropout_snapshot --data DIR --start start.keras --seed 2 \
             --run 2, then --seed 3 --run 3 --start 2/final.keras, then --seed 4 --run 4 --start 3/final.keras
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="cnn_bn_dropout_snapshot",
    model="cnn_bn_dropout",
    phases=(Phase(epochs=12, side=48),),
    batch=128,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    augment=Augment(flip=True, rotate=15, scale=0.12, shift=0.08, contrast=0.2, brightness=20, erase=0.25),
    precision="mixed_bfloat16",
)
