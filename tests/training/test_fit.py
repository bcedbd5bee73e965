"""`python -m training.fit`; what it trains is in test_resume.py."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agent.errors import InputError
from tests.training.commands import CONFIG, run, small
from training import data, fit, loop, recipe

pytestmark = pytest.mark.usefixtures("own_cache")


def test_another_seed_has_a_folder_of_its_own(tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder of seed 2 is not that of the config's seed 1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = (small(tmp_path), "--data", tiny_dir)
    for more, name in ((("--seed", 2), "small-seed2"), (("--seed", 1), "small"), ((), "small")):
        folder = tmp_path / "fer-agent" / "runs" / name / "epoch-0001"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.keras").touch()
        (folder / "history.json").write_text("[{}]")
        code, _, errors = run(fit.main, *arguments, *more)
        assert code == 66
        assert f"runs/{name}: holds a run already" in errors


@pytest.mark.parametrize(("terminal", "verbose"), [("stdout", 1), ("stderr", 2)])
def test_keras_draws_its_bar_on_a_terminal_alone(
    terminal: str, verbose: int, tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes to stdout: where that is a file, it gets a line an epoch, whatever stderr is."""
    streams = {name: SimpleNamespace(isatty=lambda name=name: name == terminal) for name in ("stdout", "stderr")}
    monkeypatch.setattr(fit, "sys", SimpleNamespace(**streams))
    asked: dict[str, object] = {}
    monkeypatch.setattr(loop, "fit", lambda *_, **how: asked.update(how))
    run(fit.main, small(tmp_path), "--data", tiny_dir, "--run", tmp_path / "run")
    assert asked["verbose"] == verbose


def test_data_without_a_face_to_train_on_is_one_line(tiny: data.Dataset) -> None:
    """Every vote is for "unknown": said where the targets are made, so by training and rate search alike."""
    votes = np.tile(10 * np.eye(10, dtype=np.int64)[8], (96, 1))
    with pytest.raises(InputError, match=r"expected faces to train on \(majority\), got none in 96; use more"):
        recipe.targets(CONFIG, data.Split(tiny.train.faces, votes, None))


def test_a_teacher_that_the_config_does_not_want_is_refused(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """It would have no part in training, and the numbers would pass for a student's."""
    arguments = ("--data", tiny_dir, "--run", tmp_path / "run", "--teacher", keras_file)
    code, _, errors = run(fit.main, small(tmp_path), *arguments)
    assert code == 66
    assert "config small has teacher_share 0: expected no --teacher" in errors
