"""The report: drawings of what was measured, in one file that loads nothing and shows nobody."""

import re
from xml.etree import ElementTree

import pytest

from agent import config
from agent.calibration import camera, compare, labelled, parts, report
from agent.calibration.session import Measured
from agent.vision.card import Calibration as Scaling
from tests.agent.calibration.test_record import made

BARS = tuple((10 * i, (i + 0.5) / 15, (i + 0.4) / 15) for i in range(15))


def _page(**more) -> str:
    room = camera.CameraMeter([30.0, 50.0, 90.0], [100.0, 120.0, 140.0], [0.0] * 3, [4.0] * 3, (1280, 720), 3)
    part = parts.Probabilities(origin="crops", scaling=Scaling(method="bcts"), ece=0.02, n=1050)
    measured = Measured(made().parts, room, labelled.Found(part, BARS, BARS))
    return report.page(made(), measured, more.get("before"), config.Settings())


def test_everything_is_drawn() -> None:
    """Range table, face sizes, exposure, and reliability before and after: four drawings that are valid XML."""
    page = _page()
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert "3.1 m" in page
    assert "62.2°" in page
    assert "not validated" in page
    assert "not as in the folder" in page


def test_the_error_in_the_diagram_is_that_of_its_bars() -> None:
    """The calibration error that the diagram states is Σ n |confidence - truth| / n of its own bars."""
    assert "1050 faces, calibration error 0.007" in report.reliability(BARS, "after")


def test_nothing_is_loaded() -> None:
    """No address, script, picture or style from elsewhere; the page's own policy forbids them as well."""
    page = _page()
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|src=|href=|url\(|<img|<script|data:|@import", page)


def test_a_report_without_the_camera_part_is_whole() -> None:
    """A calibration of probabilities alone has a report, without range and drawings of faces."""
    page = report.page(made(), Measured(parts.Parts()), None, config.Settings())
    assert page.endswith("</body></html>\n")


def test_before_and_after_differ_where_something_changed() -> None:
    """The table of two calibrations shows both baselines side by side."""
    rows = {
        what: (before, after) for what, before, after in compare.rows(made(50).parts, made(70).parts, config.Settings())
    }
    assert rows["resting index"] == ("50.0 [55, 70]", "70.0 [55, 70], 8 people, 60 s")
    assert rows["threads"] == ("4", "4")


def test_before_the_first_calibration_the_defaults_are_shown() -> None:
    """Without a calibration before, the left column has the settings in force."""
    rows = {what: before for what, before, _ in compare.rows(None, made().parts, config.Settings())}
    assert rows["blur threshold"] == "4.0 (default)"
    assert (rows["threads"], rows["smallest face"], rows["faces a frame"]) == ("2", "24 px", "32")


@pytest.mark.parametrize("values", [[5.0], [0.0, 1e6], [50.0] * 1000])
def test_a_histogram_of_anything_is_valid(values: list[float]) -> None:
    """One value, an outlier, or all alike: the drawing is valid and within its frame."""
    drawing = re.search(r"<svg.*</svg>", report.histogram(values, 0, 100, (36,), "px"), re.DOTALL)[0]
    heights = [float(rect.get("height")) for rect in ElementTree.fromstring(drawing).iter("rect")]
    assert 0 < max(heights) <= 190
