"""The learning curve as a picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.errors import InputError
from training import curve

HISTORY = """epoch,side,accuracy,loss,val_accuracy,val_loss
1,32,0.3,2,0.4,2
2,32,0.5,1,0.75,1
3,48,0.4,1,0.7,1
4,48,0.6,1,0.65,1
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Four epochs; the third is the best at the last side."""
    path = tmp_path / "mine" / "history.csv"
    path.parent.mkdir()
    path.write_text(HISTORY)
    return path


def test_the_picture_names_the_run_and_its_best_epoch(history: Path, tmp_path: Path) -> None:
    """Well-formed SVG with two lines, and the best validation accuracy in words."""
    done = CliRunner().invoke(curve.main, [str(history), "--out", str(tmp_path / "c.svg")])
    assert done.exit_code == 0
    root = ET.parse(tmp_path / "c.svg").getroot()
    assert len(root.findall("{*}polyline")) == 2
    assert "mine, 32 px, then 48 px: validation 0.7000 in epoch 3" in (tmp_path / "c.svg").read_text()


def test_points_stay_inside_the_picture(history: Path) -> None:
    """Whatever the values, nothing is drawn outside."""
    root = ET.fromstring(curve.svg([curve.read(history)]))
    for line in (root.findall("{*}polyline")[n] for n in (0, 1)):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= curve.WIDTH
            assert 0 <= y <= curve.HEIGHT


@pytest.mark.parametrize("n", [3, 5, 7])
def test_names_stand_above_the_lines(n: int) -> None:
    """However many runs: the last name ends where the scale begins, and each has a colour of its own."""
    root = ET.fromstring(curve.svg([curve.Curve(str(i), (1.0,), (1.0,), (48,)) for i in range(n)]))
    names = [text for text in root.findall("{*}text") if "fill" in text.attrib]
    assert max(float(text.attrib["y"]) for text in names) <= min(
        float(c.attrib["cy"]) for c in root.findall("{*}circle")
    )
    assert len({text.attrib["fill"] for text in names}) == n


def test_a_run_that_is_always_right_has_a_picture_too() -> None:
    """A few faces are learned by heart: the scale keeps its height."""
    perfect = curve.Curve("few", (1.0, 1.0), (1.0, 1.0), (48, 48))
    (train, validation) = ET.fromstring(curve.svg([perfect])).findall("{*}polyline")
    assert [float(pair.split(",")[1]) for pair in train.attrib["points"].split()] == [curve.TOP, curve.TOP]
    assert train.attrib["points"] == validation.attrib["points"]


def test_a_picture_has_the_name_of_one(history: Path, tmp_path: Path) -> None:
    """No browser knows another ending."""
    done = CliRunner().invoke(curve.main, [str(history), "--out", str(tmp_path / "c.png")])
    assert (done.exit_code, "expected a name that ends in .svg" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("epoch,loss\n1,2\n", "accuracy"),
        ("side,accuracy,val_accuracy\n", "at least one epoch"),
        ("side,accuracy,val_accuracy\n48,0.5,nan\n", "accuracies from 0 to 1, got nan"),
        ("side,accuracy,val_accuracy\n48,50,40\n", "accuracies from 0 to 1, got 50.0"),
        ('side,accuracy,val_accuracy\n48,"' + "1" * 200_000, "field larger than"),
    ],
)
def test_what_is_no_history_is_refused(text: str | None, says: str, tmp_path: Path) -> None:
    """Missing, other columns, empty, values that are no accuracies, or no CSV."""
    path = tmp_path / "history.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=says):
        curve.read(path)
