"""Weight tables: the packaged one, and a school's own file with everything that can be wrong in it."""

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.insight import weights

GOOD = """id = "my-school/1"
source = "staff meeting"
[weights]
neutral = 90
happiness = 100
surprise = 50
sadness = 10
anger = 0
disgust = 0
fear = 10
contempt = 0
"""


def test_packaged_table_is_the_published_one() -> None:
    """The default weights are those of Sharma et al. 2019, mapped to 0-100."""
    points = weights.load(weights.DEFAULT).points
    assert points == pytest.approx((100, 57.14, 57.14, 14.29, 7.14, 0, 14.29, 0), abs=0.01)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    """A school's table keeps its own id and weights."""
    (tmp_path / "w.toml").write_text(GOOD)
    table = weights.load(str(tmp_path / "w.toml"))
    assert (table.id, table.points[1]) == ("my-school/1", 100)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fear = 10", "", "weights.fear: missing"),
        ("fear = 10", "fear = 101", "weights.fear: .*got 101"),
        ("fear = 10", "fear = nan", "weights.fear"),
        ("fear = 10", "fera = 10", "fera|fear"),
        ("my-school/1", "sharma2019-affine/1", "belongs to a packaged table"),
        ("my-school/1", "My School", "id: "),
        ("neutral = 90", "neutral = ", "expected TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Each mistake gives one line that names the file and the key."""
    (tmp_path / "w.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=says) as error:
        weights.load(str(tmp_path / "w.toml"))
    assert "w.toml" in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_an_unknown_id_is_refused_with_a_hint() -> None:
    """A misspelt id names the nearest one."""
    with pytest.raises(ConfigError, match="did you mean 'sharma2019-affine/1'"):
        weights.load("sharma2019-afine/1")
