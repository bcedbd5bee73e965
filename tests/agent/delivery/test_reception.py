"""What the broker's refusals are turned into, where no broker that the tests have refuses so."""

import logging

import pytest

from agent.delivery import link
from agent.delivery.births import Births
from agent.delivery.courier import Courier
from agent.delivery.pace import Pace
from agent.delivery.retained import RetainedTopics
from agent.delivery.shared import SharedSpool
from tests.mqtt_world import MADE_BY, settings, speaker


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
    mqtt, spool = settings(1, username="fer", home_assistant=True).mqtt, SharedSpool()
    births = Births(speaker(), MADE_BY, spool, home_assistant=True)
    courier = Courier(
        *(mqtt, speaker(), births, spool),
        **{"pace": Pace(), "handlers": {}, "retained": RetainedTopics(None), "on_fatal": pytest.fail},
    )
    courier._hear(link.Granted(codes))
    assert f"denies subscribing: allow {line}" in caplog.text
    assert caplog.text.count("topic read") == 1
