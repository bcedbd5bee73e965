"""`fer-agent explain`: one screen that says what the number is and what it is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.emotions import LABELS

ROOT = Path(__file__).resolve().parents[3]
OWN = 'id = "school/2"\nsource = "staff meeting"\n[weights]\n' + "\n".join(
    f"{n} = {10 * i}" for i, n in enumerate(LABELS)
)


def explain(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", "explain", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )


def test_one_screen_says_it_all() -> None:
    """At most 40 lines of 80 columns: the index, eight weights with their source, the caveat and the law."""
    done = explain()
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    text = " ".join(done.stdout.split())
    assert all(f"{label} " in text for label in LABELS)
    for part in ("sharma2019-affine/1", "1909.12913", "not validated as a measure of learning", "Art. 5(1)(f)", "57.1"):
        assert part in text


def test_a_schools_own_table_is_shown(tmp_path: Path) -> None:
    """--weights FILE shows the file's id, source and numbers."""
    (tmp_path / "own.toml").write_text(OWN)
    shown = json.loads(explain("--weights", tmp_path / "own.toml", "--json").stdout)
    assert (shown["weights"]["id"], shown["weights"]["source"]) == ("school/2", "staff meeting")
    assert shown["weights"]["points"]["contempt"] == 70


def test_the_table_in_force_is_the_configured_one(tmp_path: Path) -> None:
    """Without --weights it explains the table that agent.toml names."""
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "agent.toml").write_text(f'[engagement]\nweights = "{tmp_path / "own.toml"}"\n')
    assert "WEIGHTS school/2" in explain("--config", tmp_path / "agent.toml").stdout


@pytest.mark.parametrize("content", [OWN.replace("fear = 60", "fear = 160"), OWN[:60], "", "id = 3"])
def test_a_wrong_table_is_one_line(tmp_path: Path, content: str) -> None:
    """A table that is wrong or cut off: exit 78 and one line that names the file."""
    (tmp_path / "own.toml").write_text(content)
    done = explain("--weights", tmp_path / "own.toml")
    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "own.toml" in line
