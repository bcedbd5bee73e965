"""What the broker's refusals are turned into, where no broker that the tests have refuses so."""

import json
import logging

import pytest

from agent.delivery import link
from agent.delivery.births import Births
from agent.delivery.commands import Desk
from agent.delivery.courier import Courier
from agent.delivery.news import Parcel, SetState
from agent.delivery.outbox import Item
from agent.delivery.pace import Pace
from agent.delivery.reception import Reception
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from agent.errors import FerAgentError
from tests.mqtt_world import MADE_BY, settings, speaker


def _courier(*, home_assistant: bool = False) -> Courier:
    """One that has no connection yet."""
    mqtt, spool = settings(1, username="fer", home_assistant=home_assistant).mqtt, SharedSpool()
    births = Births(speaker(), MADE_BY, spool, home_assistant=home_assistant)
    return Courier(
        *(mqtt, speaker(), births, spool),
        **{"pace": Pace(), "handlers": {}, "retained": RetainedTopics(None), "on_fatal": pytest.fail},
    )


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        ((1, 1, 1, 135), '"topic read homeassistant/status" to fer'),
        ((135, 135, 1, 1), '"topic read fer/v1/test/room/fer/#" to fer'),
    ],
)
def test_a_denied_subscription_is_named_with_its_own_line(
    codes: tuple[int, ...], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Mosquitto's ACL file denies no subscription, other brokers do: the line to add is that of what was refused."""
    caplog.set_level(logging.ERROR)
    _courier(home_assistant=True)._hear(link.Granted(codes))
    assert f"denies subscribing: allow {line}" in caplog.text
    assert caplog.text.count("topic read") == 1


class Sent(list[Parcel]):
    """What reception has sent, newest last; and how often it had everything lined up again."""

    lined_up = 0

    def post(self, parcel: Parcel) -> int:
        self.append(parcel)
        return len(self)

    def requeue(self) -> None:
        self.lined_up += 1

    def fatal(self, error: FerAgentError) -> None:
        raise error

    @property
    def state(self) -> tuple[str, str | None]:
        """What the newest status says."""
        status = json.loads(self[-1].body)
        return status["state"], status["reason"]


@pytest.fixture
def desk() -> tuple[Reception, SharedSpool, Sent]:
    """A reception of an agent that is ready, its spool, and what it sends."""
    spool, sent = SharedSpool(), Sent()
    births = Births(speaker(), MADE_BY, spool, home_assistant=False)
    births.set_state(SetState("ready", None))
    orders = Desk(speaker(), {}, lambda first, last: {}, lambda: spool.newest_seq)
    return Reception(settings(1).mqtt, speaker(), births, spool, sent, orders, unacked_s=3600), spool, sent


WINDOW = speaker().topics("window")
QUOTA = link.Answered(1, 151, "Quota exceeded")
WELL = link.Answered(1, 0, "Success")


def test_a_subscription_that_is_allowed_again_is_told(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """The status says "degraded" while it is denied, and "ready" as soon as it is not."""
    reception, _, sent = desk
    reception.granted(link.Granted((135, 135, 135)))
    assert sent.state[0] == "degraded"
    reception.granted(link.Granted((1, 1, 1)))
    assert sent.state == ("ready", None)
    reception.granted(link.Granted((1, 1, 1)))
    assert len(sent) == 2, "no news, no status"


def test_a_refusal_that_is_over_is_told(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """A broker that was full and takes the next window: the status is ready again, and the refused one is lined up."""
    reception, spool, sent = desk
    (position,) = spool.add(lambda epoch, seq: b"{}")
    reception.answered(QUOTA, WINDOW, Item(position, replay=False))
    assert sent.state == ("degraded", f"the broker refuses {WINDOW}: Quota exceeded")
    reception.answered(WELL, WINDOW, Item(position, replay=False))
    assert sent.state == ("ready", None)
    assert sent.lined_up == 1


def test_a_resend_is_refused_while_the_broker_denies_windows(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """An "ok" would be taken for "they are on their way" and in the end for "lost": the reply is no, with the reason,
    until a window went through again. Another topic's ACL is no reason."""
    reception, spool, sent = desk
    (position,) = spool.add(lambda epoch, seq: b"{}")
    question = link.Received(speaker().topics("cmd/resend"), b'{"from": 1, "to": 1}', False, None, None)

    def ask() -> tuple[bool, str]:
        reception.received(question)
        reply = json.loads(next(p.body for p in reversed(sent) if "/rsp/" in p.topic))
        return reply["ok"], reply.get("error") or ""

    denied = link.Answered(1, 135, "Not authorized")
    reception.answered(denied, speaker().topics("event"), None)
    assert ask() == (True, "")
    reception.answered(denied, WINDOW, Item(position, replay=False))
    assert ask() == (
        False,
        f'the broker denies publishing to {WINDOW}: allow "topic write fer/v1/test/room/fer/#" to the anonymous user',
    )
    reception.welcome(None)  # a new connection alone allows nothing
    assert not ask()[0]
    reception.answered(WELL, WINDOW, Item(position, replay=False))
    assert ask() == (True, "")


def test_a_topic_that_is_called_invalid_is_one_that_the_acl_forbids(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """Ejabberd says so (144) of a topic that its rules do not allow: the line to add is named."""
    reception, _, sent = desk
    reception.answered(link.Answered(1, 144, "Topic name invalid"), speaker().topics("health"), None)
    assert sent.state[0] == "degraded"
    assert 'allow "topic write fer/v1/test/room/fer/#" to the anonymous user' in str(sent.state[1])
    reception.answered(WELL, speaker().topics("health"), None)
    assert sent.state == ("ready", None)


def test_a_topic_over_which_each_connection_ends(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """RabbitMQ's no, with MQTT 3.1.1: what twice had no answer is named until it has one. Ends of another cause, and
    what was under way at them, say nothing."""
    reception, _, sent = desk
    event, meta, gone = speaker().topics("event"), speaker().topics("meta"), link.Closed("gone", by_broker=True)
    assert not reception.ended(gone, {WINDOW, event})
    for cause in (
        {"by_broker": False},
        {"by_broker": True, "too_large": True},
        {"by_broker": True, "taken_over": True},
    ):
        assert not reception.ended(link.Closed("gone", **cause), {WINDOW})
    assert not reception.ended(gone, set())
    assert not sent
    assert reception.ended(gone, {WINDOW, meta})
    why = f"the broker ends each connection and leaves {WINDOW} without an answer: does its ACL allow"
    assert sent.state == ("degraded", f'{why} "topic readwrite fer/v1/test/room/fer/#" to the anonymous user?')
    reception.answered(WELL, event, None)
    assert sent.state[0] == "degraded"
    reception.answered(WELL, WINDOW, None)
    assert sent.state == ("ready", None)


def test_only_a_window_is_too_large_for_good(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """Any other refusal of a window, and a refusal of anything else, leaves all windows to be sent."""
    reception, _, _ = desk
    reception.answered(QUOTA, WINDOW, Item(1, replay=False))
    reception.answered(link.Answered(1, 149, "Packet too large"), speaker().topics("meta"), None)
    assert reception.poison == set()
    reception.answered(link.Answered(1, 149, "Packet too large"), WINDOW, Item(2, replay=False))
    assert reception.poison == {2}


def test_a_refusal_is_forgotten_with_its_connection(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """What was refused once is tried again over the next connection, also what was too large for the last one; what
    ended a connection is not, unless the broker takes larger packets now."""
    reception, _, _ = desk
    reception.welcome(700)
    reception.answered(link.Answered(1, 149, "Packet too large"), WINDOW, Item(3, replay=False))
    reception.closed(link.Closed("Packet too large", by_broker=True, too_large=True), {5})
    reception.welcome(700)
    assert reception.poison == {5}
    assert "refuses" not in reception._births.now().reason
    assert "packet too large" in reception._births.now().reason
    reception.welcome(9000)
    assert reception.poison == set()
    assert reception._births.now().state == "ready"


def test_a_large_window_that_nobody_waits_for_is_no_trouble(desk: tuple[Reception, SharedSpool, Sent]) -> None:
    """Once a collector's ack has passed over what no broker took, the status is ready again."""
    reception, spool, sent = desk
    (position,) = spool.add(lambda epoch, seq: b"{}")
    reception.closed(link.Closed("Packet too large", by_broker=True, too_large=True), {position})
    reception.welcome(None)
    assert sent.state[0] == "degraded"
    ack = json.dumps({"epoch": spool.epoch, "upto_seq": 1}).encode()
    reception.received(link.Received(speaker().topics("ack"), ack, True, None, None))
    assert sent.state == ("ready", None)


@pytest.mark.parametrize(("too_large", "kept"), [(False, 1), (True, 0)])
def test_a_reply_that_ended_a_connection_does_not_end_the_next(*, too_large: bool, kept: int) -> None:
    """A broker that did not say its limit ends the connection over a reply: that one is given up, and the window that
    was under way with it is no poison. After any other end of a connection the reply is sent again."""
    courier = _courier()
    courier.outbox.sent(1, Item(0, replay=False))
    reply = Parcel("fer/v1/test/room/fer/rsp/ping", b"{}", correlation=b"c" * 9999)
    courier._under_way.add(1, Parcel(WINDOW, b""), 999)
    courier._under_way.add(2, reply, 9999)
    courier._closed(link.Closed("gone", by_broker=True, too_large=too_large))
    assert len(courier._waiting) == kept
    courier._reception.welcome(None)
    assert courier._reception.poison == set()
    courier.outbox.sent(3, Item(0, replay=False))
    courier._closed(link.Closed("gone", by_broker=True, too_large=too_large))
    courier._reception.welcome(None)
    assert courier._reception.poison == ({0} if too_large else set()), "then it was the window"
