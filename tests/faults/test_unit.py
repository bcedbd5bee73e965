"""The real unit in a booted container: killed, hung, out of memory, misconfigured, stopped."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from agent.vision.model_card import MODELS
from tests.cameras import picture

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
BOOT_S = 300

OVERRIDE = """[Service]
ExecStart=
ExecStart=/opt/base/bin/python3 -B /opt/repo/tests/faults/unit_program.py
Environment=PYTHONHOME=/opt/base PYTHONPATH=/opt/repo:/opt/site
RestartSec=1
WatchdogSec=5
MemoryHigh=infinity
MemoryMax=300M
"""

REAL = """[Service]
ExecStart=
ExecStart=/opt/base/bin/python3 -B -m agent run --config /etc/fer-agent/agent.toml
Environment=PYTHONHOME=/opt/base PYTHONPATH=/opt/repo:/opt/site
"""

CONFIG = """[camera]
source = "/room.avi"
fps = 4
[detect]
smallest_face_px = 64
[engagement]
window_s = 2
[mqtt]
username = "fer"
password_file = "mqtt-password"
"""

OWNER = """import grp, os
from pathlib import Path
from agent.cli._state import act_as_owner
act_as_owner(Path("/var/lib/fer-agent"))
print(os.getuid() != 0, *(grp.getgrgid(group).gr_name for group in os.getgroups()))
"""

DRIVE_UNIT = """[Unit]
DefaultDependencies=no
After=basic.target
[Service]
Type=oneshot
ExecStart=/drive
[Install]
"""


def why_not() -> str | None:
    """Return why this machine cannot boot a container, or None."""
    if os.getuid() != 0:
        return "booting a container needs root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not here; run: apt install systemd-container"
    if sys.platform != "linux" or not Path("/sys/fs/cgroup").is_dir():
        return "no control groups"
    return None


def copy_unit(root: Path) -> None:
    """Install the real files with the real installer, and the driver beside them."""
    subprocess.run([ROOT / "deploy/install.sh", "--root", root, "--no-python"], check=True, capture_output=True)
    system = root / "etc/systemd/system"
    (system / "fer-agent.service.d").mkdir(parents=True, exist_ok=True)
    (system / "fer-agent.service.d/test.conf").write_text(OVERRIDE)
    (system / "drive.service").write_text(DRIVE_UNIT)
    (root / "owner.py").write_text(OWNER)
    (root / "real.conf").write_text(REAL)
    (root / "agent.toml").write_text(CONFIG)
    video = cv2.VideoWriter(str(root / "room.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 4, (160, 120))
    for number in range(600):
        video.write(picture(number))
    video.release()
    shutil.copy(ROOT / "tests/faults/unit_drive.sh", root / "drive")
    (root / "drive").chmod(0o755)
    for folder in ("opt/base", "opt/site", "opt/repo"):
        (root / folder).mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Boot an overlay of this machine's root once, run the driver in it, return its notes."""
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("nspawn")
    layers = folder / "layers"
    layers.mkdir()
    site = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    mounted: list[Path] = []
    try:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", layers], capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(layers)
        for name in ("upper", "work", "root"):
            (layers / name).mkdir()
        root = layers / "root"
        options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
        if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], capture_output=True).returncode:
            pytest.skip("this kernel has no overlay file system")
        mounted.append(root)
        copy_unit(root)
        command = [
            *("systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "--private-network", "--boot"),
            *(f"--bind-ro={sys.base_prefix}:/opt/base", f"--bind-ro={site}:/opt/site", f"--bind-ro={ROOT}:/opt/repo"),
            "--system-call-filter=@clock",  # nspawn forbids it; on a machine only the unit's own filter counts
            *("systemd.unit=drive.service", "systemd.wants=basic.target"),
        ]
        log = folder / "boot.log"
        with log.open("w") as out:
            subprocess.run(
                ["timeout", "-k", "5", str(BOOT_S), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        notes = root / "result"
        if not notes.exists():
            pytest.skip(f"the container did not boot here: {log.read_text()[-400:]}")
        yield dict(line.split("=", 1) for line in notes.read_text().splitlines() if "=" in line)
    finally:
        for mount in reversed(mounted):
            subprocess.run(["umount", "-l", mount], check=False)


def test_starts_confined(result: dict[str, str]) -> None:
    """The unit starts as its own user; runtime, clock state and credentials work inside the hardening."""
    assert result["started"] == "active"
    assert result["user"].startswith("fer-agen")
    facts = ast.literal_eval(result["facts"])
    assert facts["runtimes"]
    assert facts["resized"] == (2, 2)
    assert facts["synced"] in (True, False)
    assert facts["watchdog"] == 5
    assert facts["password"] is True
    assert facts["etc"] is False


def test_killed_comes_back(result: dict[str, str]) -> None:
    """After SIGKILL the service manager starts it again."""
    assert result["killed"] == "1 active"


def test_healthy_is_left_alone(result: dict[str, str]) -> None:
    """A healthy agent outlives the watchdog's interval: it is fed."""
    assert result["fed"] == "1"


def test_stops_cleanly(result: dict[str, str]) -> None:
    """SIGTERM ends it within the stop time-out, through its own clean-up."""
    assert result["stopped"] == "success /var/lib/fer-agent/stopped"


def test_hung_loop_is_restarted(result: dict[str, str]) -> None:
    """A loop that hangs is killed by the watchdog and started again."""
    assert int(result["hang"]) >= 1


def test_stuck_driver_is_restarted(result: dict[str, str]) -> None:
    """A camera driver that never returns stops the food although the loop still turns."""
    assert int(result["camera"]) >= 1


def test_configuration_error_is_final(result: dict[str, str]) -> None:
    """Exit code 78 is not restarted: one start, state failed."""
    assert result["config"] == "failed 78 1"


def test_memory_limit_recycles(result: dict[str, str]) -> None:
    """At its memory limit the agent is killed alone and started again."""
    if ast.literal_eval(result["facts"])["limit"] is None:
        pytest.skip("this kernel gives the container no memory controller")
    assert int(result["memory"]) >= 2


needs_model = pytest.mark.skipif(
    not (MODELS / "released").is_dir(), reason="no released bundle in agent/models/released"
)


@needs_model
def test_the_real_program_runs_confined(result: dict[str, str]) -> None:
    """`fer-agent run` itself, with its runtime, spool and status socket, works inside the hardening."""
    assert result["real"] == "active"
    status = json.loads(result["status"])
    assert status["windows"]["newest_seq"] >= 1
    assert status["backend"] in ("litert", "tflite-runtime")
    assert status["spool"]["windows"] >= 1
    assert status["delivery"]["state"] == "ready"
    assert result["spool"].split()[0] == "fer-agent"
    assert int(result["spool"].split()[1]) >= 1


@needs_model
def test_the_service_manager_sees_a_reload(result: dict[str, str]) -> None:
    """`systemctl reload` keeps the same process, active, and counts no restart; a stop is clean."""
    assert result["reload"] == "active same 0"
    assert result["real_stopped"] == "success"


def test_root_becomes_the_agent_with_its_groups(result: dict[str, str]) -> None:
    """`sudo fer-agent calibrate` opens the camera with the agent's groups, not with none."""
    own, *groups = result["groups"].split()
    assert own == "True"
    assert {"fer-agent", "video", "plugdev", "gpio"} <= set(groups)


@needs_model
def test_the_installer_on_a_running_system(result: dict[str, str]) -> None:
    """Without a policy the installation succeeds and says that nothing was started; with a video the service runs and
    is enabled; removed, it is gone and the configuration is still there."""
    assert result["fresh"].startswith("0 installed, not started")
    assert result["installed"] == "0 installed and started; see: fer-agent doctor active enabled"
    assert result["upgraded"].startswith("0 upgraded and restarted (at boot: enabled)")
    assert result["upgraded"].endswith("active enabled")
    assert result["removed"].startswith("0 removed")
    assert "inactive" in result["removed"]
    assert "agent.toml" in result["removed"].split()


@needs_model
def test_an_upgrade_leaves_off_what_is_off(result: dict[str, str]) -> None:
    """`systemctl disable --now fer-agent` keeps sensing off over an upgrade, which says so."""
    assert result["switched_off"].startswith(
        "0 upgraded; the service was not running and stays off (at boot: disabled)"
    )
    assert result["switched_off"].endswith("inactive disabled")


@needs_model
def test_the_doctor_looks_as_the_service(result: dict[str, str]) -> None:
    """As root the doctor runs as the service's user: the state folder is fit, the secret can be read, and the broker
    that is not there is what it finds."""
    text, _, code = result["doctor"].rpartition(" exit ")
    assert text, result["doctor_err"]
    found = {finding["name"]: finding for finding in json.loads(text)}
    assert found["disk"]["verdict"] in ("PASS", "WARN")
    assert found["model"]["verdict"] == found["detector"]["verdict"] == "PASS"
    assert found["camera"]["verdict"] in ("PASS", "WARN")
    assert found["unit"]["verdict"] == "PASS"
    assert "refused" in found["mqtt.connect"]["found"]
    assert code == "1"


@needs_model
def test_a_doctor_that_is_ended_leaves_no_secrets(result: dict[str, str]) -> None:
    """SIGTERM while the doctor looks as the service: its copies of the secrets go with it."""
    assert result["secrets"] == "1"
    assert result["ended"] == "143 0"
