"""What would end a start is known before: to `config check`, and to a reload, which keeps the old configuration."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent import config
from agent.calibration import record
from agent.cli.config import _of_a_start
from agent.config.file import load
from agent.config.reload import Reload
from agent.config.start import refusals
from agent.device import unit
from agent.device.crashes import Starts
from agent.errors import ConfigError
from agent.service import Service
from agent.vision.model_card import MODELS, Bundle
from tests.agent.calibration.test_record import made
from tests.cameras import film

pytestmark = pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")


def written(folder: Path, text: str = "", source: str = "lesson.avi") -> Path:
    """Write an agent.toml that a start takes as it is, and `text` after it; a video is there."""
    if source.endswith(".avi"):
        source = film(folder / source, 1)
    path = folder / "agent.toml"
    path.write_text(
        f'[agent]\nstate_dir = "{folder}"\n[camera]\nsource = "{source}"\n[classify]\nmodel = "compact"\n{text}'
    )
    return path


def reasons(path: Path) -> list[str]:
    return [str(reason) for reason in refusals(load(path, environ={}).settings)]


def calibrated(folder: Path, source: str, model: str) -> None:
    new = record.made(
        made().parts,
        model_sha256=model,
        camera=record.camera_hash(config.Camera(source=source)),
        setup=record.setup_hash(config.Settings()),
        now=time.time(),
    )
    record.save(folder / record.NAME, new)


def test_nothing_is_refused_of_what_starts(tmp_path: Path) -> None:
    """Good settings have no refusal, with a fitting calibration and with one of another model, and leave no file."""
    path = written(tmp_path)
    assert reasons(path) == []
    assert {file.name for file in tmp_path.iterdir()} == {"agent.toml", "lesson.avi"}
    calibrated(tmp_path, f"{tmp_path}/lesson.avi", Bundle.load(MODELS / "compact").card.sha256)
    assert reasons(path) == []
    calibrated(tmp_path, f"{tmp_path}/lesson.avi", "b" * 64)
    assert reasons(path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[engagement]\nweights = "nonsense"\n', "engagement.weights: expected"),
        ('[engagement]\nweights = "none.toml"\n', "{folder}/none.toml"),
        ('[mqtt]\ntls = true\nca_file = "none.pem"\n', "mqtt.ca_file: expected a PEM certificate"),
        ('[mqtt]\nusername = "a"\npassword_file = "none"\n', "mqtt.password_file: cannot read"),
    ],
)
def test_a_file_that_is_not_there_is_a_refusal(tmp_path: Path, text: str, says: str) -> None:
    """A weight table, certificate or password file that a start would miss is one line."""
    (line,) = reasons(written(tmp_path, text))
    assert says.format(folder=tmp_path) in line


def test_everything_is_refused_at_once(tmp_path: Path) -> None:
    """A camera without policy, a password that is not there and a model that is none are three lines."""
    path = written(tmp_path, '[mqtt]\nusername = "a"\npassword_file = "none"\n', "0")
    path.write_text(path.read_text().replace("compact", "relaesed"))
    assert [line.split(":")[0] for line in reasons(path)] == ["policy", "mqtt.password_file", "classify.model"]


def test_one_check_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    """Two things of one stage of the start are wrong: both are told, and the one that a start would meet first does not
    hide the other."""
    path = written(tmp_path, '[engagement]\nweights = "none/1"\n[privacy]\nk_min = 2\n', "0")
    path.write_text(path.read_text().replace("compact", "relaesed"))
    keys = [refusal.key for refusal in refusals(load(path, environ={}).settings)]
    assert keys == ["policy", "privacy.k_min", "classify.model", "engagement.weights"]


@pytest.mark.parametrize("source", ["usb0", "-1", "vide0", "picamera", "/nowhere/lesson.mov"])
def test_a_camera_with_a_typo_is_a_refusal(tmp_path: Path, source: str) -> None:
    """A source that is neither a camera nor a file is a configuration to mend, and not a camera to wait for."""
    (line,) = reasons(written(tmp_path, source=source))
    assert line == f"camera.source: expected a video file, camera index or URL, got {source!r}: no such file"


@pytest.mark.parametrize("place", ["/tmp/pause", "/var/tmp/x/pause", "/home/pi/pause", "/root/pause"])
def test_a_pause_file_that_the_unit_hides_is_a_refusal(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has folders of its own there: who touches this file would go on being watched. By hand it is fine."""
    path = written(tmp_path, f'[privacy]\npause_file = "{place}"\n')
    assert reasons(path) == []
    (told,) = refusals(load(path, environ={}).settings, served=True)
    assert str(told).startswith(f"privacy.pause_file: expected a file that the service can see, got {place}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/fer-agent.service")
    assert reasons(path) == [str(told)]
    with pytest.raises(ConfigError, match=r"privacy\.pause_file"):
        Service(load(path, environ={}), path)._watch(ExitStack(), Starts(tmp_path))


def test_a_calibration_of_another_camera_is_a_refusal(tmp_path: Path) -> None:
    """It would end a start, so it is named before."""
    calibrated(tmp_path, "/dev/video7", Bundle.load(MODELS / "compact").card.sha256)
    (line,) = reasons(written(tmp_path))
    assert "made for another camera" in line


def test_a_reload_that_could_not_start_keeps_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 47: settings that are valid and could not start are logged, and not taken; those that can are."""
    path = written(tmp_path)
    reload = Reload(path, load(path, environ={}), refuse=refusals, environ={})
    written(tmp_path, source="0")
    reload.ask()
    assert reload.wanted() is None
    assert "event=config.kept-old" in caplog.text
    assert "needs a filled [policy]" in caplog.text
    written(tmp_path, source="other.avi")
    reload.ask()
    assert reload.wanted().settings.camera.source == f"{tmp_path}/other.avi"


def test_a_reload_whose_checks_fail_keeps_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 47: a name of a file that cannot be looked at, or a check that fails in a way that nobody foresaw, is
    logged, and the old configuration stays."""
    path = written(tmp_path)

    def refuse(new: config.Settings) -> list[Exception]:
        raise OSError(5, "Input/output error", str(new.camera.source))

    for text, checks in (('[mqtt]\nusername = "a"\npassword_file = "%s"\n' % ("x" * 300), refusals), ("", refuse)):
        reload = Reload(path, load(written(tmp_path), environ={}), refuse=checks, environ={})
        written(tmp_path, text, source="other.avi")
        reload.ask()
        assert reload.wanted() is None
    assert caplog.text.count("event=config.kept-old") == 2
    assert "Input/output error" in caplog.text


def test_a_file_that_the_unit_hides_is_a_problem_of_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config check` on a device tells what doctor tells: the service would not find it."""
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    (tmp_path / unit.UNIT).touch()
    monkeypatch.setattr(unit, "_HIDDEN", (str(tmp_path / "home"),))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "weights.toml").touch()
    path = written(tmp_path, f'[engagement]\nweights = "{tmp_path}/home/weights.toml"\n')
    lines = [str(problem) for problem in _of_a_start(path, load(path, environ={}))]
    says = f"{path}:8: engagement.weights: '{tmp_path}/home/weights.toml': the unit hides"
    assert [says in line for line in lines].count(True) == 1, lines
