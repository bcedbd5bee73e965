"""Trained model → full-integer int8 bundle for the device, with the proof of what that cost."""
