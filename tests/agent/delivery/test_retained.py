"""The list of retained topics outlives a restart, and damage costs the list, not the start."""

from pathlib import Path

import pytest

from agent.delivery.retained import RetainedTopics


def test_topics_outlive_a_restart(tmp_path: Path) -> None:
    """What was published retained is known to the next run."""
    RetainedTopics(tmp_path / "retained.json").add("fer/v1/a/b/c/status")
    assert RetainedTopics(tmp_path / "retained.json").stale(set()) == ["fer/v1/a/b/c/status"]


@pytest.mark.parametrize("damage", [b"null", b"7", b'"text"', b'{"a": 1}', b"[1, null]", b"\xff\x00", b"", b"[" * 9999])
def test_a_damaged_list_begins_anew(tmp_path: Path, damage: bytes) -> None:
    """Whatever lies in the file: it starts, knows no topic, and remembers the next one."""
    path = tmp_path / "retained.json"
    path.write_bytes(damage)
    topics = RetainedTopics(path)
    assert topics.stale(set()) == []
    topics.add("a/b")
    assert RetainedTopics(path).stale(set()) == ["a/b"]
