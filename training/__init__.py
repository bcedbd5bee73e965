"""Train, evaluate and compare the emotion models (Keras 3, any backend)."""
