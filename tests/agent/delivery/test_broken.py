"""Flaws of our own, over a real broker: one of a command's handler is answered, one of the delivery ends the agent."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.disk import DiskSpool
from agent.delivery.publish import Publisher
from agent.errors import FerAgentError, TryAgainError
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = "fer/v1/test/room/fer"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[ReferenceSubscriber]:
    """Who listens at a broker of the test's own."""
    with Mosquitto(tmp_path / "broker") as broker, ReferenceSubscriber(broker.port) as listening:
        yield listening


def _divide(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"sensing": 1 // 0}


def test_a_flaw_of_a_handler_is_answered(collector: ReferenceSubscriber) -> None:
    """Who asked hears that it failed and of what kind, the log has where, and the next command is answered."""
    with Publisher(settings(collector._port), MADE_BY, pace=FAST, handlers={"resume": _divide}) as publisher:
        assert publisher.wait_connected(20)
        collector.publish(f"{ROOT}/cmd/resume", b"{}", CorrelationData=b"1")
        collector.publish(f"{ROOT}/cmd/ping", b"", CorrelationData=b"2")
        wait_until(lambda: collector.payloads("rsp/ping"), 20)
        publisher.check()
    (reply,) = collector.payloads("rsp/resume")
    assert (reply["ok"], reply["error"]) == (False, "internal error: ZeroDivisionError")
    assert collector.newest("rsp/ping")["ok"]


def test_a_delivery_that_dies_takes_the_agent_along(
    collector: ReferenceSubscriber, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen error in its thread: the log says so, the will calls the agent lost, and the next frame or window
    raises it; the agent would look alive without."""
    with Publisher(settings(collector._port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
        publisher.state("ready")
        wait_until(lambda: collector.newest("status").get("state") == "ready", 20)
        publisher._courier.inbox.put(object())
        wait_until(lambda: collector.newest("status")["state"] == "lost", 20, "the will")
        for use in (publisher.check, lambda: publisher(summary(1))):
            with pytest.raises(FerAgentError, match=r"^delivery: AttributeError: ") as raised:
                use()
            assert raised.value.exit_code == 70
        publisher._courier.thread.join(10)
        assert not publisher._courier.thread.is_alive()
    assert caplog.text.count("event=delivery.crashed") == 1
    assert collector.newest("status")["state"] == "lost", "leaving says no goodbye"


@pytest.mark.parametrize(("error", "gaps"), [(ZeroDivisionError(), [3]), (TryAgainError("safe mode"), []), (None, [])])
def test_a_window_that_was_open_when_an_error_ended_the_agent_is_declared(
    error: Exception | None, gaps: list[int], tmp_path: Path
) -> None:
    """As one that was open at a kill. A clean stop has none, nor has the end of the safe mode."""
    with (
        suppress(ZeroDivisionError, TryAgainError),
        Publisher(settings(1), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        for number in range(2):
            publisher(summary(number))
        if error is not None:
            raise error
    spool = DiskSpool(tmp_path / "spool", 1 << 20, 1e9)
    kept = [spool.read(position) for position in spool.pending()]
    assert [entry.seq for entry in kept if entry.kind == "gap"] == gaps
    spool.close()
