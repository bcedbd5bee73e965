"""A little blind fuzzing of everything that reads bytes from outside; `python -m tests.fuzz` goes on longer."""

import signal

import pytest

from tests import fuzz


@pytest.mark.parametrize("target", sorted(fuzz.TARGETS))
def test_no_crash_and_no_hang(target: str, tmp_path: "pytest.TempPathFactory", monkeypatch: pytest.MonkeyPatch) -> None:
    """100 mutated inputs end in values or errors of ours, and none takes longer than five seconds."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, fuzz._hang)
    try:
        assert fuzz.blind(target, seed=7, most=100) == 100
    finally:
        signal.signal(signal.SIGALRM, before)
