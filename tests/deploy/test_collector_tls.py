"""A broker whose certificate cannot be trusted: the collector does not talk to it, and says which fault it is."""

from pathlib import Path

import pytest

from deploy.collector.broker import Address, Broker
from tests.deploy.conftest import wait_for
from tests.faults.test_mqtt_tls import DAY, FAULTY, NOW, Authority
from tests.mqtt_world import Mosquitto


def _serve(folder: Path, authority: Authority, name: str) -> Mosquitto:
    broker = Mosquitto(folder / "broker")
    broker.configure(f"certfile {authority.folder}/{name}.crt", f"keyfile {authority.folder}/{name}.key")
    return broker


@pytest.mark.parametrize("what", FAULTY)
def test_each_fault_has_its_own_message(tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """Expired, of another host, not valid yet: the log says which, and there is no connection."""
    caplog.set_level("INFO")
    start, end, host, says = FAULTY[what]
    authority = Authority(tmp_path)
    authority.sign("faulty", start, end, host)
    with (
        _serve(tmp_path, authority, "faulty") as server,
        Broker(Address(port=server.port, tls=True, ca_file=authority.file)) as broker,
    ):
        wait_for(lambda: says in caplog.text)
        assert not broker.connected
    assert caplog.text.count("event=broker.away") == 1


def test_an_unknown_authority_names_the_option(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without --ca-file the system's authorities count, and the log says which option adds one."""
    caplog.set_level("INFO")
    authority = Authority(tmp_path)
    authority.sign("good", NOW - DAY, NOW + DAY)
    with _serve(tmp_path, authority, "good") as server, Broker(Address(port=server.port, tls=True)):
        wait_for(lambda: "is not trusted" in caplog.text and "set --ca-file" in caplog.text)
