"""`fer-agent calibrate`: fits the agent to its room: camera, probabilities, baseline and machine."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from agent import config
from agent.calibration import camera, device, record, report, session
from agent.calibration.labelled import expect as expect_crops
from agent.calibration.parts import Record
from agent.calibration.session import PARTS, Measured, Wanted
from agent.cli._dialogue import Dialogue
from agent.cli._options import Number, expect_writable
from agent.cli._state import act_as_owner, config_option, loaded_of, print_json
from agent.config.file import DEFAULT_PATH, Loaded
from agent.delivery.payload import config_hash
from agent.errors import CannotWriteError, CheckFailed, ConfigError, UsageError
from agent.insight import policy, weights
from agent.insight.privacy import least_people
from agent.trust.guard import Guard, models_of
from agent.vision.camera import LiveCamera
from agent.vision.capture import is_camera, open_source
from agent.vision.model_card import Bundle, find
from agent.vision.video import VideoFile, check_exists

_FILE: Final = click.Path(path_type=Path)


@click.command(epilog="Example: fer-agent calibrate --from lesson.mp4 --yes --out calibration.json")
@config_option
@click.option("--from", "video", default=None, metavar="VIDEO", help="A recording instead of the camera itself.")
@click.option("--yes", is_flag=True, help="Ask nothing: everybody in view agreed, and the result is written.")
@click.option(
    "--part", "only", multiple=True, type=click.Choice(PARTS), help="Measure this part alone; repeat for more."
)
@click.option("--out", type=_FILE, default=None, metavar="FILE", help="Where to write [engagement.calibration].")
@click.option("--report", "page", type=_FILE, default=None, metavar="FILE.html", help="Write a report, too.")
@click.option(
    "--model", default=None, metavar="BUNDLE", help="Name or folder of a model bundle [the one that run takes]."
)
@click.option("--fov", type=Number(1, 179), default=None, metavar="DEGREES", help="Horizontal field of view.")
@click.option("--k-min", type=click.IntRange(2, 1000), default=None, metavar="N", help="Fewest people of the baseline.")
@click.option(
    "--labelled",
    type=_FILE,
    default=None,
    metavar="DIR",
    help="Labelled crops, one folder per emotion; how many of each does not matter.",
)
@click.option("--prior-correction", "prior", is_flag=True, help="Correct the prior, if its fit test allows.")
@click.option(
    "--seconds",
    type=Number(1, 3600),
    default=None,
    metavar="N",
    help="Longest look at the room [camera 30, baseline 60].",
)
@click.option(
    "--timed", type=click.IntRange(1, 1000), default=50, show_default=True, help="Frames timed per device setting."
)
@click.option("--soak", type=Number(0, 3600), default=20.0, show_default=True, help="Seconds of device load.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration on stdout, nothing else there.")
def command(
    config: Path | None,
    video: str | None,
    yes: bool,
    only: tuple[str, ...],
    out: Path | None,
    page: Path | None,
    model: str | None,
    fov: float | None,
    k_min: int | None,
    labelled: Path | None,
    prior: bool,
    seconds: float | None,
    timed: int,
    soak: float,
    as_json: bool,
) -> None:
    """Measure the room and write calibration.json, which `run` loads.

    Refuses (exit 1, nothing written) where a part is not good enough, e.g. fewer than k_min people seen for 20 s each.
    The calibration before is kept as calibration.previous.json. A recording must come from the camera of agent.toml;
    without an agent.toml the calibration is for the recording itself. Stop the service first: a camera has one user.
    """
    loaded = _configured(config, video, model)
    settings, source = loaded.settings, video if video is not None else loaded.settings.camera.source
    wanted = Wanted(
        parts=only or PARTS,
        k_min=_fewest(k_min, settings, source),
        fov=fov,
        labelled=labelled,
        prior=prior,
        camera_s=seconds or Wanted.camera_s,
        baseline_s=seconds or Wanted.baseline_s,
        plan=device.Plan(timed=timed, warm=min(10, timed), soak_s=soak),
    )
    dialogue = Dialogue(yes)
    path = _place(out, settings)
    with _allowed(settings, source, own=model is not None) as (bundle, opened):
        for file in filter(None, (path, page)):
            expect_writable(file)
        if labelled is not None:
            expect_crops(labelled)
        wanted = dialogue.before(wanted)
        before = _before(path, bundle, settings, dialogue)
        kept, lines = session.kept_of(before, wanted)
        dialogue.warn(*lines)
        table = weights.load(settings.engagement.weights)
        with dialogue.progress(wanted) as progress:
            measured = session.measure(opened, settings, bundle, table, wanted, kept=kept, progress=progress)
    new = _made(measured, bundle, settings, before, wanted)
    old = before.record.parts if before else None
    dialogue.show(old, new, settings)
    dialogue.warn(*_odd_size(new, settings))
    if new.parts.camera is not None and not new.parts.camera.fov_stated:
        dialogue.say(f"distances: by an assumed field of view of {camera.ASSUMED_FOV:g}° (say yours with --fov)")
    dialogue.consent_to_write(path)
    _write(path, new, settings, dialogue)
    if page is not None:
        _write_page(page, report.page(new, measured, old, settings), dialogue)
    if as_json:
        print_json(new.model_dump(mode="json"))


def _configured(config: Path | None, video: str | None, model: str | None) -> Loaded:
    """Return the configuration; without a file the recording stands for the camera. Raises ConfigError."""
    # A relative folder is the caller's, not one beside agent.toml.
    given = str(Path(model).absolute()) if model is not None and Path(model).is_dir() else model
    overrides: dict[str, Any] = {} if given is None else {"classify.model": given}
    if config is None and video is not None and not DEFAULT_PATH.exists():
        overrides["camera.source"] = video
    if video is not None and not is_camera(video):
        check_exists(video)
    return loaded_of(config, overrides)


def _fewest(k_min: int | None, settings: config.Settings, source: str) -> int:
    """Return the fewest people of a baseline. Raises UsageError where it is lowered for a camera."""
    least = least_people(settings.privacy)
    if k_min is not None and k_min < least and policy.is_live(source):
        raise UsageError(f"--k-min: expected at least {least} people for a camera, got {k_min}")
    return k_min or least


@contextmanager
def _allowed(settings: config.Settings, source: str, *, own: bool) -> Iterator[tuple[Bundle, session.Open]]:
    """Yield the model and what opens the source; for a camera behind the same gates, light and log as `run`.

    own: take classify.model, which the command line named, whatever is installed
    """
    fps = settings.camera.fps
    if not policy.is_live(source):
        yield _model(settings, own), lambda: open_source(source, fps=fps, camera=settings.camera)
        return
    act_as_owner(settings.agent.state_dir)  # before the audit log is opened: it must stay the agent's
    with ExitStack() as stack:
        guard = stack.enter_context(Guard(settings, live=True, config_hash=config_hash(settings)))
        if (reason := guard.sensing()) is not None:
            raise CheckFailed(f"expected a camera that may be open now, got: {reason}; see fer-agent status")

        def opens() -> VideoFile | LiveCamera:
            opened = open_source(source, fps=fps, camera=settings.camera, closed=guard.sensing)
            guard.sensing.held = opened.held
            return opened

        yield _model(settings, own), opens


def _model(settings: config.Settings, own: bool) -> Bundle:
    """Return the model to calibrate: the one that the service would run, looked at only, since a calibration that fails
    is no crash of a model on trial; or the one that the command line named."""
    return Bundle.load(find(settings.classify.model)) if own else models_of(settings).preview()


def _place(out: Path | None, settings: config.Settings) -> Path:
    """Return where to write; in the state folder as its owner, so that the service can read it."""
    if out is None:
        act_as_owner(settings.agent.state_dir)
    return out or record.path_of(settings)


def _before(path: Path, bundle: Bundle, settings: config.Settings, dialogue: Dialogue) -> record.Calibration | None:
    """Return the calibration that is there, if it is for this model and camera; what is wrong with it is a warning."""
    if not path.exists():
        return None
    try:
        return record.load_for(settings, bundle, path)
    except ConfigError as error:
        dialogue.warn(f"starting anew: {error}")
        return None


def _made(
    measured: Measured, bundle: Bundle, settings: config.Settings, before: record.Calibration | None, wanted: Wanted
) -> Record:
    """Return the new record; with parts of the one before it expires when that one would have."""
    carried = any(getattr(measured.parts, part) is not None for part in PARTS if part not in wanted.parts)
    return record.made(
        measured.parts,
        model_sha256=bundle.card.sha256,
        camera=record.camera_hash(settings.camera),
        setup=record.setup_hash(settings),
        now=time.time(),
        until=before.record.expires_at if before and carried else None,
    )


def _odd_size(new: Record, settings: config.Settings) -> Iterator[str]:
    """Yield a line if the pictures were not of the size that is asked of the camera."""
    part, asked = new.parts.camera, (settings.camera.width, settings.camera.height)
    if part is not None and (part.width, part.height) != asked:
        yield (
            f"pictures are {part.width}x{part.height}, camera.width x height asks for {asked[0]}x{asked[1]}: range and "
            "face sizes are those of the pictures"
        )


def _write(path: Path, new: Record, settings: config.Settings, dialogue: Dialogue) -> None:
    previous = record.save(path, new)
    taken = "run takes it at its next start"
    if path.absolute() != record.path_of(settings).absolute():
        taken = f'run takes it with calibration = "{path.absolute()}" under [engagement]'
    dialogue.say(f"{path}: written, {new.id}; {taken}" + (f"; the one before is {previous}" if previous else ""))


def _write_page(path: Path, text: str, dialogue: Dialogue) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise CannotWriteError(f"{path}: expected a place for the report, got: {cause.strerror}") from cause
    dialogue.say(f"{path}: written")
