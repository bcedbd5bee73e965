"""The documents of trust: what they name exists."""

import re
import tomllib
from pathlib import Path

from agent.config import Privacy, Settings
from agent.insight.policy import check_policy
from agent.insight.privacy import Gate
from agent.records import Engagement, Moods, Window

ROOT = Path(__file__).resolve().parents[3]
SECURITY = (ROOT / "deploy" / "SECURITY.md").read_text()
PRIVACY = (ROOT / "deploy" / "privacy" / "README.md").read_text()


def test_named_tests_exist() -> None:
    """Every `test_file.py::test_name` in SECURITY.md is a test of this project."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", SECURITY)
    assert len(named) > 30
    known = {p.name: p.read_text() for p in (ROOT / "tests").rglob("test_*.py")}
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in known.get(file, "")] == []


def test_the_policy_example_opens_a_camera() -> None:
    """The TOML in deploy/privacy/README.md is a valid configuration that the policy gate lets pass."""
    example = re.search(r"```toml\n(.*?)```", PRIVACY, re.S)
    assert example
    settings = Settings.model_validate(tomllib.loads(example[1]))
    check_policy(settings, live=True)
    assert settings.schedule


def test_the_strict_interval_is_as_wide_as_documented() -> None:
    """± 36 points with 10 people, ± 18 with 25, ± 7 with 100: what the gate gives is what the page says."""
    documented = re.findall(r"± (\d+) (?:points )?with (\d+)", " ".join(PRIVACY.split()))
    assert len(documented) == 3
    for points, people in documented:
        k = int(people)
        scores = Moods(Engagement(50.0, None, None, "w/1"), 0, 0, 0, (0.125,) * 8)
        window = Window(0, 300, 300, k, k, 1.0, scores, person_scores=(50.0,) * k)
        half = next(
            e.ci95[1] - e.value
            for e in (Gate(Privacy(profile="strict"))(window).engagement for _ in range(12))
            if e is not None and e.ci95 is not None and e.ci95[1] < 100
        )
        assert abs(half - int(points)) <= 1, "rounded outward"


def test_templates_leave_nothing_unsaid() -> None:
    """The DPIA has the four parts of Art. 35(7) and the prohibition; the notice has the contents of Art. 13."""
    dpia = (ROOT / "deploy" / "privacy" / "DPIA.md").read_text()
    for part in ("5(1)(f)", "What is done, and why", "Necessity and proportionality", "Risks and measures", "Decision"):
        assert part in dpia
    notice = (ROOT / "deploy" / "privacy" / "room-notice.md").read_text()
    for part in ("responsible", "officer", "What for", "Legal basis", "Who gets", "rights", "not want it"):
        assert part in notice
