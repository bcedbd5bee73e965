"""What a broker denies is said once, and again only if it was allowed in between."""

import logging
from collections.abc import Callable, Iterator

import pytest

from deploy.collector.refusals import REFUSED, Refusals

ACK, COMMAND = "fer/v1/+/+/+/ack", "fer/v1/+/+/+/cmd/#"
WELL = (0, "Success")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Returns the lines of the log since it was asked last."""

    def take() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    with caplog.at_level(logging.INFO, "fer.collector"):
        yield take


def denied(what: str, topic: str, reason: str, who: str) -> str:
    line = f"topic {'write' if what == 'writing' else 'read'} {topic}"
    return f"event=broker.denied what={what} topic={topic} reason={reason!r} action='allow \"{line}\" to {who}'"


HANGS_UP = "ends each connection and leaves it without an answer"


def test_a_denial_is_said_once_until_it_is_allowed(said: Callable[[], list[str]]) -> None:
    """With the line for the ACL; that it is allowed is said if it was not."""
    refusals = Refusals("coll")
    assert all(refusals.answered(ACK, code, "No") for code in (127, REFUSED, 135, 0, 0, 135))
    allowed = f"event=broker.allowed what=writing topic={ACK}"
    assert said() == [denied("writing", ACK, "No", "coll"), allowed, denied("writing", ACK, "No", "coll")]


def test_a_topic_over_which_each_connection_ends(said: Callable[[], list[str]]) -> None:
    """One end may be anything, also the next over another topic; the one that waited both times is denied, and only its
    own answer ends that. What is to be read is not blamed: the broker was not asked for it yet."""
    refusals = Refusals(None)
    assert not refusals.ended([ACK], unheard=True)
    assert not refusals.ended([COMMAND], unheard=True)
    assert refusals.ended([COMMAND], unheard=True)
    assert refusals.ended([ACK, COMMAND], unheard=True)
    assert said() == [denied("writing", COMMAND, HANGS_UP, "the anonymous user")]
    assert not refusals.heard()
    assert refusals.answered(COMMAND, *WELL)
    assert refusals.heard()
    assert said() == [f"event=broker.allowed what=writing topic={COMMAND}"]


def test_what_is_to_be_read_may_end_each_connection(said: Callable[[], list[str]]) -> None:
    """Twice in a row without an answer to it; one in between, and it begins anew."""
    refusals = Refusals("coll")
    assert [refusals.ended([], unheard=unheard) for unheard in (True, False, True, True)] == [False] * 3 + [True]
    assert said() == [denied("reading", "fer/v1/#", HANGS_UP, "coll")]
    assert refusals.heard()
    assert said() == ["event=broker.allowed what=reading topic=fer/v1/#"]
    assert not refusals.ended([], unheard=True)
