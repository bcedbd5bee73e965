"""The table of faults and tests names what exists."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = (TESTS / "faults" / "README.md").read_text()


def test_every_named_test_exists() -> None:
    """Each `test_file.py::test_name` of the table is a test."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TABLE)
    known: dict[str, str] = {}
    for path in TESTS.rglob("test_*.py"):
        known[path.name] = known.get(path.name, "") + path.read_text()
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in known.get(file, "")] == []
    assert len(named) > 40


def test_every_fault_has_a_line() -> None:
    """Faults 26 to 48 stand in the table, each with a test."""
    lines = {int(number): rest for number, rest in re.findall(r"^\| (\d+) (.*)$", TABLE, re.MULTILINE)}
    assert [number for number in range(26, 49) if "::test_" not in lines.get(number, "")] == []
