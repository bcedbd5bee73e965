"""What would end a start is known before: to `config check`, and to a reload, which keeps the old configuration."""

import time
from pathlib import Path

import pytest

from agent import config
from agent.calibration import record
from agent.config_file import load
from agent.config_reload import Reload
from agent.config_start import refusals
from agent.vision.model_card import MODELS, Bundle
from tests.agent.calibration.test_record import made

pytestmark = pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")


def written(folder: Path, text: str = "", source: str = "lesson.mp4") -> Path:
    """Write an agent.toml that a start takes as it is, and `text` after it."""
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
    assert list(tmp_path.iterdir()) == [path]
    calibrated(tmp_path, "lesson.mp4", Bundle.load(MODELS / "compact").card.sha256)
    assert reasons(path) == []
    calibrated(tmp_path, "lesson.mp4", "b" * 64)
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
    assert [line.split(":")[0] for line in reasons(path)] == ["agent.toml", "mqtt.password_file", "relaesed"]


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
    written(tmp_path, source="other.mp4")
    reload.ask()
    assert reload.wanted().settings.camera.source == "other.mp4"


def test_a_reload_whose_checks_fail_keeps_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 47: a name of a file that cannot be looked at, or a check that fails in a way that nobody foresaw, is
    logged, and the old configuration stays."""
    path = written(tmp_path)

    def refuse(new: config.Settings) -> list[Exception]:
        raise OSError(5, "Input/output error", str(new.camera.source))

    for text, checks in (('[mqtt]\nusername = "a"\npassword_file = "%s"\n' % ("x" * 300), refusals), ("", refuse)):
        reload = Reload(path, load(written(tmp_path), environ={}), refuse=checks, environ={})
        written(tmp_path, text, source="other.mp4")
        reload.ask()
        assert reload.wanted() is None
    assert caplog.text.count("event=config.kept-old") == 2
    assert "Input/output error" in caplog.text
