"""calibration.json: written whole, and refused for everything that makes its numbers another room's."""

import hashlib
import json
from pathlib import Path

import pytest

from agent import config
from agent.calibration import parts, record
from agent.errors import CannotWriteError, ConfigError
from agent.insight import weights
from agent.vision.card import Calibration as Scaling

MODEL, CAMERA = "a" * 64, config.Camera()
MADE = 1_780_000_000
DAY = 86_400


def made(index: float = 62.5, now: float = MADE, **more) -> record.Record:
    given = parts.Parts(
        camera=parts.Camera(
            width=1280,
            height=720,
            faces=90,
            luma=120,
            clipped=0.01,
            face_px=(30, 50, 90),
            focal_px=1065.0,
            fov_stated=False,
            least_sharpness=3.5,
        ),
        probabilities=parts.Probabilities(
            origin="crops", scaling=Scaling(method="bcts", temperature=1.5, split="room", n=400), ece=0.02, n=400
        ),
        baseline=parts.Baseline(
            index=index, ci95=(55.0, 70.0), people=8, seconds=60, weights_id="sharma2019-affine/1", **more
        ),
        device=parts.Device(
            threads=4, smallest_face_px=30, faces_per_frame=16, p95_ms=300, period_ms=1000, faces=8, looks_hz=1
        ),
    )
    return record.made(given, model_sha256=MODEL, camera=record.camera_hash(CAMERA), setup="0" * 16, now=now)


def load(path: Path, **other) -> record.Calibration:
    own = {"model_sha256": MODEL, "camera": CAMERA, "now": MADE + DAY, "weights_id": weights.DEFAULT, "setup": "0" * 16}
    return record.load(path, **own | other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good calibration.json."""
    record.save(tmp_path / record.NAME, made())
    return tmp_path / record.NAME


def test_what_was_saved_is_loaded(path: Path) -> None:
    """Every number comes back, under the same id, without a warning."""
    got = load(path)
    assert (got.baseline, got.prior_ratio, got.expired, got.warnings) == (62.5, None, False, ())
    assert got.record.parts.probabilities.scaling.temperature == 1.5
    assert got.record.parts.limits.least_sharpness == 3.5
    assert got.id == made().id


def test_the_service_can_read_what_root_wrote(path: Path) -> None:
    """The file and the one before are readable by everybody: they hold numbers only."""
    record.save(path, made(70.0))
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in path.parent.glob("calibration*.json"))


def test_the_previous_one_is_kept(path: Path) -> None:
    """Writing again moves the calibration before to calibration.previous.json."""
    before = path.read_bytes()
    assert record.save(path, made(70.0)) == path.with_name("calibration.previous.json")
    assert path.with_name("calibration.previous.json").read_bytes() == before
    assert load(path).baseline == 70


def test_a_damaged_one_does_not_replace_the_previous(path: Path) -> None:
    """Of a good previous and a damaged current calibration, the good one survives the next writing."""
    record.save(path, made(70.0))
    path.write_bytes(path.read_bytes()[:100])
    assert record.save(path, made(71.0)) is None
    assert json.loads(path.with_name("calibration.previous.json").read_text())["parts"]["baseline"]["index"] == 62.5


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Nowhere to write is exit 73 with the path."""
    with pytest.raises(CannotWriteError, match=r"none/calibration\.json: expected a place"):
        record.save(tmp_path / "none" / record.NAME, made())


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    """Cut at any byte, the file is refused in one line that says so and names the previous one."""
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"cut off or damaged.*calibration\.previous\.json") as error:
            load(path)
        assert "\n" not in str(error.value)


def test_a_newer_version_is_refused_by_its_number(path: Path) -> None:
    """A file of format 2 says "newer agent", whatever else it holds."""
    path.write_text(json.dumps({"format": "fer-calibration/2", "anything": {"else": 1}}))
    with pytest.raises(ConfigError, match=r"newer agent \(format 2"):
        load(path)


def test_a_changed_number_is_refused(path: Path) -> None:
    """A number edited by hand no longer fits the id."""
    path.write_text(path.read_text().replace("62.5", "12.5"))
    with pytest.raises(ConfigError, match="not those that were measured"):
        load(path)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"format": "fer-calibration/1"}', "\x00\xff", "[" * 50_000])
def test_what_is_no_calibration_is_refused(path: Path, text: str) -> None:
    """Anything else is one line, never a traceback."""
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_not_a_number_is_refused(path: Path) -> None:
    """NaN in the file is refused."""
    path.write_text(path.read_text().replace("62.5", "NaN"))
    with pytest.raises(ConfigError, match="cut off or damaged"):
        load(path)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model_sha256": "b" * 64}, "made for the model aaaaaaaaaaaa…, running is bbbbbbbbbbbb…"),
        ({"camera": config.Camera(source="1")}, "another camera or picture size"),
        ({"camera": config.Camera(width=640)}, "another camera or picture size"),
        ({"weights_id": "school/1"}, "in points of 'sharma2019-affine/1', in force is 'school/1'"),
    ],
)
def test_another_model_camera_or_table_is_refused(path: Path, other: dict, says: str) -> None:
    """A calibration made for something else is refused in one line that says what differs."""
    with pytest.raises(ConfigError, match=says):
        load(path, **other)


OWN_TABLE = """
id = "school/1"
source = "our own"
[weights]
neutral = {neutral}
happiness = 57
surprise = 57
sadness = 14
anger = 7
disgust = 0
fear = 14
contempt = 0
"""


def _own_table(folder: Path, neutral: int) -> str:
    (folder / "own.toml").write_text(OWN_TABLE.format(neutral=neutral))
    return weights.load(str(folder / "own.toml")).fingerprint


def _saved_for(path: Path, weights_id: str) -> None:
    """Write a calibration whose baseline is in points of `weights_id`."""
    old = made().parts
    base = old.baseline.model_copy(update={"weights_id": weights_id})
    new = old.model_copy(update={"baseline": base})
    record.save(path, record.made(new, model_sha256=MODEL, camera=record.camera_hash(CAMERA), setup="0" * 16, now=MADE))


def test_a_table_that_was_edited_is_another_one(path: Path, tmp_path: Path) -> None:
    """The same id with other points: what the index rested at then says nothing of it now."""
    _saved_for(path, _own_table(tmp_path, 100))
    assert load(path, weights_id=_own_table(tmp_path, 100)).warnings == ()
    with pytest.raises(ConfigError, match=r"in points of 'school/1#[0-9a-f]{4}', in force is 'school/1#"):
        load(path, weights_id=_own_table(tmp_path, 40))


def test_an_older_agents_baseline_does_not_say_its_points(path: Path, tmp_path: Path) -> None:
    """A packaged table's cannot have changed; a school's own can, so it is used with a warning."""
    assert load(path, weights_id=weights.load(weights.DEFAULT).fingerprint).warnings == ()
    _saved_for(path, "school/1")
    got = load(path, weights_id=_own_table(tmp_path, 100))
    assert got.baseline == 62.5
    assert "without the points of 'school/1'" in got.warnings[0]


@pytest.mark.parametrize(
    ("now", "says"), [(MADE + 90 * DAY, "expired on 2026-08-2"), (MADE - 2 * DAY, "yet to come; set the clock")]
)
def test_an_expired_one_warns_and_stays_in_use(path: Path, now: float, says: str) -> None:
    """After 90 days, or before it was made, it is used with a warning."""
    got = load(path, now=now)
    assert got.expired
    assert says in got.warnings[0]
    assert got.baseline == 62.5


def test_changed_settings_warn(path: Path) -> None:
    """Another detection threshold than the one measured with is a warning."""
    other = config.Settings(detect=config.Detect(threshold=0.9))
    assert "detect.threshold" in load(path, setup=record.setup_hash(other)).warnings[0]


def test_what_somebody_wrote_down_wins(path: Path) -> None:
    """The device part sets threads, tiles and batch, except where the configuration names them itself."""
    settings = config.Settings(classify=config.Classify(threads=1))
    tuned = load(path).tuned(settings, written={("classify", "threads"): "agent.toml:3"})
    assert (tuned.classify.threads, tuned.classify.faces_per_frame, tuned.detect.smallest_face_px) == (1, 16, 30)


def test_another_password_is_the_same_camera(path: Path) -> None:
    """A login that changes leaves the camera the same; another stream of it does not."""
    new = made().parts
    camera = record.camera_hash(config.Camera(source="rtsp://a:old@host/stream?password=old&channel=1"))
    record.save(path, record.made(new, model_sha256=MODEL, camera=camera, setup="0" * 16, now=MADE))
    assert load(path, camera=config.Camera(source="rtsp://b:new@host/stream?password=new&channel=1")).baseline == 62.5
    with pytest.raises(ConfigError, match="another camera"):
        load(path, camera=config.Camera(source="rtsp://a:old@host/stream?password=old&channel=2"))


def test_a_record_whose_hash_holds_the_login_still_fits(path: Path) -> None:
    """What agents up to 0.1.0 wrote for a camera with a login is taken as long as the login is that one."""
    source = "rtsp://a:old@host/stream"
    fields = json.dumps({"source": source, "width": 1280, "height": 720}, sort_keys=True)
    camera = hashlib.sha256(fields.encode()).hexdigest()[:16]
    record.save(path, record.made(made().parts, model_sha256=MODEL, camera=camera, setup="0" * 16, now=MADE))
    assert load(path, camera=config.Camera(source=source)).baseline == 62.5


def test_no_name_or_password_of_a_camera_is_kept(tmp_path: Path) -> None:
    """A stream's URL with its password is only a hash in the file."""
    camera = record.camera_hash(config.Camera(source="rtsp://admin:hunter2@10.0.0.7/stream"))
    new = record.made(made().parts, model_sha256=MODEL, camera=camera, setup="0" * 16, now=MADE)
    record.save(tmp_path / record.NAME, new)
    assert not any(word in (tmp_path / record.NAME).read_text() for word in ("hunter2", "10.0.0.7", "rtsp"))
