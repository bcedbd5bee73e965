"""Before and after, and what the range of a camera is: rows of text for the terminal and the report. Pure functions."""

from typing import Final

from agent import config
from agent.calibration import camera, parts
from agent.vision.quality import Limits

Row = tuple[str, str, str]
"""(what, before, after)."""

_NONE: Final = "–"
RANGE_PX: Final = (
    (camera.GOOD_PX, "read at its best"),
    (camera.POOR_PX, "degraded below, of little use further away"),
    (round(Limits().least_width), "the agent's own limit: not classified further away"),
)
"""(width of a face in pixels, what it means)."""


def rows(before: parts.Parts | None, after: parts.Parts, settings: config.Settings) -> list[Row]:
    """Return one row a number that the calibration sets or measured; `before` None compares with the defaults."""
    old = before or parts.Parts()
    return [
        *_camera(old.camera, after.camera),
        *_probabilities(old.probabilities, after.probabilities),
        *_baseline(old.baseline, after.baseline),
        *_device(old.device, after.device, settings),
    ]


def ranges(part: parts.Camera) -> list[tuple[str, str, str]]:
    """Return (metres, pixels, meaning) rows: how far away a face of 14 cm is so wide."""
    return [(f"{camera.metres(part.focal_px, px):.1f} m", f"{px} px", meaning) for px, meaning in RANGE_PX]


def _camera(old: parts.Camera | None, new: parts.Camera | None) -> list[Row]:
    if new is None:
        return []
    default = f"{Limits().least_sharpness:.1f} (default)"
    low, middle, high = new.face_px
    return [
        ("faces measured", str(old.faces) if old else _NONE, str(new.faces)),
        ("face width, median", f"{old.face_px[1]:.0f} px" if old else _NONE, f"{middle:.0f} px"),
        ("face width, 10–90 %", _NONE if old is None else _span(old.face_px), _span((low, middle, high))),
        ("grey level of faces", f"{old.luma:.0f}" if old else _NONE, f"{new.luma:.0f} (60–200 is good)"),
        ("clipped pixels", f"{old.clipped:.1%}" if old else _NONE, f"{new.clipped:.1%} (under 5 % is good)"),
        ("blur threshold", f"{old.least_sharpness:.1f}" if old else default, f"{new.least_sharpness:.1f}"),
    ]


def _probabilities(old: parts.Probabilities | None, new: parts.Probabilities | None) -> list[Row]:
    if new is None:
        return []
    names = {"model": "the model's own", "crops": "this room's crops"}
    return [
        ("probabilities", names[old.origin] if old else _NONE, names[new.origin]),
        ("calibration error", f"{old.ece:.3f}" if old else _NONE, f"{new.ece:.3f} on {new.n} faces"),
    ]


def _baseline(old: parts.Baseline | None, new: parts.Baseline | None) -> list[Row]:
    if new is None:
        return []
    fit = "off" if new.prior_ratio is None or new.prior_fit is None else f"on, χ²/df {new.prior_fit:.1f}"
    return [
        ("resting index", _index(old) if old else _NONE, f"{_index(new)}, {new.people} people, {new.seconds:.0f} s"),
        ("prior correction", ("off" if old.prior_ratio is None else "on") if old else "off", fit),
    ]


def _device(old: parts.Device | None, new: parts.Device | None, settings: config.Settings) -> list[Row]:
    if new is None:
        return []
    threads, smallest = settings.classify.threads, settings.detect.smallest_face_px
    batch = settings.classify.faces_per_frame
    return [
        ("threads", str(old.threads if old else threads), str(new.threads)),
        ("smallest face", f"{old.smallest_face_px if old else smallest} px", f"{new.smallest_face_px} px"),
        ("faces a frame", str(old.faces_per_frame if old else batch), str(new.faces_per_frame)),
        ("time a frame, p95", f"{old.p95_ms:.0f} ms" if old else _NONE, f"{new.p95_ms:.0f} of {new.period_ms:.0f} ms"),
        ("looks at each face", f"{old.looks_hz:.2g}/s" if old else _NONE, f"{new.looks_hz:.2g}/s"),
    ]


def _span(widths: tuple[float, float, float]) -> str:
    return f"{widths[0]:.0f}–{widths[2]:.0f} px"


def _index(part: parts.Baseline) -> str:
    return f"{part.index:.1f} [{part.ci95[0]:.0f}, {part.ci95[1]:.0f}]"
