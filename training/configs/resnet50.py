"""ResNet-50 (He et al. 2016, `keras.applications.ResNet50`), grey 48 px, soft vote labels, progressive size.

Source:  the winner of the project's mission (0.8752 there)
Cost:    about 70 minutes on two x86 cores with AVX-512 BF16 (Keras on torch)
Result:  see agent/models/*/card.json and training/README.md
Command: KERAS_BACKEND=torch python -m training.fit resnet50 --data DIR --resume
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet50",
    model="resnet50",
    phases=(Phase(epochs=10, side=32), Phase(epochs=4, side=48)),
    batch=128,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup_epochs=1,
    weight_decay=0.05,
    train_on="all",
    augment=Augment(flip=True, rotate=12, scale=0.1, shift=0.06, contrast=0.2, brightness=20),
    precision="mixed_bfloat16",
)
