"""`fer-agent config`, run as a program."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema


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


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    """The file of `config init` is good, also with every default that it shows put in force; never written twice."""
    path = tmp_path / "agent.toml"
    assert fer_agent("config", "init", str(path)).returncode == 0
    assert fer_agent("config", "check", str(path)).returncode == 0
    lines = [line.removeprefix("#: ") for line in path.read_text().splitlines() if not line.endswith("=")]
    path.write_text("\n".join(lines))
    tomllib.loads(path.read_text())
    done = fer_agent("config", "check", str(path))
    assert (done.returncode, done.stdout) == (0, "")
    again = fer_agent("config", "init", str(path))
    assert again.returncode == 73
    assert again.stderr.startswith("error: ")


def test_show_tells_the_origin(tmp_path: Path) -> None:
    """`config show` gives each value with where it came from."""
    path = tmp_path / "agent.toml"
    path.write_text("[camera]\nfps = 3\n")
    done = fer_agent("config", "show", "--config", str(path), FER_AGENT__MQTT__PORT="1999")
    lines = done.stdout.splitlines()
    assert f"camera.fps = 3.0  # {path}:2" in lines
    assert "mqtt.port = 1999  # FER_AGENT__MQTT__PORT" in lines
    assert "camera.width = 1280  # default" in lines


def test_schema_accepts_good_and_refuses_bad() -> None:
    """The JSON Schema is one, accepts a good configuration and refuses an unknown key."""
    schema = json.loads(fer_agent("config", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid({"camera": {"fps": 2}})
    assert not check.is_valid({"camera": {"fsp": 2}})
