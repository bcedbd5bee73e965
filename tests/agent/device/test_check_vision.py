"""The doctor's look at camera and models: what the service would run, and a camera only when it may be open."""

import time
from importlib import metadata
from pathlib import Path

import pytest

from agent.config import Settings
from agent.device import check_vision
from agent.device.checks import Finding, run
from agent.trust.guard import models_of
from agent.vision.model_card import MODELS, SUMS, Bundle
from tests.agent.trust.signed_bundles import Signer
from tests.agent.trust.test_pause import pins  # noqa: F401 (a fixture)
from tests.cameras import mjpeg_server

POLICY = {
    "controller": "Example School, office@example.org", "purpose": "Test", "legal_basis": "DPIA 2026-1",
    "consent": "Written", "setting": "research", "jurisdiction": "CH",
}  # fmt: skip


def settings(folder: Path, source: str = "0", **more: object) -> Settings:
    base: dict[str, object] = {
        "agent": {"state_dir": folder},
        "camera": {"source": source, "width": 160, "height": 120, "open_timeout_s": 3, "read_timeout_s": 3},
        "policy": POLICY,
        "privacy": {"pause_file": folder / "pause"},
    }
    return Settings.model_validate({**base, **more})


def found(of: Settings, name: str) -> Finding:
    """What the check `name` found last."""
    return list(run({name: check_vision.checks(of)[name]}))[-1]


def never() -> list[dict[str, object]]:
    """Hours of a day that is neither today nor next to it."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return [{"days": [days[(time.localtime().tm_wday + 3) % 7]], "start": "08:00", "end": "09:00"}]


def test_an_open_camera_is_looked_through_with_the_light_on(tmp_path: Path, pins) -> None:  # noqa: F811
    """Where the service would look the doctor does, and the light is on meanwhile and off afterwards."""
    with mjpeg_server() as server:
        privacy = {"pause_file": tmp_path / "pause", "led_gpio": 17}
        got = found(settings(tmp_path, server.url, privacy=privacy), "camera")
    assert (got.verdict, server.connections > 0) == ("PASS", True), got
    assert [state.state for state in pins.pin(17).states][-2:] == [1, 0]


@pytest.mark.parametrize(
    ("more", "verdict", "says"),
    [
        ({"paused": True}, "WARN", "paused"),
        ({"schedule": never()}, "WARN", "closed hours"),
        ({"policy": {}}, "FAIL", "not opened: policy: a live camera needs a filled"),
    ],
)
def test_a_camera_that_must_be_shut_stays_shut(tmp_path: Path, more: dict, verdict: str, says: str) -> None:
    """Paused, outside the hours or without a policy the doctor says so and what to do, and opens nothing."""
    if more.pop("paused", False):
        (tmp_path / "pause").touch()
    with mjpeg_server() as server:
        got = found(settings(tmp_path, server.url, **more), "camera")
    assert (got.verdict, server.connections) == (verdict, 0)
    assert says in got.found
    assert got.mend


def test_a_detector_without_its_weights_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing package is a FAIL with the command that installs it; with it all is well."""
    assert found(settings(tmp_path), "detector").verdict == "PASS"

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    got = found(settings(tmp_path), "detector")
    assert (got.verdict, got.mend.startswith("run: pip install")) == ("FAIL", True)


def test_the_model_is_the_one_that_the_service_would_run(tmp_path: Path) -> None:
    """A model on trial is the one that is checked, and looking at it is no start of it."""
    compact, signer = MODELS / "compact", Signer()
    if not (compact / SUMS).is_file():
        pytest.skip(f"no bundle in {compact}")
    new = tmp_path / "new"
    new.mkdir()
    for file in compact.iterdir():
        (new / file.name).write_bytes(file.read_bytes())
    (new / f"{SUMS}.minisig").write_text(signer.sign((new / SUMS).read_bytes(), 2000))
    of = settings(tmp_path / "state", updates={"keys": [signer.public]})
    models_of(of).install(new)
    got = found(of, "model")
    assert (got.verdict, got.found.split(":")[0]) == ("PASS", Bundle.load(compact).card.id), got
    assert models_of(of).peek().trial.starts == 0
