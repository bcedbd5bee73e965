"""An aarch64 Python on an x86 machine: Debian's packages, the wheels that a Raspberry Pi installs, and qemu-user.

All of it lies in one folder and needs no root: apt keeps lists of its own there, and the system's stay as they are.

debian/            Debian's arm64 python3 with its libraries, unpacked
litert/            the agent's requirements as aarch64 wheels, LiteRT in the version that this Python has
tflite-runtime/    the same with the other runtime, which needs numpy 1
cortex-a72/        what a program on that processor finds at /; its `python-litert` and `python-tflite-runtime` are
                   Pythons that `--python` of the other commands takes
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from agent.errors import ConfigError, TryAgainError, last_line
from training import cache

PROCESSORS: Final = {"cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
"""Processor as qemu calls it → its part number: a Raspberry Pi 4's (no dot product) and 5's (with it)."""

TFLITE: Final = "2.14.0"
"""The last tflite-runtime; it has wheels for Python 3.11 and older."""

NEWEST_PYTHON: Final = {"litert": (3, 14), "tflite-runtime": (3, 11)}
"""Runtime → newest Python that it has wheels for."""


@dataclass(frozen=True)
class Emulated:
    """What `build` made."""

    pythons: dict[tuple[str, str], str]
    """(processor, runtime) → path of its Python."""
    version: dict[str, str]
    """Runtime → its version."""
    skipped: tuple[str, ...]


def home() -> Path:
    """Return the folder in the cache, ~/.cache/fer-agent/aarch64."""
    return cache.folder() / "aarch64"


def emulator() -> str:
    """Return the path of qemu-aarch64.

    Raises
    ------
    ConfigError
        it is not installed
    """
    return _program("qemu-aarch64", "qemu-aarch64-static", package="qemu-user")


def build(folder: Path) -> Emulated:
    """Return the Pythons in `folder`; what is missing there is downloaded (about 150 MB the first time).

    Raises
    ------
    ConfigError
        a program that this needs is not installed
    TryAgainError
        a download failed
    """
    qemu, root = emulator(), folder / "debian"
    if not root.is_dir():
        _debian(root, folder / "apt")
    for processor, part in PROCESSORS.items():
        _slash(folder / processor, root, part)
    python, tags = _asked([qemu, "-L", str(root), str(root / "usr/bin/python3")])
    runtimes = {"litert": metadata.version("ai-edge-litert"), "tflite-runtime": TFLITE}
    skipped = [name for name in runtimes if python > NEWEST_PYTHON[name]]
    pythons = {}
    for name in runtimes:
        if name in skipped:
            continue
        site = folder / f"{name}-{runtimes[name]}"
        if not site.is_dir():
            _wheels(site, list(_requirements(name, runtimes[name])), python, tags)
        for processor in PROCESSORS:
            pythons[processor, name] = _script(folder / processor, name, site, [qemu, "-cpu", processor], root)
    why = f"no wheel for Debian's Python {python[0]}.{python[1]}"
    return Emulated(pythons, runtimes, tuple(f"{name}: {why}" for name in skipped))


def _program(*names: str, package: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise ConfigError(f"{names[0]}: not on PATH, and aarch64 needs it; on Debian: apt-get install {package}")


def _debian(root: Path, state: Path) -> None:
    """Unpack arm64 python3 and all that it depends on to `root`, from where the system's own packages come."""
    apt, unpack = _program("apt-get", package="apt"), _program("dpkg-deb", package="dpkg")
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # the other one, _apt, may not write to somebody's cache
        "Dir::State": str(state),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
    }
    command = [apt, "-q", *(f"-o{name}={value}" for name, value in options.items())]
    _run("Debian's list of arm64 packages", [*command, "update"])
    # libstdc++6 is not Python's but the runtimes'.
    _run("Debian's arm64 python3", [*command, "install", "--download-only", "--yes", "python3", "libstdc++6"])
    partial = _empty(root.with_name(f".{root.name}.part"))
    for package in sorted((state / "cache" / "archives").glob("*.deb")):
        _run(None, [unpack, "-x", str(package), str(partial)])
    partial.rename(root)
    shutil.rmtree(state)


def _slash(slash: Path, root: Path, part: str) -> None:
    """Make the folder that `qemu -L` lays over /: `root`, and a /proc/cpuinfo of an Arm processor.

    XNNPACK's cpuinfo crashes on the x86 one, which qemu shows until 8.1.
    """
    (slash / "proc").mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        if not (slash / entry.name).is_symlink():
            (slash / entry.name).symlink_to(entry)
    lines = (
        "BogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
    )
    cores = "".join(f"processor\t: {i}\n{lines}\n" for i in range(4))
    (slash / "proc" / "cpuinfo").write_text(cores, encoding="ascii")


def _asked(python: list[str]) -> tuple[tuple[int, int], list[str]]:
    """Return the emulated Python's version, and pip's names of the platforms whose wheels it takes."""
    question = "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split('.')[1])"
    major, minor, glibc = map(int, _run(None, [*python, "-c", question]).split())
    return (major, minor), ["manylinux2014_aarch64", *(f"manylinux_2_{n}_aarch64" for n in range(17, glibc + 1))]


def _requirements(runtime: str, version: str) -> Iterator[str]:
    """Yield what pip installs: the agent's own requirements with that runtime."""
    for line in metadata.requires("fer-agent") or ():
        if "extra ==" not in line and not line.startswith("ai-edge-litert"):
            yield line
    yield from {
        "litert": [f"ai-edge-litert=={version}"],
        "tflite-runtime": [f"tflite-runtime=={version}", "numpy<2"],
    }[runtime]


def _wheels(site: Path, requirements: list[str], python: tuple[int, int], tags: list[str]) -> None:
    """Install aarch64 wheels of `requirements` to the folder `site`, whole or not at all."""
    partial = _empty(site.with_name(f".{site.name}.part"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    command += ["--target", str(partial), "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(map(str, python)), *(f"--platform={tag}" for tag in tags)]
    _run(f"aarch64 wheels of the agent with {site.name}", [*command, *requirements])
    partial.rename(site)


def _script(slash: Path, runtime: str, site: Path, qemu: list[str], root: Path) -> str:
    """Write the Python of that processor and runtime; return its path."""
    path = slash / f"python-{runtime}"
    command = shlex.join([*qemu, "-L", str(slash), str(root / "usr/bin/python3")])
    path.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(site))}"${{PYTHONPATH:+:$PYTHONPATH}}"\nexec {command} "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _run(what: str | None, command: list[str]) -> str:
    """Run `command` after saying `what` it gets; return what it prints."""
    if what is not None:
        click.echo(f"getting {what} …", err=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TryAgainError(f"{what or command[0]}: {last_line(done.stderr, f'exit code {done.returncode}')}")
    return done.stdout
