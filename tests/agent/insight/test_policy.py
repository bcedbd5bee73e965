"""The policy gate: when a live camera may not be opened."""

import os
from pathlib import Path

import pytest

from agent.config import Policy, Privacy, Settings
from agent.errors import ConfigError, PolicyError
from agent.insight.countries import EU_EEA, ISO_3166
from agent.insight.policy import check_policy, is_live
from tests.users import as_nobody

FILLED = {
    "controller": "Example School, privacy@school.example",
    "purpose": "Research on lesson pacing",
    "legal_basis": "DPIA 2026-04",
    "consent": "Written consent; opt out by the form at the door",
    "setting": "research",
    "jurisdiction": "CH",
}


def settings(**policy: str) -> Settings:
    return Settings(policy=Policy(**{**FILLED, **policy}))


def test_a_filled_policy_opens_the_camera() -> None:
    """Six filled fields are enough outside the prohibition."""
    check_policy(settings(), live=True)


@pytest.mark.parametrize("field", sorted(FILLED))
def test_every_field_must_be_filled(field: str) -> None:
    """Each of the six fields, left empty, refuses a live camera and is named; exit code 78."""
    with pytest.raises(PolicyError, match=f"missing or empty: {field};") as refused:
        check_policy(settings(**{field: ""}), live=True)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("text", ["   ", "\t\n", "TODO", "<name and contact>", "n/a", "...", "-"])
def test_text_that_says_nothing_is_empty(text: str) -> None:
    """Blanks and placeholders do not fill a field."""
    with pytest.raises(PolicyError, match="controller"):
        check_policy(settings(controller=text), live=True)


@pytest.mark.parametrize("text", ["Example School <privacy@school.example>", "<5 people: the DPIA says how"])
def test_an_angle_bracket_alone_makes_no_placeholder(text: str) -> None:
    """Only a text that is in angle brackets from end to end is one that nobody filled in."""
    check_policy(settings(controller=text), live=True)


def test_all_that_is_missing_is_named_at_once() -> None:
    """An absent [policy] names all six fields in one line."""
    with pytest.raises(PolicyError, match="controller, purpose, legal_basis, consent, setting, jurisdiction"):
        check_policy(Settings(), live=True)


def test_video_files_need_no_policy() -> None:
    """The same empty policy lets a video file play."""
    check_policy(Settings(), live=False)


@pytest.mark.parametrize("code", ["DE", "de", " fr ", "IS", "NO", "LI", "EU", "EEA", "EL", "RE", "AX"])
@pytest.mark.parametrize("setting", ["education", "workplace"])
def test_education_and_work_are_refused_in_the_eu_and_eea(code: str, setting: str) -> None:
    """Art. 5(1)(f) AI Act: refused, and the message says whose declaration would be needed."""
    with pytest.raises(PolicyError, match=r"5\(1\)\(f\).*operator's own"):
        check_policy(settings(setting=setting, jurisdiction=code), live=True)


@pytest.mark.parametrize("reason", ["Epilepsy alarm, MDR 2026/3", "Epilepsy alarm device"])
def test_a_declared_medical_or_safety_reason_is_the_operators_own(reason: str) -> None:
    """With the operator's declaration, of three words or more, EU education is allowed."""
    check_policy(settings(setting="education", jurisdiction="DE", medical_or_safety=reason), live=True)


@pytest.mark.parametrize(
    "text",
    [
        *("  ", "no", "No.", "none.", "false", "0", "na", "N/A", "nein", "non", "/", "yes", "not applicable"),
        *("<why, if so>", "none declared at present", "No medical reason applies", "Kein Grund dieser Art", "- - -"),
    ],
)
def test_who_says_that_there_is_no_reason_has_declared_none(text: str) -> None:
    """An operator who answers the question with no is not let in for having answered."""
    with pytest.raises(PolicyError, match=r"5\(1\)\(f\)"):
        check_policy(settings(setting="education", jurisdiction="DE", medical_or_safety=text), live=True)


@pytest.mark.parametrize(("setting", "code"), [("education", "US"), ("research", "DE"), ("medical", "DE")])
def test_what_the_prohibition_does_not_name_is_allowed(setting: str, code: str) -> None:
    """Education outside the EU/EEA, and other settings inside, need no declaration."""
    check_policy(settings(setting=setting, jurisdiction=code), live=True)


@pytest.mark.parametrize("code", ["Germany", "DEU", "ZZ", "D", "Europe", "D E"])
def test_a_country_that_does_not_exist_cannot_dodge_the_prohibition(code: str) -> None:
    """Only ISO 3166 two-letter codes (and EU, EEA, EL, UK) count as an answer."""
    with pytest.raises(PolicyError, match=r"^policy\.jurisdiction: expected an ISO 3166"):
        check_policy(settings(setting="education", jurisdiction=code), live=True)


def test_the_lists_of_countries_are_whole() -> None:
    """249 assigned codes; 27 members + 7 parts + 3 EEA states + 3 names for the Union itself or Greece."""
    assert len(ISO_3166) == 249
    assert len(EU_EEA) == 27 + 7 + 3 + 3
    unassigned = EU_EEA - ISO_3166
    assert unassigned == {"EU", "EEA", "EL"}


@pytest.mark.parametrize(("profile", "least"), [("standard", 5), ("strict", 10)])
def test_k_min_cannot_be_lowered_for_a_camera(profile: str, least: int) -> None:
    """One below the profile's is refused live, allowed for a file; the profile's own is allowed."""
    lowered = settings().model_copy(update={"privacy": Privacy(profile=profile, k_min=least - 1)})
    with pytest.raises(PolicyError, match=rf"^privacy\.k_min: expected at least {least}"):
        check_policy(lowered, live=True)
    check_policy(lowered, live=False)
    check_policy(settings().model_copy(update={"privacy": Privacy(profile=profile, k_min=least)}), live=True)


@pytest.mark.parametrize(
    "source",
    [
        "0",
        "1",
        "/dev/video0",
        "picamera2",
        "rtsp://camera/1",
        "http://host/a.mp4",
        "https://host/a.mp4",
        "v4l2src ! appsink",
        "v4l2:/dev/video0",
        "/dev/video9.mp4",
        "file:///tmp/a.mp4",
        "PiCamera2",
    ],
)
def test_cameras_and_streams_are_live(source: str) -> None:
    """Everything but a file on this disk counts as live."""
    assert is_live(source)


def test_only_a_regular_file_is_a_video_file(tmp_path: Path) -> None:
    """A file is not live; a device behind a link, or a pipe, that is named like a video is."""
    video, link = tmp_path / "a.mp4", tmp_path / "b.mp4"
    video.write_bytes(b"x")
    link.symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "c.mp4")
    assert not is_live(str(video))
    assert not is_live(str(tmp_path / "missing.mp4")), "opening it will say that it is not there"
    assert is_live(str(link))
    assert is_live(str(tmp_path / "c.mp4"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_closed_folder_is_no_way_around_the_gate(tmp_path: Path) -> None:
    """What cannot be looked at is never taken for a video file: an address is live, of a path one line says where."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with as_nobody():
        assert is_live(f"{closed}/v4l2:a.mp4")
        with pytest.raises(ConfigError, match=f"^{closed}/a.mp4: expected a video or camera that this user can look"):
            is_live(f"{closed}/a.mp4")


def test_a_path_that_is_too_long_for_a_file_is_live_only_with_a_mark() -> None:
    """No file can have such a name: opening it will say so, unless it is an address, which may be that long."""
    assert is_live(f"rtsp://camera/{'x' * 5000}")
    assert not is_live("x" * 5000)
