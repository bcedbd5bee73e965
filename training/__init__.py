"""Train, evaluate and compare the emotion models (Keras 3, any backend)."""

import os

# Before a backend loads OpenMP: its threads otherwise spin while they wait, and on a machine that has anything else
# to do they wait for a core that they themselves hold. Measured on two busy cores: 47 → 271 images a second.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before TensorFlow loads: on a machine without a GPU it prints "CUDA error: UNKNOWN ERROR", where nothing is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
