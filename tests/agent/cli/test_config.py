"""`fer-agent config`, run as a program."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import tomllib
from functools import partial
from pathlib import Path

import jsonschema
import pytest

from tests.cameras import film

ROOT = Path(__file__).resolve().parents[3]


def fer_agent(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environ}
    return subprocess.run([sys.executable, "-m", "agent", *arguments], capture_output=True, text=True, env=env)


def test_check_prints_each_problem_and_exits_78(tmp_path: Path) -> None:
    """`config check` prints FILE:LINE for each problem on stdout, nothing else, and exits 78."""
    path = tmp_path / "agent.toml"
    path.write_text("[camera]\nfsp = 1\nfps = 0\n")
    done = fer_agent("config", "check", str(path))
    assert done.returncode == 78
    assert done.stdout.splitlines() == [
        f'{path}:2: camera.fsp: unknown key; did you mean "fps"?',
        f"{path}:3: camera.fps: expected a number in (0, 60], got 0",
    ]
    assert done.stderr == ""
    listed = json.loads(fer_agent("config", "check", str(path), "--json").stdout)
    assert [p["key"] for p in listed] == ["camera.fsp", "camera.fps"]


def test_check_names_the_line_of_what_a_start_would_refuse(tmp_path: Path) -> None:
    """What is valid and could not start is told like any other problem, each with its line: a policy that is not
    filled, a k_min too low, and all files and names that are not there."""
    path = tmp_path / "b.toml"
    path.write_text(
        '[privacy]\nk_min = 2\n[policy]\npurpose = "x"\n[classify]\nmodel = "nosuch"\n[engagement]\n'
        'weights = "none/1"\n[mqtt]\ntls = true\nca_file = "ca.pem"\ncert_file = "c.pem"\nkey_file = "k.pem"\n'
        'username = "a"\npassword_file = "password"\n'
    )
    done = fer_agent("config", "check", str(path))
    assert done.returncode == 78
    assert [":".join(line.split(":")[:3]) for line in done.stdout.splitlines()] == [
        f"{path}:4: policy",
        f"{path}:2: privacy.k_min",
        f"{path}:11: mqtt.ca_file",
        f"{path}:12: mqtt.cert_file",
        f"{path}:15: mqtt.password_file",
        f"{path}:6: classify.model",
        f"{path}:8: engagement.weights",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_another_user_cannot_read_is_not_checked() -> None:
    """Somebody else than the service is told of a password file that is closed to them, and not that it is wrong."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)  # pytest's own folders are closed to other users
        folder.chmod(0o755)
        text = f'[agent]\nstate_dir = "{folder}"\n[camera]\nsource = "{folder}/a.avi"\n'
        text += '[classify]\nmodel = "compact"\n[mqtt]\n'
        film(folder / "a.avi", 1)
        (folder / "agent.toml").write_text(f'{text}username = "a"\npassword_file = "password"\n')
        (folder / "password").write_text("secret")
        (folder / "password").chmod(0o600)
        command = ["tests.agent.cli.imported", "--as-nobody", "config", "check", str(folder / "agent.toml")]
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "not checked: mqtt.password_file: cannot read" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    "command",
    [["config", "show"], ["explain"], ["calibrate", "--yes"], ["support-bundle", "/dev/null"], ["models", "list"]],
    ids=" ".join,
)
def test_a_closed_configuration_is_told_alike_everywhere(command: list[str]) -> None:
    """Who cannot read agent.toml is told so with the command that can: 78, as `run` says it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        file = Path(name, "agent.toml")
        file.touch(mode=0o600)
        line = [sys.executable, "-m", "tests.agent.cli.imported", "--as-nobody", *command, "--config", str(file)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert f"{file}:1: expected a readable file, got: Permission denied; run it with sudo" in done.stderr


CLOSED = [
    ("state_dir", '[agent]\nstate_dir = "{closed}"\n'),
    ("model", '[classify]\nmodel = "{closed}"\n'),
    ("source", '[camera]\nsource = "{closed}/lesson.mp4"\n'),
    ("calibration", '[engagement]\ncalibration = "{closed}/calibration.json"\n'),
    ("password", '[mqtt]\nusername = "a"\npassword_file = "{closed}/password"\n'),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("text", [text for _, text in CLOSED], ids=[name for name, _ in CLOSED])
def test_what_the_service_cannot_look_at_is_exit_78(text: str) -> None:
    """FAULTS 47: a name in a folder that is closed to the service, as /home is, ends `config check` and `run` with 78
    and a line that says so."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder, closed = Path(name), Path(name) / "home" / "pi"
        folder.chmod(0o755)
        closed.mkdir(parents=True)
        closed.parent.chmod(0o700)
        film(folder / "lesson.avi", 1)
        base = f'camera.source = "{folder}/lesson.avi"\nclassify.model = "compact"\nagent.state_dir = "{folder}"\n'
        section = text.split("]")[0].lstrip("[")
        lines = [line for line in base.splitlines() if not line.startswith(f"{section}.")]
        (folder / "agent.toml").write_text("\n".join(lines) + "\n" + text.format(closed=closed))
        runs = []
        for arguments in (["config", "check", f"{folder}/agent.toml"], ["run", "--config", f"{folder}/agent.toml"]):
            command = [sys.executable, "-m", "tests.agent.cli.imported", "--as-nobody", *arguments]
            env = {**os.environ, "CREDENTIALS_DIRECTORY": str(folder)}
            runs.append(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=120))
    for done in runs:
        assert done.returncode == 78, done.stderr
        assert "Permission denied" in (done.stderr + done.stdout).splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    """All that the file of `config init` lacks for a start is a policy, also with every default that it shows put in
    force; for a video it is good. Never written twice."""
    path = tmp_path / "agent.toml"
    assert fer_agent("config", "init", str(path)).returncode == 0
    done = fer_agent("config", "check", str(path))
    assert (done.returncode, done.stdout.count("\n")) == (78, 1)
    line = path.read_text().splitlines().index("[policy]") + 1
    assert done.stdout.startswith(f"{path}:{line}: policy: a live camera needs a filled [policy] section")
    lines = [line.removeprefix("#: ") for line in path.read_text().splitlines() if not line.endswith("=")]
    path.write_text("\n".join(lines))
    tomllib.loads(path.read_text())
    lesson = film(tmp_path / "lesson.avi", 1)
    done = fer_agent("config", "check", str(path), FER_AGENT__CAMERA__SOURCE=lesson)
    assert (done.returncode, done.stdout) == (0, "")
    again = fer_agent("config", "init", str(path))
    assert again.returncode == 73
    assert again.stderr.startswith("error: ")


def test_init_leaves_no_half_file_on_a_full_disk(tmp_path: Path) -> None:
    """The next try would be refused for a file that nobody wanted."""
    path = tmp_path / "agent.toml"
    line = [sys.executable, "-m", "agent", "config", "init", str(path)]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    done = subprocess.run(line, capture_output=True, text=True, preexec_fn=limit)
    says = f"error: {path}: expected a place for a new file, got: File too large\n"
    assert (done.returncode, done.stderr, path.exists()) == (73, says, False)


def test_show_tells_the_origin(tmp_path: Path) -> None:
    """`config show` gives each value with where it came from."""
    path = tmp_path / "agent.toml"
    path.write_text("[camera]\nfps = 3\n")
    done = fer_agent("config", "show", "--config", str(path), FER_AGENT__MQTT__PORT="1999")
    lines = done.stdout.splitlines()
    assert f"camera.fps = 3.0  # {path}:2" in lines
    assert "mqtt.port = 1999  # FER_AGENT__MQTT__PORT" in lines
    assert "camera.width = 1280  # default" in lines


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("FER_AGENT_CAMERA_FPS", "; did you mean FER_AGENT__CAMERA__FPS?"),
        ("FER_AGENT_CAMERA__FPS", "; did you mean FER_AGENT__CAMERA__FPS?"),
        ("FER_AGENT_MQTT_PASWORD_FILE", "; did you mean FER_AGENT__MQTT__PASSWORD_FILE?"),
        ("FER_AGENT_HOME", "; expected FER_AGENT__SECTION__KEY, with two underscores each"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_warning(tmp_path: Path, name: str, says: str) -> None:
    """It begins as ours do, so somebody believes that it counts; those that count are not warned of."""
    (tmp_path / "agent.toml").touch()
    done = fer_agent(
        "config", "show", "--config", f"{tmp_path}/agent.toml", **{name: "3", "FER_AGENT__CAMERA__WIDTH": "640"}
    )
    assert (done.returncode, done.stderr) == (0, f"warning: {name} is not used{says}\n")


def test_schema_accepts_good_and_refuses_bad() -> None:
    """The JSON Schema is one, accepts a good configuration and refuses an unknown key."""
    schema = json.loads(fer_agent("config", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid({"camera": {"fps": 2}})
    assert not check.is_valid({"camera": {"fsp": 2}})
