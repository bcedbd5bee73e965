"""The agent alone, as a device has it: no TensorFlow, no training code, the whole program from the wheel."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.vision import runtime
from agent.vision.model_card import MODELS, Bundle

pytestmark = pytest.mark.wheel

EVERYTHING = """
import importlib, pkgutil, sys
import agent
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def loaded() -> str:
    """Names of all top-level modules that are loaded once every module of the agent is."""
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["tensorflow", "keras", "torch", "jax", "training", "quantize", "deploy", "plotly"])
def test_never_imports(loaded: str, name: str) -> None:
    """All modules of the agent together import none of what only training, quantize or the collector need."""
    assert "'agent'" in loaded
    assert f"'{name}'" not in loaded


def test_takes_litert_where_it_is() -> None:
    """The preferred runtime is LiteRT if it is installed, else tflite-runtime."""
    names = [r.name for r in runtime.available()]
    assert names, "no TFLite runtime"
    assert runtime.choose().name == ("litert" if "litert" in names else "tflite-runtime")


def test_the_package_carries_a_model() -> None:
    """The released bundle is there, whole, and its card tells its accuracy with n."""
    card = Bundle.load(MODELS / "released").card
    assert card.training.config.startswith("resnet50")
    assert card.quantization.ops["CONV_2D"] == 54
    measured = {(m.model, m.split): m for m in card.metrics if m.name == "accuracy" and m.faces == "majority"}
    assert measured["int8", "test"].n == 3137


def program(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m agent …`."""
    command = [sys.executable, "-m", "agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, **more)  # type: ignore[call-overload]


def has_broker(folder: Path) -> bool:
    """Whether an embedded broker runs whose configuration is below `folder`."""
    lines = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return any("agent.delivery.embedded" in line and str(folder) in line for line in lines)


def test_demo_shows_windows_from_the_broker(tmp_path: Path) -> None:
    """`demo --json` prints windows of eight people that came through its own broker, ends with 0 and leaves nothing."""
    arguments = ("demo", "--seconds", "20", "--json", "--smallest-face", "36", "--window", "7")
    done = program(*arguments, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    whole = [window for window in windows if not window["partial"]]
    assert whole, done.stderr
    assert {window["seats"] for window in whole} <= {7, 8, 9}
    assert all(0 <= window["engagement"]["value"] <= 100 for window in whole if window["suppressed"] is None)
    assert list(tmp_path.iterdir()) == []
    assert not has_broker(tmp_path)


def test_a_demo_ends_with_its_reader(tmp_path: Path) -> None:
    """`fer-agent demo --json | head -1`: one payload, exit code 0, not a word, and not the rest of the lesson."""
    command = [sys.executable, "-m", "agent", "demo", "--json", "--window", "3", "--smallest-face", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert json.loads(demo.stdout.readline())["seq"] == 1
        demo.stdout.close()
        began = time.monotonic()
        assert demo.wait(50) == 0
        assert time.monotonic() - began < 30
        assert "error" not in demo.stderr.read()


def test_a_terminated_demo_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle: the demo ends without a traceback, and its broker is gone, and the broker's folder."""
    command = [sys.executable, "-m", "agent", "demo", "--smallest-face", "100"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as demo:
        assert demo.stderr is not None
        said = next(line for line in demo.stderr if "mqtt://" in line)
        assert list(tmp_path.glob("fer-broker-*"))
        assert has_broker(tmp_path)
        demo.terminate()
        said += demo.stderr.read()
        demo.wait(60)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert not has_broker(tmp_path)


def test_replay_prints_one_payload_a_line(demo_clip: Path) -> None:
    """`replay --json` prints windows in order, nothing else on stdout; who is away in the third is not counted."""
    done = program("replay", str(demo_clip), "--json", "--window", "3", "--smallest-face", "36")
    assert done.returncode == 0, done.stderr
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [window["seq"] for window in windows] == [1, 2, 3, 4]
    assert [window["seats"] for window in windows[:3]] == [8, 8, 7]
    assert windows[0]["engagement"]["weights_id"] == "sharma2019-affine/1"
    assert sum(windows[0]["shares"].values()) == pytest.approx(1)


def test_fewer_people_than_k_min_carry_no_result(demo_clip: Path) -> None:
    """With --k-min 9 and eight people, every window is withheld and has no field of a result."""
    done = program("replay", str(demo_clip), "--json", "--window", "5", "--k-min", "9", "--smallest-face", "36")
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {window["suppressed"] for window in windows} == {"k_min"}
    assert not {"engagement", "valence", "arousal", "expressivity", "shares"} & set(windows[0])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["replay", "none.mp4"], 66, "no such file"),
        (["replay", __file__], 66, "cannot be opened"),
        (["replay", "0"], 2, "a camera or stream is for"),
        (["replay", __file__, "--broker", "here:there"], 2, "expected host:port"),
        (["replay", __file__, "--broker", "mqtt://user:secret@here"], 2, "no login, got 'mqtt://here'"),
        (["replay", __file__, "--model", "nonesuch"], 78, "no such model bundle"),
        (["demo", "none.mp4"], 66, "no such file"),
        (["demo", "0", "--k-min", "2"], 78, "at least 5 for a live camera"),
        (["run", "--config", "none.toml"], 78, "none.toml"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    """What cannot be used gives one line on stderr and its exit code, never a traceback."""
    done = program(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_an_empty_video_is_refused(tmp_path: Path) -> None:
    """A video without a frame is an input error."""
    (tmp_path / "empty.mp4").write_bytes(b"")
    done = program("replay", "empty.mp4", cwd=tmp_path)
    assert done.returncode == 66
    assert "Traceback" not in done.stderr


def test_a_changed_model_is_refused(tmp_path: Path, demo_clip: Path) -> None:
    """One byte of model.tflite changed: refused by its SHA-256, exit 78."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in (MODELS / "released").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    content = bytearray((folder / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.tflite").write_bytes(content)
    done = program("replay", str(demo_clip), "--model", str(folder))
    assert done.returncode == 78
    assert "expected SHA-256" in done.stderr


def test_another_preprocess_is_refused(tmp_path: Path, demo_clip: Path) -> None:
    """A bundle made for another preprocess version is refused, and both versions are named."""
    import hashlib

    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in (MODELS / "released").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    card = json.loads((folder / "card.json").read_text()) | {"preprocess_version": "other/9"}
    before = hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    after = hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text((folder / "SHA256SUMS").read_text().replace(before, after))
    done = program("replay", str(demo_clip), "--model", str(folder))
    assert done.returncode == 78
    assert "other/9" in done.stderr


def test_without_a_broker_the_run_goes_on(demo_clip: Path) -> None:
    """A broker that is not there: exit 0, all windows shown, and a line that says so."""
    options = ["--window", "5", "--smallest-face", "36", "--broker", "127.0.0.1:1"]
    done = program("replay", str(demo_clip), "--json", *options)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "no broker at 127.0.0.1:1" in done.stderr
