"""The table of what each step of the conversion is worth."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from quantize import bench, convert, equalize, gains
from training import data


def test_a_row_for_every_combination(cnn_file: Path, drawn_dir: Path) -> None:
    """Two strengths, each without and with narrowed branches, as a Markdown table and nothing else on stdout."""
    done = CliRunner().invoke(gains.main, [str(cnn_file), "--data", str(drawn_dir)])
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert [(r[0].strip(), r[1].strip()) for r in rows] == [("0", "no"), ("0", "yes"), ("1", "no"), ("1", "yes")]
    assert all(float(r[2]) > 10 for r in rows)


def test_a_model_that_is_refused_has_no_table(drawn_dir: Path, tmp_path: Path) -> None:
    """Not its head either: stdout is what a page is made of."""
    (tmp_path / "m.keras").write_bytes(b"x")
    done = CliRunner().invoke(gains.main, [str(tmp_path / "m.keras"), "--data", str(drawn_dir)])
    assert (done.exit_code, done.stdout) == (78, ""), done.output


def test_a_strength_that_was_not_taken_is_not_claimed(
    cnn_file: Path, drawn: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that cannot be equalised stays as it was, and its row says 0."""
    monkeypatch.setattr(equalize, "equalize", lambda *_: 0.0)
    assert next(gains.measure(cnn_file, drawn, (1.0,), threads=1)).equalized == 0


def test_a_network_without_sums_gains_nothing_by_narrowing(cnn_file: Path, drawn: data.Dataset) -> None:
    """The CNN has no branches: both rows are the same but for their name."""
    wide, narrow = gains.measure(cnn_file, drawn, (0.0,), threads=1)
    assert (wide.narrowed, narrow.narrowed) == (False, True)
    assert wide.snr_db == pytest.approx(narrow.snr_db)
    assert wide.agreement == narrow.agreement


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (gains.main, ["m.keras", "--data", "d", "--strength", "nan"]),
        (convert.main, ["m.keras", "--data", "d", "--out", "b", "--equalize", "nan"]),
        (bench.main, ["b", "f.tflite", "--seconds", "nan"]),
        (bench.main, ["b", "f.tflite", "--seconds", "inf"]),  # a row that never ends
    ],
)
def test_what_is_no_number_is_refused(command: click.Command, given: list[str]) -> None:
    """Click lets "nan" pass: a network would stay as it is, for layers that it does not have."""
    done = CliRunner().invoke(command, given)
    assert (done.exit_code, given[-1] in done.stderr) == (2, True), done.output
