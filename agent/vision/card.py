"""card.json of a model bundle: what the network is, and how good it is. Written by quantize/, checked by the agent."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.emotions import LABELS
from agent.vision.preprocess import version

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """Base of the card and its parts: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Tensor(_Part):
    """An integer tensor at the network's edge: real = scale x (integer - zero_point)."""

    dtype: Literal["int8", "uint8"]
    scale: float = Field(gt=0)
    zero_point: int = Field(ge=-128, le=255)


class Calibration(_Part):
    """Logits → probabilities: softmax(logits / temperature + biases)."""

    method: Literal["none", "bcts"] = "none"
    """"bcts": bias-corrected temperature scaling (Alexandari et al. 2020)."""
    temperature: float = Field(default=1.0, gt=0)
    biases: tuple[float, ...] = Field(default=(0.0,) * len(LABELS), min_length=len(LABELS), max_length=len(LABELS))
    """One a label, in the order of `LABELS`."""
    split: str = ""
    """Split that it was fitted on."""
    n: int = Field(default=0, ge=0)
    """Faces that it was fitted on."""
    reference: tuple[tuple[float, ...], ...] = ()
    """Joint shares of those faces, 16 cells (top class, unsure or sure) x 8 votes, sum 1: what a room's prior
    correction is tested against (`agent.calibration.prior`); empty where it was not measured."""
    bars: tuple[tuple[int, float, float], ...] = ()
    """Reliability diagram of those faces, calibrated: (faces, mean confidence, mean truth) a bin of 1/15."""


class Training(_Part):
    """Where the float network comes from."""

    config: str
    """Name in training/configs/."""
    data: str
    """Data set and edition of its votes."""
    protocol: str
    """How votes become the label of every accuracy here."""
    faces: int = Field(ge=0)
    """Faces trained on."""
    epochs: int | None = Field(default=None, ge=0)
    """Epochs done when it was converted; None where that is not known."""
    started_from: str | None = None
    """Whose weights those epochs began with, a bundle's id or a network's name; None for weights drawn at random."""
    teacher: str | None = None
    """Files of the networks whose answers it learned, and the start of their SHA-256; None without."""


class Quantization(_Part):
    """How the integers were made."""

    method: str
    equalized: float = Field(default=0.0, ge=0, le=1)
    """How far channels that share a scale were given one range before: 0 not at all, 1 wholly."""
    representative: int = Field(ge=1)
    """Faces of the training split that set the activation ranges."""
    per_class: tuple[int, ...]
    """Of them in each class, in the order of `LABELS`."""
    seed: int
    """Of their choice."""
    ops: dict[str, int]
    """Operators of model.tflite, counted."""
    converter: str
    """Program and version."""


class Metric(_Part):
    """One measured number and what it was measured on."""

    name: Literal["accuracy", "macro_f1", "ece", "nll", "agreement", "mean_probability_error"]
    model: Literal["float", "int8", "int8 uncalibrated", "int8 against float"]
    """"int8" is what the device gives, calibration included; its biases can move the top class."""
    runtime: str
    """What ran it, with its version."""
    split: Literal["train", "validation", "test"]
    faces: Literal["majority", "all"]
    """"majority": what the majority protocol keeps, truth is the label; "all": every face whose top vote is an
    emotion, truth is the votes."""
    n: int = Field(ge=1)
    """Faces."""
    value: float
    """0-1, except nll (nats: cross-entropy with the votes)."""
    ci95: tuple[float, float] | None = None
    """95 % interval, where one was computed."""


class Golden(_Part):
    """What the golden check allows."""

    max_logit_error: float = Field(gt=0)
    """Largest allowed difference of a logit in a runtime's default kernels, in logits; set from what the
    runtimes differed by when the bundle was made. Reference kernels must be bit-equal."""


class Card(_Part):
    """card.json."""

    format: Literal["fer-bundle/1"]
    id: str = Field(pattern=r"^[a-z0-9._-]{1,96}$")
    """Name, input side, width of the integers and start of the hash."""
    labels: tuple[str, ...]
    """Class order of the logits; must be `LABELS`."""
    preprocess_version: str
    """`agent.vision.preprocess.version` that it was trained and calibrated with."""
    side: int = Field(ge=16, le=512)
    """Network input, pixels."""
    input: Tensor
    output: Tensor
    sha256: Sha256
    """Of model.tflite."""
    bytes: int = Field(ge=1)
    """Of model.tflite."""
    parameters: int = Field(ge=1)
    macs: int = Field(ge=1)
    """Multiply-accumulates a face."""
    training: Training
    quantization: Quantization
    calibration: Calibration
    golden: Golden
    metrics: tuple[Metric, ...]

    @model_validator(mode="after")
    def _fits_this_agent(self) -> Self:
        if self.labels != LABELS:
            raise ValueError(f"labels: expected {LABELS}, got {self.labels}")
        if self.preprocess_version != version(self.side):
            raise ValueError(
                f"preprocess_version: this agent has {version(self.side)!r} for an input of {self.side} px, the model "
                f"needs {self.preprocess_version!r}"
            )
        exact = {"int8": (1.0, -128), "uint8": (1.0, 0)}[self.input.dtype]
        if (self.input.scale, self.input.zero_point) != exact:
            raise ValueError(
                f"input: expected scale and zero point {exact} so that grey levels are exact, got {self.input}"
            )
        return self
