"""The guard of a run: refuses first, then keeps the whole story in the audit log."""

import json
import os
from pathlib import Path

import pytest

from agent.config import Settings
from agent.errors import ModelError, PolicyError, TryAgainError
from agent.records import Engagement, Moods, Window
from agent.trust.audit import verify
from agent.trust.guard import Guard
from agent.trust.store_state import MAX_STARTS
from tests.agent.trust.conftest import Device

POLICY = {
    "controller": "Example School, privacy@school.example", "purpose": "Research", "legal_basis": "DPIA 2026-04",
    "consent": "Written", "setting": "research", "jurisdiction": "CH",
}  # fmt: skip
MOODS = Moods(Engagement(50.0, None, None, "w/1"), 0, 0, 0, (0.125,) * 8)


def settings(state: Path, **changes: object) -> Settings:
    base: dict[str, object] = {
        "agent": {"state_dir": state},
        "policy": POLICY,
        "privacy": {"pause_file": state / "pause", "profile": "strict"},
    }
    return Settings.model_validate({**base, **changes})


def window(k: int = 12) -> Window:
    return Window(0, 300, 300, k, k, 1.0, MOODS, person_scores=(50.0,) * k)


def lived(state: Path, work, **changes: object) -> int:
    """One run in a process of its own (its core limit stays its own): its exit status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Guard(settings(state, **changes), live=True, config_hash=str(changes)) as guard:
                work(guard)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def events(state: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (state / "audit.log").read_text().splitlines()]


def test_a_refused_policy_leaves_nothing_behind(tmp_path: Path) -> None:
    """No policy, live camera: refused by the constructor, before a file is written."""
    with pytest.raises(PolicyError):
        Guard(settings(tmp_path, policy={}), live=True, config_hash="x")
    assert list(tmp_path.iterdir()) == []


def test_changes_are_audited_once(tmp_path: Path) -> None:
    """First start: configuration, policy, start, stop. The same again: start, stop. Another policy: that too."""
    assert lived(tmp_path, lambda guard: None) == 0
    assert events(tmp_path) == ["config", "policy", "agent.start", "agent.stop"]
    assert lived(tmp_path, lambda guard: None) == 0
    assert events(tmp_path)[4:] == ["agent.start", "agent.stop"]
    assert lived(tmp_path, lambda guard: None, policy={**POLICY, "medical_or_safety": "Epilepsy"}) == 0
    assert events(tmp_path)[6:] == ["config", "policy", "agent.start", "agent.stop"]
    assert verify(tmp_path).problems == ()


def test_the_state_folder_is_made(tmp_path: Path) -> None:
    """A first start on a machine without the folder writes its audit log all the same."""
    assert lived(tmp_path / "new", lambda guard: None) == 0
    assert verify(tmp_path / "new").entries == 4


def test_the_audit_log_holds_no_names_and_no_measurements(tmp_path: Path) -> None:
    """The controller's name, and the numbers of a window, are not in it."""
    assert lived(tmp_path, lambda guard: [guard.gate(window()) for _ in range(13)]) == 0
    text = (tmp_path / "audit.log").read_text()
    assert "school" not in text
    assert "engagement" not in text
    assert "budget.closed" in text


def spend(guard: Guard) -> None:
    for _ in range(7):
        guard.gate(window())


def expect_five_left(guard: Guard) -> None:
    given = [guard.gate(window()).suppressed for _ in range(7)]
    assert given == [None] * 5 + ["budget"] * 2


def test_the_strict_budget_survives_a_restart(tmp_path: Path) -> None:
    """Seven results in one run leave five for the next run of the same day."""
    assert lived(tmp_path, spend) == 0
    assert lived(tmp_path, expect_five_left) == 0


def expect_no_cost(guard: Guard) -> None:
    guard.pause.pause()
    assert guard.sensing() == "paused"
    assert guard.gate(window()).suppressed == "paused"
    guard.pause.resume()
    assert guard.sensing() is None
    noise = guard.gate(window()).noise
    assert noise is not None
    assert noise.spent_today == 1


@pytest.mark.parametrize(("error", "runs"), [(TryAgainError, "new"), (ModelError, "released"), (OSError, "released")])
def test_what_is_no_crash_rolls_no_model_back(
    device: Device, tmp_path: Path, error: type[Exception], runs: str
) -> None:
    """Starts that end because another process has the spool say nothing about the model on trial; crashes do."""
    device.install("new")

    def ends(guard: Guard) -> None:
        guard.models = device.store()
        guard.models.choose()
        raise error("x")

    for _ in range(MAX_STARTS + 1):
        assert lived(tmp_path / "guarded", ends) == 1
    assert device.run() == runs


def test_a_pause_reaches_camera_and_gate(tmp_path: Path) -> None:
    """`pause` closes the camera and suppresses the window that it cuts, which costs nothing; `resume` undoes it."""
    assert lived(tmp_path, expect_no_cost) == 0


def test_a_video_file_spends_nothing_of_the_day(tmp_path: Path) -> None:
    """Not live: no policy is needed and no budget file is written."""
    guard = Guard(settings(tmp_path, policy={}), live=False, config_hash="x")
    assert guard.gate(window()).noise is not None
    assert not (tmp_path / "budget.json").exists()
