"""`fer-agent calibrate`, run as a program on the demo's classroom of eight people."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import config
from agent.calibration import record
from agent.cli.calibrate import _allowed, command
from agent.config.file import load
from agent.errors import CannotWriteError, CheckFailed, InputError, PolicyError, UsageError
from agent.insight import weights
from agent.trust.guard import models_of
from agent.trust.store_state import State, Trial
from agent.vision import demo_clip
from agent.vision.model_card import MODELS, SUMS, Bundle
from tests.agent.trust.signed_bundles import Signer
from tests.cameras import mjpeg_server
from tests.syscalls import trace

ROOT = Path(__file__).resolve().parents[3]
MODEL = os.environ.get("FER_BUNDLE", str(MODELS / "released"))
QUICK = {"FER_AGENT__DETECT__SMALLEST_FACE_PX": "48"}
"""The demo's faces are 44 px and more: larger tiles make the tests four times faster."""
pytestmark = pytest.mark.skipif(not Path(MODEL).is_dir(), reason="no released model")


def calibrate(*arguments: object, timeout: float = 280, module: str = "agent") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, "calibrate", "--model", MODEL, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **QUICK},
        timeout=timeout,
    )


def called(*arguments: object, answers: str | None = None):
    """Call the command in this process."""
    return CliRunner(env=QUICK).invoke(command, ["--model", MODEL, *map(str, arguments)], input=answers)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 seconds of the demo's classroom."""
    return demo_clip.write(tmp_path_factory.mktemp("clip") / "room.avi", seconds=22)


@pytest.fixture(scope="module")
def done(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The three parts that do not depend on this machine's speed, written with a report."""
    folder = tmp_path_factory.mktemp("calibration")
    parts = ("--part", "camera", "--part", "probabilities", "--part", "baseline")
    out = ("--out", folder / "calibration.json", "--report", folder / "report.html")
    return calibrate("--from", clip, "--yes", "--json", *parts, *out), folder


def test_what_it_wrote_is_what_run_loads(done, clip: Path) -> None:
    """Exit 0, and the file loads for this model and camera with a baseline of eight people."""
    assert done[0].returncode == 0, done[0].stderr
    got = record.load(
        done[1] / "calibration.json",
        model_sha256=Bundle.load(Path(MODEL)).card.sha256,
        camera=config.Camera(source=str(clip)),
        now=json.loads(done[0].stdout)["made_at"],
        weights_id=weights.DEFAULT,
        setup=record.setup_hash(config.Settings()),
    )
    assert 0 <= got.baseline <= 100
    assert got.record.parts.baseline.people in (7, 8)
    assert (got.record.parts.camera.width, got.record.parts.camera.height) == (1280, 720)
    assert got.record.parts.device is None


def test_stdout_is_the_file_and_nothing_else(done) -> None:
    """--json prints what was written; table and progress go to stderr."""
    assert json.loads(done[0].stdout) == json.loads((done[1] / "calibration.json").read_text())
    assert "resting index" in done[0].stderr
    assert "before" in done[0].stderr


def test_where_it_is_used_and_what_is_assumed_is_said(done) -> None:
    """A file outside of the state folder is one that `run` must be pointed to; distances need the field of view."""
    told = " ".join(done[0].stderr.split())
    assert f'run takes it with calibration = "{done[1] / "calibration.json"}" under [engagement]' in told
    assert "by an assumed field of view of" in told


def test_the_report_loads_nothing_and_shows_all(done) -> None:
    """One HTML file with range, face sizes and exposure as drawings; no picture and no address in it."""
    page = (done[1] / "report.html").read_text()
    assert all(word in page for word in ("Range", "48 px", "Face sizes", "Exposure", "Reliability", "not validated"))
    assert page.count("<svg") >= 2
    assert not re.search(r"https?:|src=|href=|url\(|<img|<script|data:", page)


def test_one_part_alone_keeps_the_others(done, clip: Path) -> None:
    """--part camera takes the baseline over, keeps the file before, and expires no later than it."""
    path = done[1] / "calibration.json"
    before = record.read(path)
    again = calibrate("--from", clip, "--yes", "--part", "camera", "--fov", 90, "--seconds", 6, "--out", path)
    assert again.returncode == 0, again.stderr
    after = record.read(path)
    assert after.parts.baseline == before.parts.baseline
    assert (after.parts.camera.focal_px, after.parts.camera.fov_stated) == (pytest.approx(640), True)
    assert after.expires_at == before.expires_at
    assert record.read(path.with_name("calibration.previous.json")) == before


def test_a_report_for_a_closed_folder_is_refused_first(tmp_path: Path) -> None:
    """The service's user in root's home, say: one line before minutes of measuring."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    code = f"""
import os
from pathlib import Path
from agent.cli._options import expect_writable
os.setuid(65534)
expect_writable(Path({str(home / "x" / "calibration.html")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "CannotWriteError" in done.stderr.splitlines()[-1]
    assert "expected a folder that this user can write" in done.stderr


def test_too_few_people_write_nothing(clip: Path, tmp_path: Path) -> None:
    """A baseline of 12 people where eight sit: exit 1, one line, no file."""
    out = tmp_path / "calibration.json"
    got = calibrate("--from", clip, "--yes", "--part", "baseline", "--k-min", 12, "--seconds", 5, "--out", out)
    assert got.returncode == 1
    assert got.stderr.strip().splitlines()[-1].startswith("error: baseline: expected at least 12 people who are seen")
    assert not out.exists()


def test_the_device_part_chooses_or_says_that_nothing_keeps_up(demo_clip: Path, tmp_path: Path) -> None:
    """On any machine it ends with a choice that keeps up, or with one line and exit 1."""
    arguments = ("--yes", "--part", "device", "--timed", 1, "--soak", 0, "--out", tmp_path / "c.json")
    got = calibrate("--from", demo_clip, *arguments)
    if got.returncode == 0:
        part = record.read(tmp_path / "c.json").parts.device
        assert part.p95_ms <= 0.8 * part.period_ms
    else:
        assert got.returncode == 1
        assert "error: device: expected" in got.stderr


def test_it_asks_before_it_looks_and_before_it_writes(demo_clip: Path, tmp_path: Path) -> None:
    """With "y" to consent, a field of view and "y" to writing the file is there; the questions are on stderr."""
    out = tmp_path / "calibration.json"
    got = called("--from", demo_clip, "--part", "camera", "--seconds", 6, "--out", out, answers="y\n75\ny\n")
    assert got.exit_code == 0, got.output
    assert "field of view" in got.stderr
    assert record.read(out).parts.camera.fov_stated


@pytest.mark.parametrize(("part", "answers"), [("baseline", "n\n"), ("camera", "y\n0\nn\n"), ("camera", "")])
def test_no_or_no_answer_writes_nothing(demo_clip: Path, tmp_path: Path, part: str, answers: str) -> None:
    """Without consent, without a yes to writing, or without anybody to answer: exit 1 and no file."""
    out = tmp_path / "calibration.json"
    got = called("--from", demo_clip, "--part", part, "--seconds", 5, "--out", out, answers=answers)
    assert got.exit_code == 1
    assert not out.exists()


def test_a_damaged_calibration_is_replaced_with_a_warning(demo_clip: Path, tmp_path: Path) -> None:
    """A file cut in half is named, not taken over, and replaced by the new one."""
    out = tmp_path / "calibration.json"
    out.write_text('{"id": "cal-2026')
    got = called("--from", demo_clip, "--yes", "--part", "camera", "--seconds", 6, "--out", out)
    assert got.exit_code == 0, got.output
    assert "starting anew" in got.stderr
    assert record.read(out).parts.camera is not None


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("--from", "none.mp4"), InputError, "none.mp4"),
        (("--from", "{clip}", "--out", "none/c.json"), CannotWriteError, "none"),
        (("--from", "{clip}", "--report", "none/r.html", "--out", "c.json"), CannotWriteError, "none"),
        (("--from", "{clip}", "--out", "."), CannotWriteError, "got a folder"),
        (("--from", "{clip}", "--report", ".", "--out", "c.json"), CannotWriteError, "got a folder"),
        (("--from", "{clip}", "--labelled", "none"), InputError, "none"),
        (("--from", "0", "--k-min", "2"), UsageError, "at least 5 people for a camera"),
        (("--from", "0"), PolicyError, r"needs a filled \[policy\]"),
    ],
)
def test_mistakes_are_one_line(demo_clip: Path, tmp_path: Path, monkeypatch, arguments, error, says) -> None:
    """Each mistake is an error of its own kind, before anything is measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_AGENT__AGENT__STATE_DIR", str(tmp_path))
    got = called("--yes", *(str(a).replace("{clip}", str(demo_clip)) for a in arguments))
    assert isinstance(got.exception, error), got.output
    assert re.search(says, str(got.exception))
    assert "\n" not in str(got.exception)
    assert "pictures" not in got.output


@pytest.mark.parametrize(("interrupted", "code", "told"), [(True, 130, ""), (False, 2, "--yes asks nothing\n")])
def test_a_question_without_an_answer(clip: Path, tmp_path: Path, interrupted: bool, code: int, told: str) -> None:
    """Ctrl-C at a question ends it as anywhere else, with 130; where nobody can answer, --yes is named."""
    asked = [sys.executable, "-m", "agent", "calibrate", "--model", MODEL, "--from", clip, "--out", tmp_path / "c.json"]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as program:
        said = ""
        while program.poll() is None and not said.endswith("agreed? [y/N]:"):
            said += program.stderr.read(1)
        if interrupted:
            program.send_signal(signal.SIGINT)
            program.wait(60)
        _, last = program.communicate(timeout=60)
    assert program.returncode == code
    assert last.endswith(told)
    assert "Aborted" not in last


def live(folder: Path, source: str) -> Path:
    """Write an agent.toml of a camera that may watch an empty room; make its state folder."""
    (folder / "state").mkdir()
    (folder / "agent.toml").write_text(f"""
[agent]
state_dir = "{folder / "state"}"
[camera]
source = "{source}"
[privacy]
pause_file = "{folder / "pause"}"
[policy]
controller = "Example School, office@example.org"
purpose = "Trying the agent in an empty room"
legal_basis = "DPIA 2026-1"
consent = "Nobody is in the room"
setting = "research"
jurisdiction = "US"
""")
    return folder / "agent.toml"


def test_a_live_camera_is_behind_the_policy_and_in_the_audit_log(tmp_path: Path) -> None:
    """With a filled policy the camera opens, an empty room is refused in one line, and the log says that it was on;
    for a model on trial that failure is no crash."""
    with mjpeg_server() as server:
        file = live(tmp_path, server.url)
        state = tmp_path / "state" / "models" / "state.json"
        state.parent.mkdir()
        state.write_bytes(before := State(trial=Trial("a", "0" * 64)).text())
        got = called("--config", file, "--yes", "--part", "camera", "--seconds", 3)
    assert isinstance(got.exception, CheckFailed), got.output
    assert "at least 30 faces" in str(got.exception)
    assert server.connections > 0
    assert '"sensing":"on"' in (tmp_path / "state" / "audit.log").read_text()
    assert state.read_bytes() == before


def test_it_measures_the_model_that_the_service_runs(tmp_path: Path) -> None:
    """With a model installed the calibration is for that one, from a recording and from the camera; --model names
    another one for both."""
    signer, file = Signer(), live(tmp_path, "rtsp://127.0.0.1:1/none")
    signed = shutil.copytree(MODELS / "compact", tmp_path / "signed")
    (signed / f"{SUMS}.minisig").write_text(signer.sign((signed / SUMS).read_bytes()))
    file.write_text(file.read_text() + f'[updates]\nkeys = ["{signer.public}"]\ngood_windows = 1\n')
    settings = load(file, environ={}).settings
    installed = models_of(settings).install(signed)
    assert installed != Bundle.load(MODELS / "released").card.id
    for source in ("lesson.mp4", settings.camera.source):
        with _allowed(settings, source, own=False) as (bundle, _):
            assert bundle.card.id == installed
        with _allowed(settings, source, own=True) as (bundle, _):
            assert bundle.path == MODELS / "released"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_measures_as_the_owner_of_the_state_folder() -> None:
    """`sudo fer-agent calibrate` looks through the camera, and all that it wrote belongs to the agent's user."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, mjpeg_server() as server:
        folder = Path(name)  # pytest's own folders are closed to other users
        folder.chmod(0o755)
        file = live(folder, server.url)
        os.chown(folder / "state", 65534, 65534)
        got = calibrate(
            "--config", file, "--yes", "--part", "camera", "--seconds", 3, module="tests.agent.cli.imported"
        )
        assert (got.returncode, server.connections > 0) == (1, True), got.stderr
        assert "at least 30 faces" in got.stderr
        owners = {path.stat().st_uid for path in (folder / "state").rglob("*")}
        assert owners == {65534}


def test_two_files_of_text_are_all_that_leaves_memory(demo_clip: Path, tmp_path: Path) -> None:
    """Traced: it writes calibration.json and the report, both text, to no other file or peer, and shares no memory."""
    files = (tmp_path / "calibration.json.new", tmp_path / "report.html")
    out = ("--out", tmp_path / "calibration.json", "--report", files[1])
    arguments = ("--from", demo_clip, "--yes", "--part", "camera", "--seconds", 6, "--model", MODEL, *out)
    command = [sys.executable, "-B", "-m", "agent", "calibrate", *map(str, arguments)]
    seen, done = trace(command, tmp_path / "trace", cwd=ROOT, env={**os.environ, **QUICK}, timeout=240)
    assert done.returncode == 0, done.stderr
    assert {target for target in seen.written if not target.startswith("pipe:")} == set(map(str, files))
    assert all("\0" not in b"".join(parts).decode() for parts in seen.written.values())
    assert (seen.shared, seen.peers, seen.listening) == ([], [], [])
