"""Weight tables: the packaged one, and a school's own file with everything that can be wrong in it."""

import re
from importlib import resources
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
        ("fear = 10", "", r"weights.fear: missing; expected eight numbers from 0 to 100 under \[weights\]"),
        ("fear = 10", "fear = 101", "weights.fear: .*got 101"),
        ("fear = 10", "fear = nan", "weights.fear"),
        ("fear = 10", "fera = 10", "weights.fera: unknown key; did you mean 'fear'[?]"),
        ("[weights]", 'sauce = "us"\n[weights]', "sauce: unknown key; did you mean 'source'[?]"),
        ("[weights]", "xyz = 1\n[weights]", "xyz: unknown key; expected id, source, weights"),
        ("fear = 10", "fear = 10\nxyz = 1", "weights.xyz: unknown key; expected neutral, happiness"),
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


def test_a_table_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    """Eight equal weights would make a constant of the index; two different values are enough."""
    flat = re.sub(r"= \d+", "= 40", GOOD)
    (tmp_path / "w.toml").write_text(flat)
    with pytest.raises(ConfigError, match=r"w\.toml: weights: expected at least two .*, got eight times 40"):
        weights.load(str(tmp_path / "w.toml"))
    (tmp_path / "w.toml").write_text(flat.replace("anger = 40", "anger = 41"))
    assert set(weights.load(str(tmp_path / "w.toml")).points) == {40, 41}


def test_a_copy_of_a_packaged_table_keeps_its_id(tmp_path: Path) -> None:
    """Only other weights under a packaged id are refused: the packaged file itself, copied, is that table."""
    name = f"{weights.DEFAULT.split('/')[0]}.toml"
    (tmp_path / "w.toml").write_bytes((resources.files("agent.insight") / name).read_bytes())
    assert weights.load(str(tmp_path / "w.toml")) == weights.load(weights.DEFAULT)


def test_an_unknown_id_is_refused_with_a_hint() -> None:
    """A misspelt id names the nearest one; what is like none of them gets no guess."""
    with pytest.raises(ConfigError, match=r"got 'sharma2019-afine/1'; did you mean 'sharma2019-affine/1'\?"):
        weights.load("sharma2019-afine/1")
    with pytest.raises(ConfigError, match=r"got 'xyz'$"):
        weights.load("xyz")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one that is no text are told from one that is no TOML."""
    for content in (None, b"\xff\xfe\x00"):
        if content is not None:
            (tmp_path / "w.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=rf"^engagement\.weights: cannot read {tmp_path}/w\.toml: "):
            weights.load(str(tmp_path / "w.toml"))


def test_a_fingerprint_is_the_id_of_what_cannot_change(tmp_path: Path) -> None:
    """A packaged table's is its id; a school's own tells its points too, the same for the same points."""
    assert weights.load(weights.DEFAULT).fingerprint == weights.DEFAULT
    prints = []
    for neutral in (90, 90, 80):
        (tmp_path / "w.toml").write_text(GOOD.replace("neutral = 90", f"neutral = {neutral}"))
        prints.append(weights.load(str(tmp_path / "w.toml")).fingerprint)
    assert re.fullmatch(r"my-school/1#[0-9a-f]{4}", prints[0])
    assert prints[0] == prints[1] != prints[2]
