"""Bundles signed as minisign signs them, for tests: small ones that no runtime could run."""

import base64
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.emotions import LABELS
from agent.vision.model_card import SUMS, sums
from agent.vision.preprocess import version


class Signer:
    """A minisign key pair."""

    def __init__(self) -> None:
        self._key, self._id = Ed25519PrivateKey.generate(), os.urandom(8)

    @property
    def public(self) -> str:
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(b"Ed" + self._id + raw).decode()

    def sign(self, content: bytes, timestamp: int | None = 1000) -> str:
        signature = self._key.sign(hashlib.blake2b(content, digest_size=64).digest())
        comment = "hashed" if timestamp is None else f"timestamp:{timestamp}\tfile:{SUMS}\thashed"
        whole = self._key.sign(signature + comment.encode())
        blob = base64.b64encode(b"ED" + self._id + signature).decode()
        return f"untrusted comment: x\n{blob}\ntrusted comment: {comment}\n{base64.b64encode(whole).decode()}\n"


def card(name: str, model: bytes) -> dict[str, object]:
    return {
        "format": "fer-bundle/1", "id": name, "labels": LABELS, "preprocess_version": version(16), "side": 16,
        "input": {"dtype": "int8", "scale": 1.0, "zero_point": -128},
        "output": {"dtype": "int8", "scale": 0.1, "zero_point": 0},
        "sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model), "parameters": 1, "macs": 1,
        "training": {"config": "x", "data": "x", "protocol": "x", "faces": 1},
        "quantization": {"method": "x", "representative": 1, "per_class": [1], "seed": 0, "ops": {}, "converter": "x"},
        "calibration": {}, "golden": {"max_logit_error": 1.0}, "metrics": [],
    }  # fmt: skip


def write_bundle(
    folder: Path, name: str, signer: Signer | None, timestamp: int | None = 1000, more: bytes = b""
) -> Path:
    """A bundle that `Bundle.load` takes, called `name`, in `folder`, which is made; its model has `more` bytes."""
    model, golden = f"the network of {name}".encode() + more, io.BytesIO()
    integers = np.zeros((1, len(LABELS)), np.int8)
    np.savez(golden, faces=np.zeros((1, 16, 16, 1), np.uint8), reference=integers, default=integers)
    files = {
        "model.tflite": model,
        "card.json": json.dumps(card(name, model)).encode(),
        "golden.npz": golden.getvalue(),
    }
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / SUMS).write_text(sums(files))
    if signer is not None:
        (folder / f"{SUMS}.minisig").write_text(signer.sign(sums(files).encode(), timestamp))
    return folder
