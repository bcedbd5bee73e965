"""The udev rules that the installer brings: in force for what is plugged in already."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_the_installer_applies_its_rules_at_once() -> None:
    """Every subsystem of the rules is triggered after they were read, and where there is no udev that is no failure.

    Read, not run: the installer triggers only on the machine that it is installed on."""
    rules = (DEPLOY / "system/60-fer-agent.rules").read_text()
    (line,) = [line for line in (DEPLOY / "install.sh").read_text().splitlines() if "udevadm trigger" in line]
    assert set(re.findall(r"--subsystem-match=(\S+)", line)) == set(re.findall(r'^SUBSYSTEM=="(\w+)"', rules, re.M))
    assert line.endswith("|| true")


def test_udevadm_knows_the_options() -> None:
    """The command, dry, is one that udevadm takes."""
    if shutil.which("udevadm") is None:
        pytest.skip("udevadm is not here; run: apt install udev")
    (line,) = [line for line in (DEPLOY / "install.sh").read_text().splitlines() if "udevadm trigger" in line]
    options = line.split(" 2>")[0].split()[2:]
    done = subprocess.run(["udevadm", "trigger", "--dry-run", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
