"""Fixtures that several folders share: data that may be absent, clips, a broker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.mqtt_world import Mosquitto

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes proves nothing
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def classroom_dir() -> Path:
    """Folder of the two real clips; they are not part of the repository."""
    folder = Path(os.environ.get("FER_CLIPS", SHARED / "classroom"))
    if not (folder / "classroom.gif").is_file():
        pytest.skip(f"the two classroom clips are not in {folder} (set FER_CLIPS)")
    return folder


def _unpacked(layout: str) -> Path:
    """Return a folder with FER2013 + FERPlus in `layout` ("folder" or "csv"), or skip."""
    given = Path(os.environ.get("FER_DATA", "."))
    if (given / {"folder": "FER2013Train/label.csv", "csv": "fer2013.csv"}[layout]).is_file():
        return given
    packed = SHARED / "ferplus"
    if not (packed / "unpack.py").is_file():
        pytest.skip(f"FER2013 + FERPlus are not there (set FER_DATA, or put them in {packed})")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer-agent" / f"ferplus-{layout}"
    done = cache / ".complete"
    if not done.is_file():
        subprocess.run([sys.executable, str(packed / "unpack.py"), str(cache), "--layout", layout], check=True)
        done.touch()
    return cache


@pytest.fixture(scope="session")
def ferplus_dir() -> Path:
    """FER2013 + FERPlus in the folder layout, whose votes are the edition that every number here uses."""
    return _unpacked("folder")


@pytest.fixture(scope="session")
def ferplus_csv_dir() -> Path:
    """FER2013 + FERPlus in the CSV layout."""
    return _unpacked("csv")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator["Mosquitto"]:
    """A mosquitto of the test's own, as it comes."""
    from tests.mqtt_world import Mosquitto

    with Mosquitto(tmp_path / "broker") as made:
        yield made


@pytest.fixture(scope="session")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of the demo's classroom: eight people, 1280x720, 10 frames a second."""
    from agent.vision import demo_clip as clip

    return clip.write(tmp_path_factory.mktemp("clip") / "classroom.avi", seconds=10)
