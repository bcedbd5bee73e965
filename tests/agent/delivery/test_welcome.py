"""The agent's connection to brokers that can less than it needs, or that are none: what it says, and what it leaves."""

import pytest

from agent.delivery.publish import Publisher
from tests.curt_broker import CurtBroker, answering
from tests.mqtt_world import FAST, MADE_BY, settings, summary, wait_until


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (0x24, "the broker takes QoS 0 alone; set max_qos 1 or more on the broker"),
        (0x25, "the broker keeps no retained messages; set retain_available true on the broker"),
        (0x28, "the broker takes no wildcard in a subscription; allow wildcards on the broker"),
    ],
)
def test_a_welcome_that_names_a_lack_is_a_refusal(lacks: int, says: str) -> None:
    """The agent says what is lacking, and leaves with a goodbye: what it would send would end each connection."""
    heard: list[bytes] = []
    with answering(bytes([0x20, 5, 0, 0, 2, lacks, 0]), heard) as port:
        with Publisher(settings(port), MADE_BY, pace=FAST) as publisher:
            wait_until(lambda: len(heard) > 1, 20)
            assert publisher.report()["broker"]["reason"] == says
        assert {packet[0] for packet in heard if packet} == {0xE0}  # DISCONNECT


def test_a_broker_that_refuses_the_will_is_told_as_such() -> None:
    """Ejabberd asks its ACL about the will's topic before it says welcome, and calls a forbidden one invalid."""
    with (
        answering(b"\x20\x03\x00\x90\x00", []) as port,
        Publisher(settings(port), MADE_BY, pace=FAST) as publisher,
    ):
        wait_until(lambda: publisher.report()["broker"]["reason"], 20)
        reason = publisher.report()["broker"]["reason"]
    assert reason.startswith("the broker refused: Topic name invalid; allow mqtt.username to write")


@pytest.mark.parametrize(("version", "other"), [("5", "3.1.1"), ("3.1.1", "5")])
def test_a_port_that_never_answers_is_told_as_such(version: str, other: str) -> None:
    """It may be no broker, or one that speaks the other version of MQTT alone."""
    with (
        answering(b"", []) as port,
        Publisher(settings(port, version=version, keepalive_s=5), MADE_BY, pace=FAST) as publisher,
    ):
        wait_until(lambda: publisher.report()["broker"]["reason"], 30)
        reason = publisher.report()["broker"]["reason"]
    assert reason.startswith(f"127.0.0.1:{port} does not answer as a broker: is it an MQTT broker's port (mqtt.port)")
    assert reason.endswith(f'or does it speak MQTT {other} alone (mqtt.version = "{other}")?')


def test_a_broker_whose_answers_are_no_mqtt(caplog: pytest.LogCaptureFixture) -> None:
    """Said as such, and no packet is called too large for it; it is asked ever more rarely."""
    with (
        answering(b"\x20\x03\x00\x00\x00\x90\x01\x00", []) as port,
        Publisher(settings(port), MADE_BY, pace=FAST) as publisher,
    ):
        publisher(summary(0))
        wait_until(lambda: publisher._courier._ends >= 3, 30)
        reason = publisher.report()["broker"]["reason"]
    assert reason == "the broker's answers are no MQTT 5: Protocol error"
    assert "too_large" not in caplog.text


def test_a_broker_that_ends_each_connection_over_a_topic(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot say no: the agent names the topic and the line that the ACL may lack, once, comes back ever more
    rarely, and sends all when it may."""
    with (
        CurtBroker("window") as broker,
        Publisher(settings(broker.port, version="3.1.1"), MADE_BY, pace=FAST) as publisher,
    ):
        publisher(summary(0))
        wait_until(lambda: "degraded" in publisher.report()["delivery"].values(), 30)
        wait_until(lambda: broker.welcomes >= 5, 30)
        reason = publisher.report()["delivery"]["reason"]
        assert "leaves fer/v1/test/room/fer/window without an answer" in reason
        assert 'does its ACL allow "topic readwrite fer/v1/test/room/fer/#" to the anonymous user?' in reason
        assert sum("event=mqtt.trouble" in record.getMessage() for record in caplog.records) == 1
        assert publisher._courier._ends >= 3
        broker.forbidden.clear()
        wait_until(lambda: "fer/v1/test/room/fer/window" in broker.taken, 30)
        wait_until(lambda: publisher.report()["delivery"]["reason"] is None, 30)


def test_a_broker_that_dies_twice_is_no_refusal() -> None:
    """What was answered in between was not what ended the connection."""
    with (
        CurtBroker() as broker,
        Publisher(settings(broker.port, version="3.1.1"), MADE_BY, pace=FAST) as publisher,
    ):
        for round_ in range(1, 4):
            wait_until(lambda: publisher.wait_connected(0.1), 20)
            broker.forbidden.add("window")
            publisher(summary(round_))
            wait_until(lambda: not publisher._courier.connected.is_set(), 20)
            broker.forbidden.clear()
            wait_until(lambda n=round_: broker.taken.count("fer/v1/test/room/fer/window") >= n, 30)
        assert publisher.report()["delivery"]["reason"] is None
