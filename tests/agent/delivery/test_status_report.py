"""What `fer-agent status` says of the way to the broker, and of a collector whose acks stay away."""

import json
import subprocess
from pathlib import Path

import pytest

from agent.cli.status import _flat
from agent.delivery import link
from agent.delivery.births import Births
from agent.delivery.commands import Desk
from agent.delivery.news import Parcel, SetState
from agent.delivery.outbox import Item
from agent.delivery.publish import Publisher
from agent.delivery.reception import Reception
from agent.delivery.shared import SharedSpool
from agent.errors import FerAgentError
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, speaker, summary, wait_until

REFUSED = "the broker refused: Not authorized; check mqtt.username and mqtt.password_file, and the broker's log"
WELL = link.Answered(1, 0, "Success")


def test_a_refused_password_shows_in_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the broker refuses, or is away, the reason is there, for people and in JSON; connected, there is none."""
    passwords = tmp_path / "passwd"
    with Mosquitto(tmp_path / "broker") as broker:
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "fer", "right"], check=True)
        broker.configure(f"password_file {passwords}", anonymous=False)
        broker.restart()
        for password, reason in (("wrong", REFUSED), ("right", None)):
            monkeypatch.setenv("FER_MQTT_PASSWORD", password)
            with Publisher(settings(broker.port, username="fer"), MADE_BY, pace=FAST) as publisher:
                wait_until(lambda p=publisher: p._courier.away or p.wait_connected(0), 60)
                told = json.loads(json.dumps(publisher.report()))
                assert told["broker"]["reason"] == reason
                assert told["broker"]["connected"] == (reason is None)
                assert ("broker.reason", reason or "-") in _flat(told)
        with Publisher(settings(broker.port, username="fer"), MADE_BY, pace=FAST) as publisher:
            assert publisher.wait_connected(10)
            broker.end()
            wait_until(lambda: "refused" in (publisher.report()["broker"]["reason"] or ""), 20)


class Sent(list[Parcel]):
    """What was sent, newest last."""

    def post(self, parcel: Parcel) -> int:
        self.append(parcel)
        return len(self)

    def requeue(self) -> None:
        """Nothing is lined up here."""

    def fatal(self, error: FerAgentError) -> None:
        raise error


def waiting(acked: int | None, unacked_s: float) -> tuple[Reception, SharedSpool, Births]:
    """An agent that is ready, with three windows of which a collector had acknowledged `acked` at some time."""
    spool, sent = SharedSpool(), Sent()
    for number in range(3):
        spool.add(lambda epoch, seq, n=number: b'{"n": %d}' % n)
    births = Births(speaker(), MADE_BY, spool, home_assistant=False)
    births.set_state(SetState("ready", None))
    desk = Desk(speaker(), {}, lambda first, last: {}, lambda: spool.newest_seq)
    reception = Reception(settings(1).mqtt, speaker(), births, spool, sent, desk, unacked_s=unacked_s)
    if acked is not None:
        acknowledge(reception, spool, acked)
    for position in range(3):
        reception.answered(WELL, speaker().topics("window"), Item(position, replay=False))
    return reception, spool, births


def acknowledge(reception: Reception, spool: SharedSpool, upto: int) -> None:
    ack = json.dumps({"epoch": spool.epoch, "upto_seq": upto}).encode()
    reception.received(link.Received(speaker().topics("ack"), ack, True, None, None))


def test_acks_that_stay_away_are_missed(caplog: pytest.LogCaptureFixture) -> None:
    """A collector acknowledged once, then no more: degraded, with the ACL's line; its next ack ends that, the old one,
    which the broker keeps, does not."""
    reception, spool, births = waiting(acked=1, unacked_s=0)
    assert births.now().state == "degraded"
    assert '"topic read fer/v1/test/room/fer/#" to the anonymous user' in births.now().reason
    assert caplog.text.count("event=mqtt.trouble") == 1
    acknowledge(reception, spool, 1)
    assert births.now().state == "degraded"
    acknowledge(reception, spool, 3)
    assert births.now() == SetState("ready", None)


@pytest.mark.parametrize(("acked", "unacked_s"), [(None, 0), (1, 3600)])
def test_nobody_is_troubled_without_a_collector_or_early(acked: int | None, unacked_s: float) -> None:
    """Where no ack ever came there may be no collector; and acks may take their time."""
    assert waiting(acked, unacked_s)[2].now() == SetState("ready", None)


def test_the_status_says_how_far_a_collector_is() -> None:
    """The last number that was acknowledged, or none, stands beside what waits."""
    with Publisher(settings(1), MADE_BY, pace=FAST) as publisher:
        publisher(summary(0))
        assert publisher.report()["spool"]["acknowledged"] is None
        publisher._spool.ack(publisher._spool.epoch, 1)
        assert publisher.report()["spool"]["acknowledged"] == 1
