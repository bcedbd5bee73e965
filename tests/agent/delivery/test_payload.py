"""Payloads are the contract's and nothing else: absent is not null, and what is replayed is the same window."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Camera, Identity, Mqtt, Settings
from agent.delivery import discovery, frames, payload
from agent.delivery.frames import Header
from agent.delivery.retained import RetainedTopics
from agent.delivery.topics import Topics, parse
from agent.delivery.wallclock import WallTime, media_clock
from agent.records import Engagement, Noise, Summary
from tests.mqtt_world import MADE_BY, speaker, summary

RESULTS = {"engagement", "valence", "arousal", "expressivity", "shares", "dp"}


def _window(made: Summary) -> dict:
    start = WallTime(1_700_000_000_000, synced=True, source="ntp")
    return json.loads(payload.window(made, speaker(), MADE_BY, start, epoch="e", seq=7).encode())


def test_a_suppressed_window_has_no_result_at_all() -> None:
    """The keys are absent, not null: nobody can mistake them for zero."""
    window = _window(summary(1, suppressed="k_min"))
    assert not RESULTS & window.keys()
    assert window["suppressed"] == "k_min"


def test_a_window_with_a_result_has_all_of_it() -> None:
    """All six keys; dp is null without noise."""
    window = _window(summary(1))
    assert window.keys() >= RESULTS
    assert window["dp"] is None
    assert window["suppressed"] is None
    assert sum(window["shares"].values()) == pytest.approx(1)


def test_the_strict_profile_sends_the_index_and_its_noise_alone() -> None:
    """No valence, arousal, expressivity or shares; dp says what was added."""
    index = Engagement(50.0, (40.0, 60.0), None, "w/1")
    noise = Noise(1.0, "discrete-laplace/1", 3.0)
    window = _window(Summary(0, 300, 300, 12, 12.0, 0.9, None, index, noise=noise))
    assert window.keys() & RESULTS == {"engagement", "dp"}
    assert window["dp"] == {"epsilon": 1.0, "mechanism": "discrete-laplace/1", "spent_today": 3.0}


def test_numbers_are_those_of_the_summary_with_four_decimals() -> None:
    """Each in its own place: more digits would be noise, fewer would be missed."""
    index = Engagement(41.123456, (30.000049, 52.123461), -3.98766, "w/1")
    shares = (0.51234567, 0.08765433, *[0.1] * 3, *[1 / 30] * 3)
    noise = Noise(1.0, "discrete-laplace/1", 2.123456)
    made = Summary(3.0, 62.9996, 59, 12, 11.23456, 0.912345, None, index, 0.123456, -0.234567, 31.56789, shares, noise)
    window = _window(made)
    told = {key: window[key] for key in ("n_eff", "coverage", "valence", "arousal", "expressivity", "frames", "seats")}
    assert told == {
        **{"n_eff": 11.2346, "coverage": 0.9123, "valence": 0.1235, "arousal": -0.2346, "expressivity": 31.5679},
        **{"frames": 59, "seats": 12},
    }
    assert window["engagement"] == {"value": 41.1235, "ci95": [30.0, 52.1235], "delta": -3.9877, "weights_id": "w/1"}
    assert list(window["shares"].values()) == [0.5123, 0.0877, *[0.1] * 3, *[0.0333] * 3]
    assert window["dp"]["spent_today"] == 2.1235
    assert (window["mono_start_ns"], window["end_ms"] - window["start_ms"]) == (3 * 10**9, 60_000)
    assert (window["replay"], window["partial"], window["clock"]) == (False, False, {"synced": True, "source": "ntp"})


def test_an_index_without_an_interval_says_so() -> None:
    """Null, not left out: consumers need not guess."""
    made = Summary(0, 60, 60, 12, 11.0, 0.9, None, Engagement(50.0, None, None, "w/1"))
    assert _window(made)["engagement"] == {"value": 50.0, "ci95": None, "delta": None, "weights_id": "w/1"}


def test_a_long_reason_is_cut_to_what_a_status_may_hold() -> None:
    """An error's text of any length leaves the status one that consumers take."""
    for length, kept in ((199, 199), (200, 200), (3000, 200)):
        said = payload.status(speaker(), "degraded", "x" * length, session=2, epoch="e", newest_seq=7)
        assert said.reason == "x" * kept
    assert (said.state, said.session, said.newest_seq, said.boot_id, said.started_ms) == ("degraded", 2, 7, "b0", 1000)


def test_duration_comes_from_the_monotonic_clock() -> None:
    """end_ms is start_ms and the window's own length, whatever the wall clock did."""
    window = _window(summary(2))
    assert window["end_ms"] - window["start_ms"] == 60_000
    assert window["mono_start_ns"] == 120 * 10**9


def test_a_late_delivery_differs_in_one_field() -> None:
    """Only `replay` changes."""
    start = WallTime(0, synced=False, source="none")
    body = payload.window(summary(1), speaker(), MADE_BY, start, epoch="e", seq=1).encode()
    late = json.loads(payload.replayed(body))
    assert late == json.loads(body) | {"replay": True}


def test_the_hash_of_the_settings_leaves_secrets_out() -> None:
    """Another user name, login of the camera, file of a password or of a key gives the same hash; another room or
    camera another one."""

    def hashed(user: str, host: str = "10.0.0.7", room: str = "room") -> str:
        mqtt = {"tls": True, "username": user, "password_file": f"/p/{user}", "key_file": f"/k/{user}"}
        source = Camera(source=f"rtsp://{user}:secret-of-{user}@{host}/live")
        made = Settings(agent=Identity(room=room), mqtt=Mqtt(cert_file="/c", **mqtt), camera=source)  # type: ignore[arg-type]
        return payload.config_hash(made)

    assert hashed("a") == hashed("b")
    assert len({hashed("a"), hashed("a", host="10.0.0.8"), hashed("a", room="elsewhere")}) == 3
    assert all(len(bytes.fromhex(hashed(user))) == 8 for user in "ab")


def test_media_time_becomes_wall_time_from_a_start() -> None:
    """Second 90 of a file that began at 1,000 ms."""
    assert media_clock(1000)(90.0) == (91_000, False, "media")


def test_a_topic_is_read_back_as_it_was_made() -> None:
    """`parse` undoes `Topics`; foreign topics are None."""
    topics = Topics("a", "b-1", "c")
    assert parse(topics("rsp/ping")) == (topics, "rsp/ping")
    assert parse("other/v1/a/b/c/window") is None
    assert parse("fer/v1/a/B/c/window") is None


def test_discovery_announces_everything_once_within_4_kb() -> None:
    """Even the longest ids fit; ids of sensors differ; shares are off by default, diagnostics are marked."""
    longest = Topics("s" * 64, "r" * 64, "a" * 64)
    body = discovery.payload(longest, 3600)
    assert len(body) <= payload.MAX_BYTES
    announced = json.loads(body)
    sensors = announced["cmps"]
    assert len({s["uniq_id"] for s in sensors.values()}) == len(sensors) == 15
    assert sum(s.get("en") is False for s in sensors.values()) == 8
    assert {key for key, s in sensors.items() if s.get("ent_cat") == "diagnostic"} == {"coverage", "state"}
    assert all(s["exp_aft"] == 10_800 and s["frc_upd"] for key, s in sensors.items() if key != "state")
    assert announced["stat_t"] == "~/window"


def test_discovery_of_the_strict_profile_has_only_what_it_sends() -> None:
    """No sensor that would never have a value."""
    sensors = json.loads(discovery.payload(Topics("s", "r", "a"), 300, index_only=True))["cmps"]
    assert set(sensors) == {"engagement", "seats", "coverage", "state"}


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({}, "engagement", "40.7"),
        ({}, "neu", "50"),
        ({}, "coverage", "93"),
        ({"replay": True}, "engagement", ""),
        ({"suppressed": "k_min"}, "engagement", "None"),
        ({"suppressed": "k_min"}, "con", "None"),
        ({"suppressed": "k_min"}, "seats", "12"),
        ({"suppressed": "k_min"}, "coverage", "None"),
        ({"suppressed": "camera.black"}, "seats", "None"),
        ({"suppressed": "paused"}, "seats", "None"),
        ({}, "seats", "12"),
    ],
)
def test_templates_of_discovery_say(change: dict, key: str, says: str) -> None:
    """A value; nothing for a late window; unknown without a result, and where nobody was looked for."""
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed")
    window = _window(summary(1)) | change
    if "suppressed" in change:
        window = {k: v for k, v in window.items() if k not in RESULTS}
    template = json.loads(discovery.payload(Topics("s", "r", "a"), 60))["cmps"][key]["val_tpl"]
    rendered = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(value_json=window)
    assert rendered.removesuffix(".0") == says


def test_retained_topics_are_remembered_until_they_are_cleared(tmp_path) -> None:
    """Over restarts; a file that is no list is forgotten, not fatal."""
    file = tmp_path / "retained.json"
    RetainedTopics(file).add("a")
    again = RetainedTopics(file)
    again.add("b")
    assert again.stale({"b"}) == ["a"]
    again.forget("a")
    assert RetainedTopics(file).stale(set()) == ["b"]
    file.write_text("{broken")
    assert RetainedTopics(file).stale(set()) == []


@given(
    records=st.lists(
        st.tuples(st.sampled_from(["window", "gap"]), st.integers(0, 2**63), st.binary(max_size=300)), max_size=8
    ),
    noise=st.binary(max_size=40),
)
def test_frames_are_found_again_behind_noise(records: list[tuple[str, int, bytes]], noise: bytes) -> None:
    """Whatever lies between good records, each of them is found with its content, in order."""
    data = bytearray(frames.file_header(Header(1, "e", 1, 1 << 16)))
    for kind, seq, content in records:
        data += noise + frames.frame(kind, seq, content)
    found = frames.scan(bytes(data), len(data)).records
    wanted = [(kind, seq) for kind, seq, _ in records]
    got = [(r.kind, r.seq) for r in found]
    # The noise, or a payload, may itself hold a whole record only if it was made to; bytes at random do not.
    assert got == wanted
    assert [bytes(data[r.offset : r.offset + r.length]) for r in found] == [content for _, _, content in records]
