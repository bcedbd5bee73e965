"""What an experiment can set. A config file in training/configs/ builds one `Config` and nothing else."""

import importlib
import importlib.util
import re
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from agent.errors import InputError

FOLDER: Final = Path(__file__).parent / "configs"
"""Where the configs are."""


RESNET29_SIDE: Final = 103
"""Smallest input of resnet29, pixels: its unpadded convolutions leave nothing of a smaller one."""


@dataclass(frozen=True)
class Augment:
    """Random changes to a training face; zeros turn each one off."""

    flip: bool = True
    """Mirror left-right with probability 1/2."""
    rotate: float = 0.0
    """Largest rotation, degrees."""
    scale: float = 0.0
    """Largest relative change of size (0.1 = 0.9 to 1.1)."""
    shift: float = 0.0
    """Largest shift, share of the side."""
    contrast: float = 0.0
    """Largest relative change of contrast."""
    brightness: float = 0.0
    """Largest change of brightness, grey levels."""
    erase: float = 0.0
    """Probability of erasing one rectangle of 2-20 % of the area."""

    def __post_init__(self) -> None:
        """Raise InputError for a value that cannot be meant."""
        shares = ("scale", "shift", "contrast", "erase")
        _check(self, {"rotate": (0, 180), "brightness": (0, 255), **dict.fromkeys(shares, (0, 1))})


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs at one input side; ResNet-50 takes any (its last pooling is global)."""

    epochs: int
    side: int
    """Network input, pixels."""

    def __post_init__(self) -> None:
        """Raise InputError for a value that cannot be meant."""
        _check(self, {"epochs": (1, 100_000), "side": (16, 512)})


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str
    model: Literal["cnn", "cnn_bn_dropout", "resnet29", "resnet50"]
    phases: tuple[Phase, ...]
    """Run in order; the last one's side is the released input side."""
    batch: int = 128
    """Faces a step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum 0.9, or AdamW (Loshchilov & Hutter 2019) with Keras' moments."""
    learning_rate: float = 0.05
    """Peak; warm-up is linear, then a cosine to zero over all phases."""
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    """Decoupled, with either optimizer: this times the rate is taken off kernels at each step."""
    train_on: Literal["majority", "all"] = "majority"
    """Faces used, see `data.soft_targets`."""
    loss: Literal["soft", "majority"] = "soft"
    """Target: the vote distribution, or the majority label as one-hot."""
    balance: Literal["none", "weights", "sampler"] = "none"
    """Against rare classes: loss weights inverse to frequency, or drawing every class equally often."""
    mixup: float = 0.0
    """Beta(a, a) of mixup (Zhang et al. 2018); 0 turns it off."""
    ema: float = 0.0
    """Momentum of the exponential average of weights that is validated and released; 0 turns it off."""
    teacher_share: float = 0.0
    """Share of the target that comes from the --teacher, 0-1; the votes give the rest."""
    teacher_upright: bool = False
    """The models of --teacher look twice: at what the student sees, and at the same faces upright, see `upright`."""
    augment: Augment = field(default_factory=lambda: Augment(flip=False))
    width: float = 1.0
    """ResNet-50 only: factor on every channel count."""
    stem_stride: Literal[1, 2] = 2
    """ResNet-50 only: stride of the first convolution."""
    early_stop_epochs: int | None = None
    """End after this many epochs without a better validation accuracy; None never does. Only with one phase: the
    epochs that are left would be the next phase's."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise InputError for a value that cannot be meant: a typo must not train another experiment."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]+", self.name):
            raise InputError(f"name: expected letters, digits and ._- (it names a folder), got {self.name!r}")
        phases = self.phases
        if not isinstance(phases, tuple) or not phases or not all(isinstance(phase, Phase) for phase in phases):
            raise InputError(f"phases: expected a tuple of at least one Phase, got {phases!r}")
        if not isinstance(self.augment, Augment):
            raise InputError(f"augment: expected an Augment, got {self.augment!r}")
        _check(self, _RANGES)
        if self.model != "resnet50" and len({phase.side for phase in phases}) > 1:
            raise InputError(f"phases: expected one side for {self.model}, got {[phase.side for phase in phases]}")
        for name, usual in (("width", 1), ("stem_stride", 2)):
            if self.model != "resnet50" and getattr(self, name) != usual:
                raise InputError(f"{name}: expected {usual}, as {self.model} has no other, got {getattr(self, name)}")
        if self.model == "resnet29" and phases[0].side < RESNET29_SIDE:
            raise InputError(f"phases: expected a side of {RESNET29_SIDE} or more for resnet29, got {phases[0].side}")
        if self.teacher_upright and not self.teacher_share:
            raise InputError("teacher_upright: expected False with teacher_share 0, got True; set the share")
        if self.warmup_epochs > self.epochs:
            raise InputError(f"warmup_epochs: expected at most all epochs, {self.epochs}, got {self.warmup_epochs}")
        if self.early_stop_epochs is not None and len(phases) > 1:
            raise InputError(
                f"early_stop_epochs: expected None with several phases, got {self.early_stop_epochs} with {len(phases)}"
            )

    @property
    def epochs(self) -> int:
        """Epochs over all phases."""
        return sum(phase.epochs for phase in self.phases)


_RANGES: Final = {
    "batch": (1, 65_536),
    "learning_rate": (1e-12, 100),
    "warmup_epochs": (0, 100_000),
    "weight_decay": (0, 10),
    "mixup": (0, 100),
    "ema": (0, 0.999999),
    "teacher_share": (0, 1),
    "width": (0.01, 16),
    "early_stop_epochs": (1, 100_000),
    "seed": (0, 2**32 - 1),  # what Keras takes
}
"""Field of `Config` → its lowest and its highest value: wide, against typos alone."""


def _check(owner: Augment | Phase | Config, ranges: dict[str, tuple[float, float]]) -> None:
    """Raise InputError where a field of `owner` is no member of its Literal, of another type, or out of its range."""
    for name, kind in get_type_hints(type(owner)).items():
        value, types = getattr(owner, name), get_args(kind) or (kind,)
        if get_origin(kind) is Literal:
            good, expected = value in types, "one of " + ", ".join(map(repr, types))
        elif kind is bool:
            good, expected = isinstance(value, bool), "True or False"
        elif name in ranges:
            low, high = ranges[name]
            number: Any = int if int in types else int | float
            good = isinstance(value, number) and not isinstance(value, bool) and low <= value <= high
            good = good or (value is None and NoneType in types)
            expected = f"{'a whole number' if number is int else 'a number'} from {low} to {high}"
        else:
            continue
        if not good:
            raise InputError(f"{name}: expected {expected}, got {value!r}")


def names() -> list[str]:
    """Return the names of the configs in `FOLDER`."""
    return sorted(p.stem for p in FOLDER.glob("[!_]*.py"))


def load(name_or_path: str) -> Config:
    """Return the CONFIG of `training/configs/NAME.py`, or of any Python file.

    Raises
    ------
    InputError
        no such config, or a file that does not run or has no CONFIG
    """
    path = Path(name_or_path)
    if path.suffix != ".py":
        path = FOLDER / f"{name_or_path}.py"
    if not path.is_file():
        raise InputError(f"{name_or_path}: no such config; there are {', '.join(names())}, or give a .py file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # the file is the user's: whatever it raises is theirs to read, with its line
        raise InputError(f"{path}:{_line(cause, path)}: expected a config that runs, got {_said(cause)}") from cause
    config = getattr(module, "CONFIG", None)
    if not isinstance(config, Config):
        raise InputError(f"{path}: expected CONFIG = Config(...), got {type(config).__name__}")
    return config


def _line(cause: Exception, path: Path) -> int:
    """Return the line of the file `path` that `cause` came through; 0 where it is not known."""
    if isinstance(cause, SyntaxError) and cause.lineno:
        return cause.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(cause.__traceback__) if frame.filename == str(path)]
    return (lines[-1] if lines else 0) or 0


def _said(cause: Exception) -> str:
    text = str(cause) if isinstance(cause, InputError) else f"{type(cause).__name__}: {cause}"
    return " ".join(text.split())
