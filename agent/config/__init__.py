"""What can be configured: one frozen model a stage, every field with its unit under it. These models read no files.

`agent.config.file` reads TOML, conf.d and the environment into these models.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

ID: Final = r"^[a-z0-9-]{1,64}$"
Id = Annotated[str, Field(pattern=ID)]
TIME: Final = r"^([01]\d|2[0-3]):[0-5]\d$"
KEY: Final = r"^RW[A-Za-z0-9+/]{54}$"
ORIGIN: Final = r"^https://[^/@\s?#]+$"
HOST: Final = r"^([^\s/@?#:]+|[\da-fA-F]*:[\da-fA-F]*:[\da-fA-F:.]*(%\S+)?)$"


class Stage(BaseModel):
    """Base of all: unknown keys are refused, values never change, docstrings become descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Identity(Stage):
    """[agent]"""

    site: Id = "demo"
    """First part of the topic: a school or a building. Letters a-z, digits, "-"."""
    room: Id = "room"
    """Second part of the topic."""
    id: Id = "fer"
    """Third part of the topic: this device. Two devices at one broker must not share it, in whatever room or school."""
    state_dir: Path = Path("/var/lib/fer-agent")
    """Folder of the spool, counters, calibration and audit log."""


class Camera(Stage):
    """[camera]"""

    source: str = Field(default="0", min_length=1)
    """Camera index, /dev/video path, "picamera2", RTSP or HTTP URL, or a video file."""
    fps: float = Field(default=1.0, gt=0, le=60)
    """Frames looked at per second. One look per face every 1-2 s is enough; spend compute on resolution."""
    width: int = Field(default=1280, ge=64, le=8192)
    """Asked of the camera, pixels; a network camera sends the size that its own settings say."""
    height: int = Field(default=720, ge=64, le=8192)
    """Asked of the camera, pixels."""
    open_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Longest wait for the camera to open, seconds."""
    read_timeout_s: float = Field(default=5.0, gt=0, le=300)
    """Longest wait for a frame before the camera counts as stalled, seconds."""
    retry_max_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest pause between two tries to reopen, seconds."""
    frozen_after_s: float = Field(default=10.0, gt=0, le=3600)
    """Identical pictures for this long mean a frozen camera, seconds."""


class Detect(Stage):
    """[detect]"""

    smallest_face_px: int = Field(default=24, ge=16, le=300)
    """Smallest face to be found, width in pixels; sets the size of the tiles."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Least confidence of a detection, 0-1."""


class Classify(Stage):
    """[classify]"""

    model: str = "released"
    """Bundle: "released" (ResNet-50), "compact" (a small network), "coral" (ResNet-50 of half the width), or the path
    of a bundle folder."""
    runtime: Literal["auto", "litert", "tflite-runtime"] = "auto"
    """TFLite runtime; "auto" prefers LiteRT."""
    threads: int = Field(default=2, ge=1, le=64)
    """Threads of the runtime."""
    edgetpu: Literal["auto", "off"] = "auto"
    """Use a Coral Edge TPU when it and a compiled model are there."""
    faces_per_frame: int = Field(default=32, ge=1, le=1000)
    """Most faces classified per frame; more are taken in turn."""


class Engagement(Stage):
    """[engagement]"""

    window_s: float | None = Field(default=None, gt=0, le=3600)
    """Window length, seconds; unset takes the privacy profile's (60 or 300)."""
    weights: str = "sharma2019-affine/1"
    """Id of a weight table in the package, or the path of a TOML file with your own."""
    room_seats: int | None = Field(default=None, ge=1, le=1000)
    """People in the room: coverage and interval count those who are not seen. Unset, coverage is of those seen, and the
    interval is wider: it allows for others."""
    calibration: Path | None = None
    """calibration.json; unset looks for it in agent.state_dir."""


class Privacy(Stage):
    """[privacy]"""

    profile: Literal["standard", "strict"] = "standard"
    """"standard": 60 s windows, rounded; "strict": 300 s windows, of the results the index only, differentially
    private; seats, n_eff, coverage and frames come with it, without noise."""
    k_min: int | None = Field(default=None, ge=2, le=1000)
    """Fewest people behind a published result; unset takes the profile's (5 or 10). It can be raised, and
    lowered only for video files."""
    pause_file: Path = Path("/run/fer-agent/pause")
    """Sensing is off while this file exists."""
    led_gpio: int | None = Field(default=None, ge=0, le=64)
    """GPIO line of a status LED that is on while the camera is open; unset has none."""
    pause_gpio: int | None = Field(default=None, ge=0, le=64)
    """GPIO line of a switch to ground that turns sensing off while it is closed; unset has none."""


class Hours(Stage):
    """One [[schedule]] entry: the camera is open only inside one of them (always, if there is none)."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(min_length=1)
    """Days on which the hours start."""
    start: Annotated[str, Field(pattern=TIME)]
    """Local time, "HH:MM"."""
    end: Annotated[str, Field(pattern=TIME)]
    """Local time, "HH:MM"; earlier than start means the next day."""


class Policy(Stage):
    """[policy]: who answers for this device, and why it may watch. A live camera does not start without it."""

    controller: str = ""
    """Who decides on purpose and means (GDPR Art. 4(7)): name and contact."""
    purpose: str = ""
    """What the numbers are for, in a sentence."""
    legal_basis: str = ""
    """Legal basis, or the reference of the data-protection impact assessment."""
    consent: str = ""
    """How people agree, and how they opt out."""
    setting: Literal["", "education", "research", "workplace", "medical", "other"] = ""
    """Where the device is used."""
    jurisdiction: str = ""
    """ISO 3166 country code, e.g. "DE", or "EU"."""
    medical_or_safety: str = ""
    """The operator's own declaration of a medical or safety reason (AI Act Art. 5(1)(f)); empty has none."""


class Updates(Stage):
    """[updates]: who may replace the model. Without a key no other model than the package's is ever installed."""

    keys: tuple[Annotated[str, Field(pattern=KEY)], ...] = ()
    """minisign public keys (the second line of minisign.pub) whose bundles are trusted."""
    origins: tuple[Annotated[str, Field(pattern=ORIGIN)], ...] = ()
    """HTTPS origins from which the command model-install may fetch, e.g. "https://models.example.org"."""
    good_windows: int = Field(default=10, ge=1, le=10_000)
    """Windows with a result after which a new model is kept; until then a crash loop brings the old one back."""


class Mqtt(Stage):
    """[mqtt]"""

    host: str = Field(default="127.0.0.1", pattern=HOST)
    """Name or address of the broker, without port and login."""
    port: int = Field(default=1883, ge=1, le=65535)
    version: Literal["5", "3.1.1"] = "5"
    """Protocol; 3.1.1 hides refusals by the broker's ACL."""
    username: str | None = None
    password_file: Path | None = None
    """File with the password in its first line; readable by the agent alone."""
    tls: bool = False
    ca_file: Path | None = None
    """Authority that signed the broker's certificate; unset takes the system's."""
    cert_file: Path | None = None
    """Client certificate."""
    key_file: Path | None = None
    """Client key."""
    keepalive_s: int = Field(default=20, ge=5, le=3600)
    """Seconds between signs of life."""
    home_assistant: bool = False
    """Announce the room to Home Assistant."""
    spool_mb: float = Field(default=64.0, gt=0, le=100_000)
    """Cap of the spool on disk, megabytes."""
    spool_days: float = Field(default=30.0, gt=0, le=3650)
    """Oldest window kept, days."""


class Settings(Stage):
    """All of agent.toml."""

    agent: Identity = Identity()
    camera: Camera = Camera()
    detect: Detect = Detect()
    classify: Classify = Classify()
    engagement: Engagement = Engagement()
    privacy: Privacy = Privacy()
    policy: Policy = Policy()
    schedule: tuple[Hours, ...] = ()
    updates: Updates = Updates()
    mqtt: Mqtt = Mqtt()
