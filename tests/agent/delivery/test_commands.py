"""Commands and their payloads, before any broker."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.commands import Desk, missing
from agent.delivery.link import Received
from tests.mqtt_world import speaker

ODD = [
    b'{"until": "12:00"}',
    b'{"reason": "%s"}' % (b"x" * 201),
    b'{"reason": 5}',
    b"null",
    b" ",
    b'"pause"',
    b"\xff\x00",
    b"[" * 3000,
    b" " * 100_000,
]
"""Payloads that are not those of this version's contract."""


def test_a_pause_is_done_whatever_its_payload(caplog: pytest.LogCaptureFixture) -> None:
    """A key of a later minor version, a reason too long, bytes that are no JSON: sensing is off, and the log says what
    was ignored."""
    done: list[object] = []
    desk = Desk(speaker(), {"pause": lambda body: done.append(body) or {"sensing": "off"}}, lambda *_: (), lambda: 0)
    for payload in ODD:
        (_, reply, _) = desk.answer(Received(speaker().topics("cmd/pause"), payload, False, None, None))
        assert (reply.ok, reply.result.sensing) == (True, "off"), payload[:40]
    assert done == [{}] * len(ODD)
    assert caplog.text.count("event=cmd.payload-ignored cmd=pause") == len(ODD)


@pytest.mark.parametrize("payload", ODD)
def test_any_other_command_refuses_such_a_payload(payload: bytes) -> None:
    """What turns sensing on again must be understood: refused, and not done."""
    desk = Desk(speaker(), {"resume": lambda _: pytest.fail("it was done")}, lambda *_: (), lambda: 0)
    (_, reply, _) = desk.answer(Received(speaker().topics("cmd/resume"), payload, False, None, None))
    assert not reply.ok
    assert reply.error


@pytest.mark.parametrize(("name", "times"), [("pause", 2), ("resume", 1)])
def test_a_command_that_comes_twice(name: str, times: int) -> None:
    """With the correlation data of before: sensing is turned off again, but not on again."""
    done: list[object] = []
    desk = Desk(speaker(), {name: lambda body: done.append(body) or {"sensing": "off"}}, lambda *_: (), lambda: 0)
    replies = [desk.answer(Received(speaker().topics(f"cmd/{name}"), b"", False, None, b"7"))[1] for _ in range(2)]
    assert (len(done), [reply.ok for reply in replies]) == (times, [True, times == 2])


@given(first=st.integers(1, 9), length=st.integers(1, 20), kept=st.sets(st.integers(1, 30)))
def test_what_is_missing_is_all_that_is_not_kept(first: int, length: int, kept: set[int]) -> None:
    """In ranges that neither overlap nor touch."""
    ranges = missing(first, first + length - 1, kept)
    told = [seq for a, b in ranges for seq in range(a, b + 1)]
    assert told == [seq for seq in range(first, first + length) if seq not in kept]
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


OWN, DESK = speaker().topics("rsp/ping"), "fer/v1/test/room/desk/rsp/"


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        (None, OWN),
        (DESK + "ping", DESK + "ping"),
        (DESK.ljust(400, "x"), DESK.ljust(400, "x")),
        (DESK.ljust(401, "x"), OWN),
        (DESK + "#", OWN),
        (DESK.replace("room", "+"), OWN),
        (DESK + "\0", OWN),
        (DESK + "cmd/pause", OWN),
        (DESK.replace("fer/v1", "fer/v2"), OWN),
        (DESK.replace("rsp", "status"), OWN),
        ("rsp/ping", OWN),
    ],
)
def test_a_reply_goes_where_replies_go(asked: str | None, goes: str) -> None:
    """Only to a whole topic of answers: with a wildcard, a NUL or too long no broker would take it, and the connection
    would be lost over it."""
    desk = Desk(speaker(), {}, lambda *_: (), lambda: 0)
    (topic, reply, _) = desk.answer(Received(speaker().topics("cmd/ping"), b"", False, asked, None))
    assert (reply.ok, topic) == (True, goes)


def test_the_doctor_beside_it_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    """What `fer-agent doctor` sends to itself is no command, and no line in the journal."""
    desk = Desk(speaker(), {}, lambda *_: (), lambda: 0)
    assert desk.answer(Received(speaker().topics("cmd/doctor"), b"{}", False, None, None)) is None
    assert caplog.text == ""
