"""What the collector takes, and what it refuses."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.emotions import LABELS
from deploy.collector.bench.lessons import suppressed_window, topic_of, window_of
from deploy.collector.messages import Gap, Refused, Window, parse_message

KINDS = ("window", "status", "meta", "event", "health", "rsp/resend", "last", "cmd/pause", "", "nonsense")


ACL = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "fer.acl"


def changed(**more: Any) -> bytes:
    return json.dumps(json.loads(window_of(1, 7, 1_700_000_000_000)) | more).encode()


def test_window_is_taken() -> None:
    """A window of the contract arrives as a value."""
    value = parse_message(topic_of(1), window_of(1, 7, 1_700_000_000_000)).value
    assert isinstance(value, Window)
    assert (value.seq, value.seats) == (7, 19)


def test_suppressed_window_is_taken() -> None:
    """A window without a result and with its reason arrives as a value."""
    assert parse_message(topic_of(1), suppressed_window(1, 7, 1_700_000_000_000)).value.suppressed == "k_min"


def test_unknown_keys_are_ignored() -> None:
    """A later minor version may add fields."""
    assert parse_message(topic_of(1), changed(schema="fer.window/1.7", novelty={"a": 1})).value.seq == 7


def test_gap_event() -> None:
    """A declared gap arrives with its range."""
    body = {"kind": "gap", "from": 3, "to": 9, "epoch": "1", "reason": "spool.cap"}
    value = parse_message(topic_of(1, "event"), json.dumps(body).encode()).value
    assert isinstance(value, Gap)
    assert (value.from_, value.to) == (3, 9)


@pytest.mark.parametrize(
    "more",
    [
        {"schema": "fer.window/2.0"},
        {"seq": -1},
        {"seq": "7"},
        {"seq": 2**70},
        {"seq": 1.5},
        {"coverage": 1.01},
        {"coverage": float("nan")},
        {"coverage": float("inf")},
        {"end_ms": 10**18},
        {"seats": None},
        {"epoch": "x" * 300},
        {"model": {"id": "a\x00b", "sha256": "", "backend": ""}},
        {"shares": {"neutral": 1.0}},
        {"shares": {**json.loads(window_of(1, 7, 0))["shares"], "fear": -0.5}},
        {"suppressed": "k_min"},
        {"engagement": None},
        {"engagement": {"value": 101, "ci95": None, "delta": None, "weights_id": "w"}},
        {"engagement": {"value": 60, "ci95": [-1e308, 1e308], "delta": None, "weights_id": "w"}},
        {"engagement": {"value": 60, "ci95": [70, 50], "delta": None, "weights_id": "w"}},
        {"start_ms": 1_700_000_000_001},
        {"shares": dict.fromkeys(LABELS, 1.0)},
        {"shares": dict.fromkeys(LABELS, 0.0)},
        {"room": "elsewhere"},
        {"agent": "fer-2"},
        {"site": "../../etc"},
    ],
)
def test_window_outside_the_contract_is_refused(more: dict[str, Any]) -> None:
    """One wrong field refuses the whole window."""
    with pytest.raises(Refused):
        parse_message(topic_of(1), changed(**more))


def test_shares_rounded_one_by_one_are_taken() -> None:
    """Shares may miss 1 by what rounding each of them does."""
    shares = dict.fromkeys(LABELS, 0.13)
    assert parse_message(topic_of(1), changed(shares=shares)).value.shares == shares


@pytest.mark.parametrize(
    "topic", ["", "fer", "fer/v2/a/b/c/window", "fer/v1/a/b/window", "fer/v1/A/b/c/window", "fer/v1/a/'--/c/window"]
)
def test_topic_outside_the_contract_is_refused(topic: str) -> None:
    """A topic of another shape is nobody's."""
    with pytest.raises(Refused):
        parse_message(topic, window_of(1, 7, 1_700_000_000_000))


def test_users_of_the_broker_are_no_agents() -> None:
    """Whoever has a name of its own in the ACL is refused as an agent, whatever it sends; the ACL says so."""
    acl = ACL.read_text()
    users = re.findall(r"^user (\S+)$", acl, re.M)
    assert len(users) == 4
    (said,) = [line for line in acl.splitlines() if line.startswith("#") and "for no agent" in line]
    for user in users:
        assert user in said
        for kind, payload in (("window", changed(agent=user)), ("status", b""), ("event", b'{"kind": "clock"}')):
            with pytest.raises(Refused, match=r"^agent$"):
                parse_message(f"{topic_of(1).rpartition('/fer-')[0]}/{user}/{kind}", payload)


@pytest.mark.parametrize("payload", [b"[" * 10_000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b" " * 20_000, b"\xff\xfe"])
@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_refused(kind: str, payload: bytes) -> None:
    """Deep, long and binary payloads are refused on every topic."""
    with pytest.raises(Refused):
        parse_message(topic_of(1, kind), payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.sampled_from(KINDS), st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_taken_or_refused(kind: str, payload: bytes) -> None:
    """Whatever is sent, nothing but Refused is ever raised."""
    with contextlib.suppress(Refused):
        parse_message(topic_of(1, kind), payload)


@given(st.sampled_from(sorted(json.loads(window_of(1, 7, 0)))), json_values)
def test_any_value_in_any_field_is_taken_or_refused(field: str, value: Any) -> None:
    """A window with one field replaced by anything raises nothing but Refused."""
    with contextlib.suppress(Refused):
        parse_message(topic_of(1), changed(**{field: value}))


def test_refusal_does_not_repeat_the_content() -> None:
    """What is logged of a refused message holds none of its words."""
    with pytest.raises(Refused) as caught:
        parse_message(
            topic_of(1, "health"), json.dumps({"secret-key": 1, "stages": {"secret": {"p95": "secret"}}}).encode()
        )
    assert "secret" not in str(caught.value)
