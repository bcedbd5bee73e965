"""The network of cnn_bn_dropout_augment in three more cosine cycles under stronger changes, each from the one before.

Source:  cyclic schedules: Huang et al. 2017, "Snapshot Ensembles" (arXiv 1704.00109); the start is the release before,
         cnn_bn_dropout_augment-48px-int8-87ee3041 (agent/models/compact in commit cb23ec0)
Cost:    7 convolutions, 96 M multiply-adds a face; 13 minutes a cycle on two x86 cores with AVX-512 BF16
Result:  0.8690, 0.8721 and 0.8743 on validation after each; the last one, the bundle `compact`, 0.8655 on test
         (majority, n = 3,137); int8 0.8655, calibrated 0.8642
Command: python -m quantize.restore BEFORE cnn_bn_dropout_augment --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit cnn_bn_dropout_snapshot --data DIR --start start.keras --seed 2 \
             --run CYCLE1
         and twice more: --start CYCLE1/final.keras --seed 3 --run CYCLE2, --start CYCLE2/final.keras --seed 4 \
             --run CYCLE3
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
