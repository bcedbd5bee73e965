"""What a camera that may not be opened says."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import AccessError
from agent.vision.grabber import check_device


@pytest.mark.parametrize(
    ("user", "then"), [("fer-agent", "systemctl restart fer-agent"), ("pi", "log in again"), (None, "log in again")]
)
def test_the_user_whose_rights_count_is_named(
    tmp_path: Path, user: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's user is not the one who reads the journal, and has no shell to log in to."""

    def entry(number: int) -> SimpleNamespace:
        if user is None:
            raise KeyError(number)
        return SimpleNamespace(pw_name=user)

    (tmp_path / "video0").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(pwd, "getpwuid", entry)
    with pytest.raises(AccessError) as caught:
        check_device(tmp_path / "video0")
    name = user or "#1234"
    assert f"{name} is not in the group `video`" in str(caught.value)
    assert str(caught.value).endswith(f"run: sudo usermod -aG video {name}, then {then}")
