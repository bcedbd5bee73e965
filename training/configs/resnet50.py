"""ResNet-50 (He et al. 2016, `keras.applications.ResNet50`), grey 48 px, soft vote labels, progressive size.

Source:  the winner of the project's mission (0.8752 there)
Cost:    23.5 M parameters, 200 M multiply-adds a face; 54 minutes at the speeds measured on two idle x86 cores with
         AVX-512 BF16 (Keras on torch); the released run took 97 minutes beside other work
Result:  0.7471 on validation, 0.7424 on test (n = 3,137): trained too short; resnet50_distilled goes on from it
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
