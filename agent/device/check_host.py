"""Checks of this machine: versions, disk, heat, clock, memory, permissions of the state, hardening of the unit."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from agent import __version__
from agent.config import Settings
from agent.config.files import named
from agent.device import thermal
from agent.device.checks import Check, Finding, fail, good, warn
from agent.device.clock import kernel_synced, synced
from agent.device.unit import FOLDER, STATE, UNIT, hides, installed, may_write

_PACKAGES: Final = ("numpy", "opencv-python-headless", "paho-mqtt", "pydantic", "ai-edge-litert", "tflite-runtime")
_EXPOSURE: Final = 2.0
_SPARE_MB: Final = 200
_PLACES: Final = {"state_dir": str(STATE), "pause_file": "/run/fer-agent"}
"""Name → where it belongs that is not read only."""


def checks(settings: Settings) -> dict[str, Check]:
    """Return the checks of this machine."""
    return {
        "versions": versions,
        "disk": lambda: disk(settings),
        "paths": lambda: paths(settings),
        "temperature": temperature,
        "clock": clock,
        "memory": memory,
        "unit": unit,
    }


def versions() -> Iterator[Finding]:
    """Python, the packages that matter, and whether numpy goes with the runtime."""
    have = {name: version for name in _PACKAGES if (version := _version(name))}
    text = ", ".join(f"{name} {version}" for name, version in have.items())
    yield good("versions", f"fer-agent {__version__}, Python {platform.python_version()}, {platform.machine()}; {text}")
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield fail("versions.python", f"Python {platform.python_version()}", "install Python 3.11, 3.12 or 3.13")
    if "tflite-runtime" in have and not have["numpy"].startswith("1."):
        found = f"tflite-runtime {have['tflite-runtime']} with numpy {have['numpy']}: it imports and then fails"
        yield fail("versions.numpy", found, "pip install 'numpy<2'")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def disk(settings: Settings) -> Iterator[Finding]:
    """The state folder: there, ours, and room for the spool."""
    folder = settings.agent.state_dir
    if not folder.is_dir():
        yield fail("disk.state", f"{folder} is not there", f"sudo install -d -o fer-agent -g fer-agent -m 700 {folder}")
        return
    if (closed := _closed(folder)) is not None:
        yield fail("disk.state", f"{closed} cannot be written by this user", _mend_closed(folder))
        return
    if folder.stat().st_mode & 0o077:
        yield warn("disk.state", f"{folder} can be read by others", f"chmod 700 {folder}")
    free_mb = shutil.disk_usage(folder).free / 1e6
    need_mb = settings.mqtt.spool_mb + _SPARE_MB
    if free_mb < need_mb:
        yield warn(
            "disk", f"{free_mb:.0f} MB free, the spool may need {need_mb:.0f}", "free space, or lower mqtt.spool_mb"
        )
    else:
        yield good("disk", f"{free_mb:.0f} MB free at {folder}")


def _closed(folder: Path) -> Path | None:
    """Return the folder, or the first thing in it, that this user cannot write, as after a backup was put back as root;
    None if all is well. What is ours in it may be read-only: a model that was installed is."""
    for path in (folder, *folder.rglob("*")):
        if os.access(path, os.W_OK, effective_ids=True):
            continue
        with suppress(FileNotFoundError):  # an agent that runs beside the doctor takes files away
            if path == folder or path.lstat().st_uid != os.geteuid():
                return path
    return None


def _mend_closed(folder: Path) -> str:
    """Return what opens the state folder, with all that is in it, to the service."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "it is mounted read-only: journalctl -k tells of a bad card; sudo mount -o remount,rw its file system"
    if folder.stat().st_uid not in (0, os.geteuid()):
        return "sudo fer-agent doctor"
    return f"sudo chown -R fer-agent: {folder}"


def paths(settings: Settings) -> Iterator[Finding]:
    """What the service sees of all that the configuration names: the doctor stands outside of the unit's walls."""
    if not installed():
        return
    wrong = []
    for key, name in named(settings):
        dotted = ".".join(map(str, key))
        if Path(name).is_absolute() and hides(Path(name)):
            found = f"{dotted} = '{name}': the unit hides /home, /root, /tmp and /var/tmp from the service"
            wrong.append(fail(f"paths.{key[-1]}", found, f"put it below {_PLACES.get(str(key[-1]), '/etc/fer-agent')}"))
        elif key[-1] == "state_dir" and not may_write(Path(name)):
            found = f"{dotted} = '{name}': the unit lets the service only read there"
            mend = f'set {dotted} = "{STATE}", or: sudo systemctl edit fer-agent, "[Service]", "ReadWritePaths={name}"'
            wrong.append(fail("paths.state_dir", found, mend))
    yield from wrong or [good("paths", "the service sees what is configured, and may write to its state folder")]


def temperature() -> Iterator[Finding]:
    """Heat and supply."""
    now = thermal.read()
    if now.under_voltage:
        yield fail("power", "the supply is too weak", "use the official power supply and a short cable")
    limit = thermal.STEPS[-1][0]
    if now.temperature_c is None:
        yield warn("temperature", "no sensor can be read", "nothing to do on a virtual machine")
    elif now.temperature_c >= limit:
        yield warn(
            "temperature", f"{now.temperature_c:.1f} °C, rate is lowered from {limit:.0f}", "add a heat sink or a fan"
        )
    else:
        yield good("temperature", f"{now.temperature_c:.1f} °C")


def clock() -> Iterator[Finding]:
    """Whether the wall clock can be trusted."""
    if synced():
        yield good("clock", "synchronised" if kernel_synced() else "synchronised once since boot")
    else:
        yield warn(
            "clock",
            "not synchronised: windows are labelled so, and a schedule goes by it",
            "sudo timedatectl set-ntp true",
        )


def memory(
    swaps: Path = Path("/proc/swaps"), controllers: Path = Path("/sys/fs/cgroup/cgroup.controllers")
) -> Iterator[Finding]:
    """Whether the unit's limits hold, and where pictures could be swapped to if the service did not lock its memory."""
    try:
        limited = "memory" in controllers.read_text().split()
    except OSError:
        limited = Path("/sys/fs/cgroup/memory").is_dir()
    if limited:
        places = [line.split()[0] for line in swaps.read_text().splitlines()[1:]] if swaps.exists() else []
        yield good("memory", f"the unit's limits hold; swap: {', '.join(places) or 'none'}")
    else:
        found = "the kernel has no memory controller: MemoryMax and MemorySwapMax of the unit do nothing"
        mend = "on a Raspberry Pi add cgroup_enable=memory cgroup_memory=1 to /boot/firmware/cmdline.txt, and reboot"
        yield warn("memory", found, mend)


def unit() -> Iterator[Finding]:
    """How far the service is confined."""
    if shutil.which("systemd-analyze") is None or not installed():
        yield warn("unit", f"{UNIT} is not installed here", "sudo deploy/install.sh")
        return
    command = ["systemd-analyze", "security", "--offline=true", str(FOLDER / UNIT), "--no-pager"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    words = done.stdout.rpartition("exposure level for ")[2].split()
    level = float(words[1]) if len(words) > 1 else 10.0
    if level <= _EXPOSURE:
        yield good("unit", f"exposure {level} (0 best, 10 worst)")
    else:
        mend = f"compare with deploy/system/{UNIT}: systemd-analyze security {UNIT}"
        yield warn("unit", f"exposure {level}, expected at most {_EXPOSURE}", mend)
