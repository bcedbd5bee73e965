"""The configuration: what it takes from where, and what it says of everything that is wrong."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import Settings
from agent.config.file import Problem, SettingsError, load
from agent.config.lines import line_of, locate
from agent.insight.policy import is_live


def write(folder: Path, text: str, name: str = "agent.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def complaints(path: Path, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ=environ)
    return [str(problem).replace(str(path.parent) + "/", "") for problem in caught.value.problems]


def problems_of(path: Path | None, environ: dict[str, str]) -> tuple[Problem, ...] | None:
    """Return what is wrong; None if nothing is."""
    try:
        load(path, environ=environ)
    except SettingsError as error:
        return error.problems
    return None


def test_a_byte_order_mark_is_let_be(tmp_path: Path) -> None:
    """A file that Windows' Notepad saved, with byte-order mark and CRLF, is read like any other."""
    (tmp_path / "agent.toml").write_bytes(b"\xef\xbb\xbf[camera]\r\nfps = 2\r\nx = 1\r\n")
    (line,) = complaints(tmp_path / "agent.toml")
    assert line.startswith("agent.toml:3: camera.x: unknown key")


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    """No camera is called ""."""
    (line,) = complaints(write(tmp_path, '[camera]\nsource = ""\n'))
    assert line == 'agent.toml:2: camera.source: expected text in quotes, not empty, got ""'


def test_a_folder_is_no_password_file(tmp_path: Path) -> None:
    """A folder as password_file is called one, and nobody is told to chmod it."""
    (line,) = complaints(write(tmp_path, f'[mqtt]\nusername = "x"\npassword_file = "{tmp_path}"\n'))
    assert "expected a file, got the folder" in line


LONG = "x" * 300


@pytest.mark.parametrize("name", [LONG, "a\\u0000b"])
@pytest.mark.parametrize(
    ("section", "key", "more"),
    [
        ("agent", "state_dir", ""),
        ("camera", "source", ""),
        ("classify", "model", ""),
        ("engagement", "calibration", ""),
        ("engagement", "weights", ""),
        ("privacy", "pause_file", ""),
        ("mqtt", "password_file", 'username = "x"\n'),
        ("mqtt", "ca_file", "tls = true\n"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_problem(
    tmp_path: Path, section: str, key: str, more: str, name: str
) -> None:
    """FAULTS 47: a name too long for a file system, or with a NUL in it, is one line with its place."""
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, f'[{section}]\n{key} = "{name}"\n{more}'), environ=given)
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (f"{tmp_path}/agent.toml:2", f"{section}.{key}")
    assert problem.what.startswith("expected the name of a file")


@pytest.mark.parametrize("source", [f"rtsp://camera/live?token={LONG}", f"videotestsrc ! {LONG} ! appsink"])
def test_a_long_address_of_a_camera_is_none_of_a_file(tmp_path: Path, source: str) -> None:
    """An address or a pipeline may be longer than any name of a file: it is taken, and it is live."""
    path = write(tmp_path, f'[camera]\nsource = "{source}"\n')
    assert is_live(load(path, environ={}).settings.camera.source)


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """A file without a key gives every default."""
    assert load(write(tmp_path, ""), environ={}).settings == Settings()


def test_later_wins(tmp_path: Path) -> None:
    """conf.d beats agent.toml, the environment beats both, the command line beats all; each origin is told."""
    path = write(tmp_path, "[camera]\nfps = 1\nwidth = 100\nheight = 100\nopen_timeout_s = 1\n")
    write(tmp_path, "[camera]\nwidth = 200\nheight = 200\nopen_timeout_s = 2\n", "conf.d/10-a.toml")
    write(tmp_path, "[camera]\nheight = 250\n", "conf.d/20-b.toml")
    loaded = load(path, environ={"FER_AGENT__CAMERA__OPEN_TIMEOUT_S": "3"}, overrides={"camera.retry_max_s": 4})
    camera = loaded.settings.camera
    assert (camera.fps, camera.width, camera.height, camera.open_timeout_s, camera.retry_max_s) == (1, 200, 250, 3, 4)
    where = {k[1]: o.replace(str(tmp_path) + "/", "") for k, o in loaded.origins.items()}
    assert where == {
        "fps": "agent.toml:2",
        "width": "conf.d/10-a.toml:2",
        "height": "conf.d/20-b.toml:2",
        "open_timeout_s": "FER_AGENT__CAMERA__OPEN_TIMEOUT_S",
        "retry_max_s": "command line",
    }


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """The schedule in it would be gone, and the camera always on. Here a link to itself, closed to root as well."""
    path = write(tmp_path, "")
    (tmp_path / "conf.d").symlink_to("conf.d")
    assert complaints(path)[0].startswith("conf.d:1: expected a readable file, got: Too many levels of symbolic links")


def test_every_error_at_once(tmp_path: Path) -> None:
    """Unknown keys, wrong types and values out of range are all told, with file, line, key, expected and got."""
    text = """[camera]
fsp = 2
fps = 0
source = 0
[privcy]
x = 1
[classify]
edgetpu = "on"
threads = "2"
[[schedule]]
days = ["mon", "xyz"]
start = "08:00"
"""
    path = write(tmp_path, text)
    write(tmp_path, "[mqtt]\nport = 70000\ntls = 1\n", "conf.d/10.toml")
    assert complaints(path, FER_AGENT__CAMERA__HEIGHT="tall", FER_AGENT__MQTT__HOTS="x") == [
        'agent.toml:2: camera.fsp: unknown key; did you mean "fps"?',
        "agent.toml:3: camera.fps: expected a number in (0, 60], got 0",
        "agent.toml:4: camera.source: expected text in quotes, not empty, got 0",
        'agent.toml:5: privcy: unknown key; did you mean "privacy"?',
        'agent.toml:8: classify.edgetpu: expected one of "auto", "off", got "on"',
        'agent.toml:9: classify.threads: expected a whole number in [1, 64], got "2"',
        'agent.toml:10: schedule.0.end: expected a time such as "08:00", got nothing',
        'agent.toml:11: schedule.0.days.1: expected one of "mon", "tue", "wed", "thu", "fri", "sat", "sun", got "xyz"',
        "conf.d/10.toml:2: mqtt.port: expected a whole number in [1, 65535], got 70000",
        "conf.d/10.toml:3: mqtt.tls: expected true or false, got 1",
        'FER_AGENT__CAMERA__HEIGHT: camera.height: expected a whole number in [64, 8192], got "tall"',
        'FER_AGENT__MQTT__HOTS: mqtt.hots: unknown key; did you mean "host"?',
    ]


def test_key_of_another_section(tmp_path: Path) -> None:
    """A key that exists elsewhere is pointed to."""
    assert complaints(write(tmp_path, "[camera]\nk_min = 7\n")) == [
        'agent.toml:2: camera.k_min: unknown key; did you mean "k_min" of [privacy]?'
    ]


def test_world_readable_secret_is_refused(tmp_path: Path) -> None:
    """A password that others can read is refused with the command that mends it, and taken once it is run."""
    secret = write(tmp_path, "hunter2", "password")
    secret.chmod(0o644)
    path = write(tmp_path, '[mqtt]\nusername = "a"\npassword_file = "password"\n')
    (line,) = complaints(path)
    assert line.startswith("agent.toml:3: mqtt.password_file: expected a secret that only its owner can read")
    assert line.endswith(f"run: chmod 600 {secret}") or line.endswith("run: chmod 600 password")
    assert "hunter2" not in line
    secret.chmod(0o600)
    assert load(path, environ={}).settings.mqtt.password_file == secret


def test_files_of_model_and_weights_lie_beside_the_configuration(tmp_path: Path) -> None:
    """A relative weight table or bundle is one beside agent.toml; the package's own names stay names."""
    (tmp_path / "mine").mkdir()
    path = write(tmp_path, '[engagement]\nweights = "w.toml"\n[classify]\nmodel = "mine"\n')
    found = load(path, environ={}).settings
    assert found.engagement.weights == str(tmp_path / "w.toml")
    assert found.classify.model == str(tmp_path / "mine")
    (tmp_path / "compact").mkdir()
    found = load(write(tmp_path, '[classify]\nmodel = "compact"\n'), environ={}).settings
    assert (found.engagement.weights, found.classify.model) == (Settings().engagement.weights, "compact")
    assert load(write(tmp_path, '[classify]\nmodel = "models/x"\n'), environ={}).settings.classify.model == str(
        tmp_path / "models/x"
    )
    assert load(write(tmp_path, '[classify]\nmodel = "relaesed"\n'), environ={}).settings.classify.model == "relaesed"


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_credentials_of_the_service_manager_come_first(tmp_path: Path, mode: int) -> None:
    """A relative secret is taken from $CREDENTIALS_DIRECTORY where it is there, owned by the agent (systemd 252) or
    opened to it by an access list, which shows as group bits (254 and later)."""
    given = write(tmp_path, "x", "credentials/password")
    given.chmod(mode)
    path = write(tmp_path, '[mqtt]\nusername = "a"\npassword_file = "password"\n')
    loaded = load(path, environ={"CREDENTIALS_DIRECTORY": str(given.parent)})
    assert loaded.settings.mqtt.password_file == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[mqtt]\nca_file = "/ca.pem"\n', "agent.toml:2: mqtt.ca_file: expected tls = true beside it"),
        ('[mqtt]\ntls = true\ncert_file = "/c.pem"\n', "agent.toml:3: mqtt.cert_file: expected key_file beside it"),
        (
            "[engagement]\nwindow_s = 2\n",
            "agent.toml:2: engagement.window_s: expected engagement.window_s x camera.fps",
        ),
        ("[camera]\nfps = 0.01\n", "agent.toml:2: camera.fps: expected engagement.window_s x camera.fps"),
        ('[mqtt]\npassword_file = "/p"\n', "agent.toml:2: mqtt.password_file: expected username beside it"),
        (
            '[agent]\nstate_dir = "state"\n',
            'agent.toml:2: agent.state_dir: expected a path from "/" on, such as "/var/',
        ),
        ('[agent]\nid = "viewer"\n', "agent.toml:2: agent.id: expected a name of this device"),
        ('[privacy]\npause_file = "pause"\n', 'agent.toml:2: privacy.pause_file: expected a path from "/" on, such as'),
        ("[privacy]\nled_gpio = 17\npause_gpio = 17\n", "agent.toml:3: privacy.pause_gpio: expected another line than"),
        ('[[schedule]]\ndays=[]\nstart="08:00"\nend="09:00"\n', "agent.toml:2: schedule.0.days: expected"),
        ('[[schedule]]\ndays=["mon"]\nstart="08:00"\nend="08:00"\n', "agent.toml:4: schedule.0.end: expected another"),
    ],
)
def test_settings_that_contradict(tmp_path: Path, text: str, message: str) -> None:
    """Settings that are valid alone and wrong together are refused, never silently insecure."""
    (line,) = complaints(write(tmp_path, text))
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[[schedule]]\ndays = ["mon"]\nstart = "8:00"\nend = "12:00"\n',
            'agent.toml:3: schedule.0.start: expected a time such as "08:00", got "8:00"',
        ),
        (
            '[schedule]\ndays = ["mon"]\nstart = "08:00"\nend = "12:00"\n',
            "agent.toml:1: schedule: expected [[schedule]], with two brackets, before each entry, got a single table; "
            "write [[schedule]]",
        ),
        ("schedule = 5\n", "agent.toml:1: schedule: expected a list of tables, got 5"),
        (
            '[[schedule]]\ndays = "mon"\nstart = "08:00"\nend = "12:00"\n',
            'agent.toml:2: schedule.0.days: expected a list in [ ], each one of "mon", "tue", "wed", "thu", "fri"',
        ),
        (
            '[agent]\nid = "Room 12"\n',
            'agent.toml:2: agent.id: expected letters a-z, digits and "-", at most 64, got "',
        ),
    ],
)
def test_what_is_expected_is_told_in_words(tmp_path: Path, text: str, line: str) -> None:
    """Who sets up a device in a school reads no regular expressions and knows no names of types."""
    (told,) = complaints(write(tmp_path, text))
    assert told.startswith(line)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("[camera]\nfps = 1\n[camera]\nwidth = 640\n", "; put these lines under the first [camera]"),
        ("[schedule]\n[schedule]\n", "; write [[schedule]], with two brackets, before each of them"),
        ("[camera]\nfps = 1\nfps = 2\n", "; this key is there twice: keep one of them"),
        ("[classify]\nmodel = compact\n", '; text needs quotes: "compact"'),
        ("[camera]\nsource = /dev/video0\n", '; text needs quotes: "/dev/video0"'),
        ("[mqtt]\nhost = 10.0.0.7\n", '; text needs quotes: "10.0.0.7"'),
        ("[[schedule]]\nstart = 08:00\n", '; text needs quotes: "08:00"'),
        ("[mqtt]\ntls = True\n", "; write true in small letters"),
    ],
)
def test_a_syntax_error_says_what_to_do(tmp_path: Path, text: str, mend: str) -> None:
    """The mistakes that people make in TOML come with their cure, not with the parser's words alone."""
    (told,) = complaints(write(tmp_path, text))
    assert told.endswith(mend), told


@pytest.mark.parametrize(
    "line",
    [
        "source = rtsp://admin:hunter2@10.0.0.7:554/1",
        "source = rtsp://admin:hunter2!@10.0.0.7/1",
        "source = rtsp://10.0.0.7/0/admin:hunter2/main",
        'source = ["rtsp://admin:hunter2-and-so-on-until-the-end-of-what-is-shown@10.0.0.7/1"]',
        'fps = "rtsp://admin:hunter2@10.0.0.7/1"',
    ],
)
def test_a_mistake_in_an_address_shows_no_login(tmp_path: Path, line: str) -> None:
    """What is told of a camera's address that was written wrongly goes to the journal: its login is not in it."""
    (told,) = complaints(write(tmp_path, f"[camera]\n{line}\n"))
    assert "hunter2" not in told
    assert "quotes" in told or "expected a number" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[camera]\nfps = = 2\n", "agent.toml:2: expected TOML, got a syntax error"),
        (b"[camera]\n# \xff\n", "agent.toml:2: expected UTF-8 text, got byte 0xff"),
        (b"a = " + b"[" * 100_000, "agent.toml:1: expected"),
        (b"#" * 2_000_000, "agent.toml:1: expected at most 1000000 bytes"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    """Bytes that are no TOML get one line with the place, whatever they are."""
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    (line,) = complaints(path)
    assert line.startswith(message)


def test_missing_file(tmp_path: Path) -> None:
    """A configuration that is not there is a problem with the command that writes one."""
    (line,) = complaints(tmp_path / "none.toml")
    assert "No such file" in line
    assert "config init" in line


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """Nobody is told to write a new file where one is named by its folder."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, environ={})
    assert (
        str(caught.value) == f"{tmp_path}:1: expected a file, got a folder; name the file in it: {tmp_path}/agent.toml"
    )


def test_a_folder_in_conf_d_is_no_configuration_either(tmp_path: Path) -> None:
    """Nobody looks for an agent.toml in it."""
    write(tmp_path, "")
    (tmp_path / "conf.d" / "room.toml").mkdir(parents=True)
    (line,) = complaints(tmp_path / "agent.toml")
    assert line == "conf.d/room.toml:1: expected a file, got a folder; rename it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("credentials", "mend"),
    [
        (None, "; run it with sudo"),
        ("/nowhere", "; the service's user must read it: sudo chgrp fer-agent {0}; sudo ch"),
    ],
)
def test_a_closed_file_is_not_one_to_write(credentials: str | None, mend: str) -> None:
    """Who may not read the configuration is told to ask as root; of the service's own user, what opens it to that."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)  # pytest's own folders are closed to other users
        folder.chmod(0o755)
        write(folder, "").chmod(0o600)
        command = [
            sys.executable,
            "-m",
            "tests.agent.cli.imported",
            "--as-nobody",
            "config",
            "check",
            f"{name}/agent.toml",
        ]
        env = {**os.environ} | ({"CREDENTIALS_DIRECTORY": credentials} if credentials else {})
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], env=env)
    assert done.returncode == 78, done.stderr
    assert "expected a readable file, got: Permission denied" + mend.format(f"{name}/agent.toml") in done.stdout
    assert "config init" not in done.stdout


@pytest.mark.parametrize("host", ["mqtts://broker.local", "user:secret@broker.local", "broker.local:1883", "[::1]", ""])
def test_a_host_is_a_host_alone(tmp_path: Path, host: str) -> None:
    """What people write for a broker's address is refused with where the rest belongs, and no login is shown."""
    (line,) = complaints(write(tmp_path, f'[mqtt]\nhost = "{host}"\n'))
    assert line.startswith("agent.toml:2: mqtt.host: expected a name or an address alone")
    assert "secret" not in line


@pytest.mark.parametrize("host", ["broker.local", "192.168.1.4", "::1", "fe80::1%eth0", "2001:db8::1.2.3.4"])
def test_hosts_of_every_kind(tmp_path: Path, host: str) -> None:
    """Names, IPv4 and IPv6 addresses are taken."""
    assert load(write(tmp_path, f'[mqtt]\nhost = "{host}"\n')).settings.mqtt.host == host


def test_lines_survive_what_toml_allows() -> None:
    """Line numbers are right after multi-line strings and arrays, comments, quoted and dotted keys."""
    text = '''a = """
[not.a.table]
b = 1
"""
c = [ # ]
  "x = 1", 'y]',
]
"quoted key" = 1
[t . u]
"v.w" = { x = 1 }
[[s]]
k = 1
[[s]]
k = 2
'''
    lines = locate(text)
    assert lines == {
        ("a",): 1,
        ("c",): 5,
        ("quoted key",): 8,
        ("t", "u"): 9,
        ("t", "u", "v.w"): 10,
        ("s", 0): 11,
        ("s", 0, "k"): 12,
        ("s", 1): 13,
        ("s", 1, "k"): 14,
    }
    assert line_of(lines, ("t", "u", "v.w", "x")) == 10
    assert line_of(lines, ("t",)) == 9


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text("[]{}=.\"'#\n abcamerfps0123456789", max_size=200).map(str.encode)))
def test_any_bytes_load_or_explain(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, loading returns settings or raises SettingsError with at least one problem."""
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    problems = problems_of(path, {})
    assert problems is None or problems
    assert all("\n" not in str(problem) for problem in problems or ())


_SECTIONS = st.sampled_from([*Settings.model_fields, "camrea"])
_KEYS = st.sampled_from(["fps", "source", "port", "days", "tls", "k_min", "x"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.tuples(_SECTIONS, _KEYS), st.text(max_size=8), max_size=4))
def test_any_environment_loads_or_explains(pairs: dict[tuple[str, str], str]) -> None:
    """Whatever the variables hold, loading returns settings or explains."""
    environ = {f"FER_AGENT__{s.upper()}__{k.upper()}": v for (s, k), v in pairs.items()}
    assert all(problem.where in environ for problem in problems_of(None, environ) or ())
