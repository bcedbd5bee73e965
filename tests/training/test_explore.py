"""`python -m training.explore`."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.commands import alone, run
from tests.training.conftest import write_folders
from training import data, explore

pytestmark = pytest.mark.usefixtures("own_cache")


def test_it_shows_the_data_in_one_page_that_fetches_nothing(tiny_dir: Path, tmp_path: Path) -> None:
    """Balance, agreement, disagreement, top vote, FER2013 against FERPlus, samples and augmentation."""
    code, out, _ = run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html")
    assert (code, out.strip()) == (0, str(tmp_path / "r.html"))
    html = (tmp_path / "r.html").read_text()
    for part in ("Class balance", "Agreement", "Disagreement", "most votes", "FER2013 label", "Samples", "Augment"):
        assert part in html
    assert alone(html)


def test_a_share_of_votes_stands_in_the_middle_of_its_bar(tiny: data.Dataset) -> None:
    """Eight of ten votes are a bar around 0.8, and all ten one around 1: no bar lies beyond."""
    bins = explore.agreement(tiny.train).data[0].xbins
    middles = np.arange(bins.start, bins.end - 1e-9, bins.size) + bins.size / 2
    assert middles == pytest.approx(np.arange(11) / 10)


def test_a_report_to_pass_on_holds_no_face(tiny_dir: Path, tmp_path: Path) -> None:
    """With --no-faces there is no picture in it, and it says so."""
    run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html", "--no-faces")
    html = (tmp_path / "r.html").read_text()
    assert "<img" not in html
    assert "It holds no face image." in html


def test_a_report_with_faces_warns_at_its_top(tiny_dir: Path, tmp_path: Path) -> None:
    """Whoever opens it reads that it must not be published."""
    run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html", "--samples", 1)
    html = (tmp_path / "r.html").read_text()
    assert html.index("do not publish or commit it") < html.index("<img")


def test_the_folder_layout_says_what_it_cannot_compare(tiny: data.Dataset, tmp_path: Path) -> None:
    """It has no FER2013 labels."""
    run(explore.main, "--data", write_folders(tmp_path / "set", tiny), "--out", tmp_path / "r.html", "--no-faces")
    assert "the folder layout has no FER2013 labels".lower() in (tmp_path / "r.html").read_text().lower()
