"""A reload looks into the files that the configuration names: a mended password behind the same name is news."""

import logging
from pathlib import Path

import pytest

from agent.config.file import load
from agent.config.reload import Reload
from agent.delivery import security

TEXT = """\
[agent]
state_dir = "{folder}"
[engagement]
weights = "weights.toml"
[mqtt]
username = "fer"
password_file = "password"
tls = true
ca_file = "ca.crt"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An agent.toml that names a password, an authority and a weight table."""
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "ca.crt").write_text("a certificate")
    (tmp_path / "agent.toml").write_text(TEXT.format(folder=tmp_path))
    return tmp_path / "agent.toml"


def reloading(path: Path, **environ: str) -> Reload:
    return Reload(path, load(path, environ=environ), refuse=lambda _: [], environ=environ)


def test_a_mended_file_is_news(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other words in a file that is named, one that appears, one that goes: taken once each; a touch is no news."""
    caplog.set_level(logging.INFO)
    reload = reloading(path)

    def taken() -> bool:
        reload.ask()
        return reload.wanted() is not None

    assert not taken()
    (path.parent / "password").write_text("right\n")
    reload.ask()
    loaded = reload.wanted()
    assert loaded is not None
    assert security.password(loaded.settings.mqtt) == "right"
    (path.parent / "password").touch()
    assert not taken()
    for name in ("ca.crt", "weights.toml", "calibration.json"):
        (path.parent / name).write_text("another")
        assert (taken(), taken()) == (True, False), name
    (path.parent / "weights.toml").unlink()
    assert taken()
    assert "restart" not in caplog.text


def test_a_mended_file_that_could_not_start_keeps_the_old(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a start would refuse of the new content is logged, again at each reload until it is right."""
    environ: dict[str, str] = {}

    def refuse(_: object) -> list[Exception]:
        return [ValueError("no password")] * ((path.parent / "password").read_text() == "\n")

    reload = Reload(path, load(path, environ=environ), refuse=refuse, environ=environ)
    (path.parent / "password").write_text("\n")
    for _ in range(2):
        reload.ask()
        assert reload.wanted() is None
    assert caplog.text.count("no password") == 2
    (path.parent / "password").write_text("right\n")
    reload.ask()
    assert reload.wanted() is not None


def test_what_only_a_restart_brings_is_said(path: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The unit's credentials are copies of the start: "unchanged" names them, and the command."""
    caplog.set_level(logging.INFO)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "password").write_text("wrong\n")
    (credentials / "password").chmod(0o400)
    reload = reloading(path, CREDENTIALS_DIRECTORY=str(credentials))
    reload.ask()
    assert reload.wanted() is None
    assert "event=config.unchanged (a new password needs a restart: systemctl restart fer-agent)" in caplog.text
