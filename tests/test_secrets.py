"""A planted password is looked for everywhere: logs, ps, traffic, state, reports and support bundles."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cameras import mjpeg_server
from tests.faults.service_world import POLICY, START_S
from tests.mqtt_world import free_port, wait_until

SECRET = "planted-Zq7!vX2&kd-secret"
FORMS = (
    SECRET.encode(),
    base64.b64encode(SECRET.encode()),
    SECRET.encode().hex().encode(),
    quote(SECRET).encode(),
)
REPORTS = {
    "config show": {0},
    "config show --json": {0},
    "doctor --json": {0, 1},  # 1: this machine fails a check
    "status --json": {0},
    "models list": {0},
    "audit verify": {0},
    "spool ls": {0},
    "support-bundle": {0},
}
"""Each with the exit codes that it may have beside an agent that runs."""


def told(content: bytes) -> bool:
    return any(form in content for form in FORMS)


class Device:
    """A configuration with a password, a broker that asks for it, and the program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs: dict[str, Path] = {}
        self.started: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self.password = root / "mqtt-password"
        self.password.write_text(SECRET + "\n")
        self.password.chmod(0o600)
        self.config = root / "agent.toml"

    def watch(self, source: object, user: str = "agent", more: str = "") -> None:
        """Write agent.toml."""
        self.config.write_text(
            f'[agent]\nstate_dir = "{self.root}/state"\n[camera]\nsource = "{source}"\nfps = 2\n'
            f'[engagement]\nwindow_s = 3\n[privacy]\npause_file = "{self.root}/pause"\n'
            f'[mqtt]\nport = {self.port}\nusername = "{user}"\npassword_file = "{self.password}"\n{more}'
        )

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        asks = arguments[0] == "status"
        where = ("--socket", str(self.root / "status.sock")) if asks else ("--config", str(self.config))
        command = [sys.executable, "-B", "-m", "agent", *arguments, *where]
        self.outputs[name] = self.root / f"{name}.out"
        with self.outputs[name].open("wb") as out:
            self.started.append(subprocess.Popen(command, stdout=out, stderr=out, cwd=self.root))
        return self.started[-1]

    def finish(self, name: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()  # the test's own time is the limit: how long a busy machine takes proves nothing
        assert b"Traceback" not in self.outputs[name].read_bytes()

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every file under the device's folder but the password's own, archives unpacked."""
        for path in sorted(self.root.rglob("*")):
            if not path.is_file() or path == self.password or path.name.startswith("broker"):
                continue
            yield str(path), path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{path}:{name}", archive.read(name)) for name in archive.namelist())
            elif tarfile.is_tarfile(path):
                with tarfile.open(path) as archive:
                    for member in archive:
                        if file := archive.extractfile(member):
                            yield f"{path}:{member.name}", file.read()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose broker asks for the planted password and writes what it is sent into broker.log."""
    mosquitto, passwd = shutil.which("mosquitto") or "/usr/sbin/mosquitto", shutil.which("mosquitto_passwd")
    if passwd is None or not Path(mosquitto).is_file():
        pytest.skip("mosquitto is not installed (Debian package mosquitto)")
    made = Device(tmp_path)
    users = tmp_path / "broker-users"
    subprocess.run([passwd, "-b", "-c", str(users), "agent", SECRET], check=True, capture_output=True)
    users.chmod(0o644)
    tmp_path.chmod(0o755)
    config = tmp_path / "broker.conf"
    config.write_text(f"listener {made.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\nuser root\n")
    with (tmp_path / "broker.log").open("wb") as log:
        made.started.append(subprocess.Popen([mosquitto, "-v", "-c", str(config)], stdout=log, stderr=log))

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", made.port)) == 0

    try:
        wait_until(listens, START_S)
        yield made
    finally:
        for started in reversed(made.started):
            started.kill()
            started.wait(10)


def ps(pid: int) -> bytes:
    """The command lines of a process and its children, as `ps` shows them to every user."""
    seen = b""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if int(folder.name) == pid or int(stat[1]) == pid:
                    seen += (folder / "cmdline").read_bytes() + b"\n"
            except OSError:
                continue
    return seen


def test_a_planted_secret_is_nowhere(device: Device, demo_clip: Path) -> None:
    """The broker's password is used and shows in no log line, command line, state file, report or support bundle."""
    device.watch(demo_clip)
    running = device.start("run", "run")
    lines = b""
    for _ in range(10):
        time.sleep(0.5)
        lines += ps(running.pid)
    device.finish("run", running)
    assert b"agent" in lines
    assert not told(lines)
    log = (device.root / "broker.log").read_text()
    assert "as fer-fer" in log, f"the password was used: {log[-500:]} {device.outputs['run'].read_text()[-500:]}"
    assert [name for name, content in device.everything() if told(content)] == []


@pytest.mark.timeout(600)
def test_reports_do_not_tell_it(device: Device) -> None:
    """`config show`, `doctor` (which uses the password), `status`, `support-bundle` and the others leave it out."""
    with mjpeg_server() as camera:  # which has no end, so that the agent is there for all of them
        device.watch(camera.url, more=POLICY)
        running = device.start("run", "run")
        wait_until(lambda: b"event=mqtt.up" in device.outputs["run"].read_bytes(), 2 * START_S)
        wait_until((device.root / "status.sock").exists, START_S)
        for report, codes in REPORTS.items():
            process = device.start(report, *report.split())
            device.finish(report, process)
            told_by = {name: device.outputs[name].read_text()[-2000:] for name in (report, "run")}
            assert process.returncode in codes, (report, running.poll(), told_by)
        running.terminate()
        device.finish("run", running)
        assert running.returncode == 0
    assert list(device.root.glob("fer-agent-support-*.tar.gz"))
    assert "as fer-fer-" in (device.root / "broker.log").read_text(), "the doctor used the password"
    assert [name for name, content in device.everything() if told(content)] == []


def test_a_refused_password_is_not_told(device: Device, demo_clip: Path) -> None:
    """The broker refuses: the log says so, without the password."""
    device.watch(demo_clip, user="somebody")
    device.finish("run", device.start("run", "run"))
    assert "not authorised" in (device.root / "broker.log").read_text()
    assert [name for name, content in device.everything() if told(content)] == []


def test_the_search_finds_it(device: Device) -> None:
    """The same search finds the password in a file, in base64 in a file, and in an archive."""
    (device.root / "a.txt").write_bytes(b"x" + FORMS[1])
    with tarfile.open(device.root / "b.tar.gz", "w:gz") as archive:
        archive.add(device.password, "inside")
    found = {Path(name).name for name, content in device.everything() if told(content)}
    assert found == {"a.txt", "b.tar.gz:inside"}
    assert not os.environ.get("FER_MQTT_PASSWORD")
