"""What the unit hides from the service, and what the doctor says of a configuration that names it."""

from pathlib import Path

import pytest

from agent.config import Settings
from agent.device import check_host, unit
from agent.device.checks import Finding, run


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device with the unit, whose service manager knows one drop-in: the folder returned may be written."""
    (tmp_path / unit.UNIT).touch()
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text('#!/bin/sh\n[ "$3" = --value ] && echo "/srv/other -/srv/fer"\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:/usr/bin:/bin")
    return Path("/srv/fer")


def found(**sections: dict[str, object]) -> list[Finding]:
    return list(run({"paths": check_host.checks(Settings.model_validate(sections))["paths"]}))


@pytest.mark.parametrize("state", ["/var/lib/fer-agent", "/var/lib/fer-agent/b", "/srv/fer", "/srv/fer/state"])
def test_what_the_service_can_use_is_good(installed: Path, state: str) -> None:
    """The unit's own state folder, one of a drop-in, a stream, a device, a video and files beside agent.toml."""
    for source in ("0", "/dev/video0", "rtsp://camera/tmp/x", "/srv/lesson.mp4"):
        mqtt = {"ca_file": "/etc/fer-agent/ca.crt", "password_file": "/run/credentials/x"}
        (only,) = found(agent={"state_dir": state}, camera={"source": source}, mqtt=mqtt)
        assert (only.name, only.verdict) == ("paths", "PASS")


@pytest.mark.parametrize("state", ["/srv/spool", "/var/lib/fer-agents", "/etc/fer-agent/state", "/run/fer-agent"])
def test_a_state_folder_that_the_unit_closes(installed: Path, state: str) -> None:
    """Writable for the doctor and read-only for the service is a FAIL that names the drop-in for it."""
    (only,) = found(agent={"state_dir": state})
    assert (only.name, only.verdict) == ("paths.state_dir", "FAIL")
    assert f"ReadWritePaths={state}" in only.mend


def test_without_an_answer_of_the_service_manager_the_unit_counts(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has no systemctl, or one that answers nothing."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert found(agent={"state_dir": "/srv/fer"})[0].name == "paths.state_dir"
    assert found()[0].verdict == "PASS"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("agent", "state_dir"),
        ("camera", "source"),
        ("classify", "model"),
        ("engagement", "weights"),
        ("engagement", "calibration"),
        ("privacy", "pause_file"),
        ("mqtt", "ca_file"),
    ],
)
@pytest.mark.parametrize("place", ["/home/pi", "/root", "/tmp", "/var/tmp/a", "/srv/../home/pi"])
def test_what_the_unit_hides_is_found(installed: Path, section: str, key: str, place: str) -> None:
    """Whatever the configuration names below people's and temporary folders: the service finds others there."""
    (only,) = found(**{section: {key: f"{place}/x"}})
    assert (only.name, only.verdict) == (f"paths.{key}", "FAIL")
    assert f"{section}.{key} = '{place}/x'" in only.found


def test_a_link_into_a_home_is_found(installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The service can read the link and finds nothing behind it."""
    (tmp_path / "link").symlink_to("/home/pi/lesson.mp4")
    monkeypatch.setattr(unit, "_HIDDEN", ("/home",))  # the test itself is below /tmp
    (only,) = found(camera={"source": f"{tmp_path}/link"})
    assert only.name == "paths.source"


def test_without_the_unit_nothing_is_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started by hand the agent sees what its user sees."""
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    assert found(agent={"state_dir": "/tmp/state"}) == []
