"""What an experiment can set. A config file in training/configs/ builds one `Config` and nothing else."""

import importlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from agent.errors import InputError

FOLDER: Final = Path(__file__).parent / "configs"
"""Where the configs are."""


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


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs at one input side; ResNet-50 takes any (its last pooling is global)."""

    epochs: int
    side: int
    """Network input, pixels."""


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str
    model: Literal["cnn", "cnn_bn_dropout", "resnet50"]
    phases: tuple[Phase, ...]
    """Run in order; the last one's side is the released input side."""
    batch: int = 128
    """Faces a step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    """Peak; warm-up is linear, then a cosine to zero over all phases."""
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
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
    augment: Augment = field(default_factory=lambda: Augment(flip=False))
    width: float = 1.0
    """ResNet-50 only: factor on every channel count."""
    stem_stride: Literal[1, 2] = 2
    """ResNet-50 only: stride of the first convolution."""
    early_stop_epochs: int | None = None
    """End a phase after this many epochs without a better validation accuracy; None never ends one early."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 1

    @property
    def epochs(self) -> int:
        """Epochs over all phases."""
        return sum(phase.epochs for phase in self.phases)

    def side_at(self, epoch: int) -> int:
        """Return the input side of 0-based `epoch`, pixels."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase.side
            epoch -= phase.epochs
        return self.phases[-1].side


def names() -> list[str]:
    """Return the names of the configs in `FOLDER`."""
    return sorted(p.stem for p in FOLDER.glob("[!_]*.py"))


def load(name_or_path: str) -> Config:
    """Return the CONFIG of `training/configs/NAME.py`, or of any Python file.

    Raises
    ------
    InputError
        no such config, or a file without a CONFIG
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
    spec.loader.exec_module(module)
    config = getattr(module, "CONFIG", None)
    if not isinstance(config, Config):
        raise InputError(f"{path}: expected CONFIG = Config(...), got {type(config).__name__}")
    return config
