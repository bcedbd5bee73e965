"""The model bundle: read it whole, check it whole, refuse it whole. Law: no byte reaches a runtime unhashed.

A bundle is a folder that `python -m quantize.convert` writes:

model.tflite    full-integer int8 network, faces in, logits out
card.json       what it is and how good it is (`Card`)
golden.npz      faces and the logits that they must give, checked in the runtime at hand
SHA256SUMS      of the three files above, as `sha256sum` writes it

and, where `python -m quantize.edgetpu check` put it in, model_edgetpu.tflite, listed like the others.

A truncated .tflite is a segmentation fault, not an exception: hence the hash first, and of the bytes that are used.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from agent.emotions import LABELS
from agent.errors import ModelError
from agent.vision.card import Card

FILES: Final = ("model.tflite", "card.json", "golden.npz")
"""What a bundle must hold beside its SHA256SUMS."""

EDGETPU: Final = "model_edgetpu.tflite"
"""The same network compiled for the Edge TPU; a bundle may hold it."""

SUMS: Final = "SHA256SUMS"

MODELS: Final = Path(__file__).parents[1] / "models"
"""Bundles that the package carries."""


@dataclass(frozen=True)
class Goldens:
    """Faces with the logits that they must give."""

    faces: npt.NDArray[np.uint8]
    """(n, side, side, 1) grey levels 0-255, as `preprocess` returns them."""
    reference: npt.NDArray[np.int8]
    """(n, 8) output integers of the reference kernels: the same on every machine."""
    default: npt.NDArray[np.int8]
    """(n, 8) output integers of LiteRT's default kernels."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle, in memory."""

    path: Path
    card: Card
    model: bytes
    """model.tflite."""
    golden: Goldens
    edgetpu: bytes | None = None
    """model_edgetpu.tflite, if the bundle has one."""

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Return the bundle in folder `path`.

        Raises
        ------
        ModelError
            it is no bundle, a byte was changed, or it is for another preprocess, label order or agent
        """
        files = read_checked(path)
        if EDGETPU not in files and (path / EDGETPU).exists():
            raise ModelError(
                f"{path / EDGETPU}: not in {SUMS}, so nobody knows what it was compiled from; add it with `python -m "
                f"quantize.edgetpu check {path} --add {path / EDGETPU}`, or delete it"
            )
        card = _card(path, files["card.json"])
        digest = hashlib.sha256(files["model.tflite"]).hexdigest()
        if card.sha256 != digest:
            raise ModelError(f"{path}: card.json names model.tflite of SHA-256 {card.sha256[:12]}…, got {digest[:12]}…")
        return cls(path, card, files["model.tflite"], _golden(path, files["golden.npz"], card), files.get(EDGETPU))

    def check_golden(
        self, infer: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.int8]], *, reference: bool = False
    ) -> None:
        """Run the golden faces through `infer`, uint8 (n, side, side, 1) → output integers int8 (n, 8), and compare.

        Reference kernels must be bit-equal with what the bundle holds. Default kernels round differently on each
        processor, so their logits may differ by `card.golden.max_logit_error`.

        Raises
        ------
        ModelError
            this runtime does not compute what the model was measured with
        """
        got = infer(self.golden.faces)
        expected = self.golden.reference if reference else self.golden.default
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise ModelError(
                f"{self.path}: golden check: expected {expected.dtype} {expected.shape}, got {got.dtype} {got.shape}"
            )
        steps = np.abs(got.astype(np.int64) - expected).max()
        error = float(steps) * self.card.output.scale
        allowed = 0.0 if reference else self.card.golden.max_logit_error
        if error > allowed:
            raise ModelError(
                f"{self.path}: golden check: this runtime's logits differ by {error:.3f}, allowed {allowed:.3f}; "
                "reinstall the runtime and numpy, or try another runtime"
            )


def find(name: str) -> Path:
    """Return the folder of the bundle called `name`: a name in the package ("released"), or a path ("./released").

    Raises
    ------
    ModelError
        there is none
    """
    # The package's first: root may stand in a folder where others can put one that is called "released".
    bare = "/" not in name.rstrip("/") and name not in ("", ".", "..")
    closed = None
    for path in (*([MODELS / name] if bare else []), Path(name)):
        try:
            if path.is_dir():
                return path
        except (OSError, ValueError) as cause:
            closed = cause
    if closed is not None:
        what = "expected a model bundle that this user can look at"
        raise ModelError(f"{name[:100]}: {what}, got: {getattr(closed, 'strerror', None) or closed}") from closed
    known = sorted(p.name for p in MODELS.glob("*") if p.is_dir())
    raise ModelError(
        f"{name}: no such model bundle; expected a folder, or one of {', '.join(known) or '(none in the package)'}"
    )


def sums(files: dict[str, bytes]) -> str:
    """Return the text of SHA256SUMS for `files`, by name."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))


def read_checked(path: Path) -> dict[str, bytes]:
    """Return the bytes of every file that SHA256SUMS of the bundle `path` lists, each hashed; ModelError as `load`."""
    if not path.is_dir():
        raise ModelError(f"{path}: expected the folder of a model bundle ({', '.join(FILES)}, {SUMS})")
    listed = {}
    for number, line in enumerate(_read(path / SUMS).decode("ascii", "replace").splitlines(), 1):
        digest, _, name = line.partition("  ")
        if name not in (*FILES, EDGETPU) or name in listed:
            raise ModelError(
                f"{path / SUMS}:{number}: expected the SHA-256 of one of {', '.join(FILES)}, got {line[:80]!r}"
            )
        listed[name] = digest
    if missing := set(FILES) - set(listed):
        raise ModelError(f"{path / SUMS}: expected {', '.join(FILES)}, missing {', '.join(sorted(missing))}")
    files = {name: _read(path / name) for name in listed}
    for name, content in files.items():
        if (got := hashlib.sha256(content).hexdigest()) != listed[name]:
            raise ModelError(
                f"{path / name}: expected SHA-256 {listed[name][:12]}…, got {got[:12]}…; install the bundle again"
            )
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ModelError(f"{path}: cannot be read ({cause.strerror}); install the bundle again") from cause


def _card(path: Path, content: bytes) -> Card:
    try:
        return Card.model_validate_json(content)
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(map(str, first["loc"]))
        more = f" (and {cause.error_count() - 1} more)" if cause.error_count() > 1 else ""
        raise ModelError(f"{path / 'card.json'}: {where + ': ' if where else ''}{first['msg']}{more}") from cause


def _golden(path: Path, content: bytes, card: Card) -> Goldens:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            golden = Goldens(stored["faces"], stored["reference"], stored["default"])
            n = len(golden.faces)
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as cause:
        raise ModelError(f"{path / 'golden.npz'}: expected arrays faces, reference, default ({cause})") from cause
    if golden.faces.dtype != np.uint8 or golden.faces.shape != (n, card.side, card.side, 1) or n == 0:
        raise ModelError(
            f"{path / 'golden.npz'}: expected uint8 faces (n, {card.side}, {card.side}, 1), got {golden.faces.shape}"
        )
    for name, logits in (("reference", golden.reference), ("default", golden.default)):
        if logits.dtype != np.int8 or logits.shape != (n, len(LABELS)):
            raise ModelError(f"{path / 'golden.npz'}: {name}: expected int8 ({n}, {len(LABELS)}), got {logits.shape}")
    return golden
