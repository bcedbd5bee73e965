"""The doctor's look at this machine: each thing that is wrong is found, with what mends it."""

import ctypes
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.config import Identity, Mqtt, Settings
from agent.device import check_host, clock, thermal, unit
from agent.device.checks import Finding, run
from tests.agent.device.test_device import sysfs
from tests.mounts import mounted
from tests.users import NOBODY, as_nobody


def found(name: str, folder: Path = Path("/nowhere"), spool_mb: float = 64) -> list[Finding]:
    """What the check `name` says of a device whose state folder this is."""
    settings = Settings(agent=Identity(state_dir=folder), mqtt=Mqtt(spool_mb=spool_mb))
    return list(run({name: check_host.checks(settings)[name]}))


def verdicts(findings: list[Finding]) -> list[tuple[str, str]]:
    assert all(bool(finding.mend) is (finding.verdict != "PASS") for finding in findings)
    return [(finding.name, finding.verdict) for finding in findings]


@pytest.mark.parametrize(
    ("make", "verdict", "says", "mend"),
    [
        (lambda folder: None, "FAIL", "is not there", "sudo install -d -o fer-agent -g fer-agent -m 700 {}"),
        (Path.touch, "FAIL", "is not there", "sudo install -d -o fer-agent -g fer-agent -m 700 {}"),
        (partial(Path.mkdir, mode=0o750), "WARN", "can be read by others", "chmod 700 {}"),
        (partial(Path.mkdir, mode=0o701), "WARN", "can be read by others", "chmod 700 {}"),
    ],
)
def test_a_state_folder_that_is_not_as_it_should_be(
    tmp_path: Path, make: Callable[[Path], None], verdict: str, says: str, mend: str
) -> None:
    """Missing, a file, open to its group or to all: named, with the command for it."""
    folder = tmp_path / "state"
    make(folder)
    first = found("disk", folder)[0]
    assert first == Finding("disk.state", verdict, f"{folder} {says}", mend.format(folder))


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only disk is a FAIL, for root, too."""
    with mounted("tmpfs", tmp_path / "state", "ro,mode=700") as folder:
        (only,) = found("disk", folder)
    assert (only.name, only.verdict) == ("disk.state", "FAIL")
    assert only.mend.startswith("it is mounted read-only")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", ["", "spool", "spool/000000001.seg", "audit.log"])
def test_one_file_that_the_service_cannot_write_is_found(name: str) -> None:
    """As after restoring a backup as root: the service would keep its windows in memory alone."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent, "state")
        (folder / "spool").mkdir(parents=True)
        for file in (folder / "spool/000000001.seg", folder / "audit.log"):
            file.touch(mode=0o600)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o700)
        os.chown(folder / name, 0, 0)
        with as_nobody():
            first = found("disk", folder)[0]
    assert (first.name, first.verdict, first.mend) == ("disk.state", "FAIL", f"sudo chown -R fer-agent: {folder}")
    assert first.found.startswith(str(folder / name).rstrip("/"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_is_neither_root_nor_the_service_is_told_to_be() -> None:
    """A state folder that is the service's already needs no chown, but sudo."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as parent:
        Path(parent).chmod(0o700)
        os.chown(parent, 1, 1)
        with as_nobody():
            (only,) = found("disk", Path(parent))
    assert (only.verdict, only.mend) == ("FAIL", "sudo fer-agent doctor")


@pytest.mark.parametrize(("spool_mb", "verdict"), [(90, "PASS"), (110, "WARN")])
def test_room_for_the_spool(tmp_path: Path, spool_mb: float, verdict: str) -> None:
    """300 MB are enough for a spool of 90 and what else comes, and too few for one of 110."""
    with mounted("tmpfs", tmp_path / "state", "size=300000000,mode=700") as folder:
        got = found("disk", folder, spool_mb)
    assert verdicts(got) == [("disk", verdict)]
    assert verdict == "PASS" or got[0].found == f"300 MB free, the spool may need {spool_mb + 200}"


@pytest.mark.parametrize(
    ("millidegrees", "alarm", "expected"),
    [
        ((50_000,), 0, [("temperature", "PASS")]),
        ((50_000, 75_000), 0, [("temperature", "WARN")]),
        ((), 0, [("temperature", "WARN")]),
        ((50_000,), 1, [("power", "FAIL"), ("temperature", "PASS")]),
    ],
)
def test_heat_and_supply(
    tmp_path: Path,
    millidegrees: tuple[int, ...],
    alarm: int,
    expected: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From 75 °C on, where the rate is lowered, and without a sensor it is a WARN; a weak supply is a FAIL."""
    monkeypatch.setattr(thermal, "read", partial(thermal.read, sysfs(tmp_path, *millidegrees, alarm=alarm)))
    assert verdicts(found("temperature")) == expected


@pytest.mark.parametrize(
    ("kernel", "timesyncd", "verdict", "says"),
    [
        (0, False, "PASS", "synchronised"),
        (5, True, "WARN", "not synchronised: windows are labelled so, and a schedule goes by it"),
        (-1, True, "PASS", "synchronised once since boot"),
        (-1, False, "WARN", "not synchronised: windows are labelled so, and a schedule goes by it"),
    ],
)
def test_the_clock(
    tmp_path: Path, kernel: int, timesyncd: bool, verdict: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word counts; where it may not be asked, that of systemd-timesyncd."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=lambda _: kernel))
    monkeypatch.setattr(clock, "_TIMESYNC", tmp_path / "synchronized")
    if timesyncd:
        (tmp_path / "synchronized").touch()
    (only,) = found("clock")
    assert (only.verdict, only.found) == (verdict, says)


@pytest.mark.parametrize(("numpy", "expected"), [("1.26.4", []), ("2.1.0", [("versions.numpy", "FAIL")])])
def test_a_numpy_that_the_runtime_does_not_take(
    tmp_path: Path, numpy: str, expected: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tflite-runtime was built for numpy 1: with numpy 2 it imports and then fails."""
    for name, version in (("tflite_runtime", "2.14.0"), ("numpy", numpy)):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    first, *more = found("versions")
    assert f"numpy {numpy}" in first.found
    assert "tflite-runtime 2.14.0" in first.found
    assert verdicts(more) == expected


@pytest.mark.parametrize(
    ("says", "there", "verdict", "text"),
    [
        (None, True, "WARN", "is not installed here"),
        ("1.9 OK", False, "WARN", "is not installed here"),
        ("1.9 OK", True, "PASS", "exposure 1.9"),
        ("2.1 OK", True, "WARN", "exposure 2.1, expected at most 2.0"),
        ("", True, "WARN", "exposure 10.0, expected at most 2.0"),
    ],
)
def test_how_far_the_unit_confines(
    tmp_path: Path, says: str | None, there: bool, verdict: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of systemd-analyze counts, none at all is the worst; without that program, or the unit, it is a WARN
    and no crash."""
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    if there:
        (tmp_path / unit.UNIT).touch()
    if says is not None:
        program = tmp_path / "systemd-analyze"
        program.write_text(f"#!/bin/sh\necho '→ Overall exposure level for {unit.UNIT}: {says}'\n")
        program.chmod(0o755)
    (only,) = found("unit")
    assert (only.verdict, text in only.found) == (verdict, True), only


@pytest.mark.parametrize(
    ("controllers", "verdict", "says"),
    [
        ("cpuset cpu io memory pids\n", "PASS", "swap: /var/swap, /dev/zram0"),
        ("cpuset cpu io pids\n", "WARN", "no memory"),
    ],
)
def test_a_kernel_without_a_memory_controller(tmp_path: Path, controllers: str, verdict: str, says: str) -> None:
    """As on Raspberry Pi OS: the unit's limits do nothing there, and the line that mends it is named."""
    (tmp_path / "controllers").write_text(controllers)
    (tmp_path / "swaps").write_text(
        "Filename Type Size Used Priority\n/var/swap file 1 0 -2\n/dev/zram0 partition 1 0 5\n"
    )
    (only,) = check_host.memory(tmp_path / "swaps", tmp_path / "controllers")
    assert (only.verdict, says in only.found, "cmdline.txt" in only.mend) == (verdict, True, verdict == "WARN")
