"""TLS against a real broker: what is wrong is said, each fault in its own words, never silently insecure (15)."""

import logging
import socket
from pathlib import Path

import pytest

from agent.delivery.publish import Publisher
from agent.delivery.subscribe import Subscriber
from agent.errors import ConfigError, UnavailableError
from tests.certificates import DAY, NOW, Authority
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def _use(broker: Mosquitto, authority: Authority, name: str, *lines: str) -> None:
    files = f"certfile {authority.folder}/{name}.crt", f"keyfile {authority.folder}/{name}.key"
    broker.configure(*files, *lines)
    broker.restart()


FAULTY = {
    "expired": (NOW - 20 * DAY, NOW - DAY, "127.0.0.1", "has expired, or this device"),
    "another host": (NOW - DAY, NOW + DAY, "10.9.8.7", "is for another host"),
    "our clock is behind": (NOW + 20 * DAY, NOW + 40 * DAY, "127.0.0.1", "is not valid yet, or this device"),
}


@pytest.mark.parametrize("what", FAULTY)
def test_each_fault_has_its_own_message(
    broker: Mosquitto, authority: Authority, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """The certificate is not accepted, the message says which of the three it is, windows wait."""
    start, end, host, says = FAULTY[what]
    authority.sign("faulty", start, end, host)
    _use(broker, authority, "faulty")
    wanted = settings(broker.port, tls=True, ca_file=authority.file)
    with Publisher(wanted, MADE_BY, pace=FAST) as publisher:
        publisher(summary(0))
        wait_until(lambda: says in caplog.text, 10, says)
        assert not publisher.wait_connected(0.5)
        assert publisher._spool.depth()[0] == 1
    others = [text for name, (_, _, _, text) in FAULTY.items() if name != what]
    assert not any(text in caplog.text for text in others)


def test_an_unknown_authority_is_refused(
    broker: Mosquitto, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the authority's file the system's are taken, and this one is not among them."""
    authority.sign("good", NOW - DAY, NOW + DAY)
    _use(broker, authority, "good")
    with Publisher(settings(broker.port, tls=True), MADE_BY, pace=FAST):
        wait_until(lambda: "is not trusted" in caplog.text and "set mqtt.ca_file" in caplog.text, 60)


def test_who_watches_by_hand_is_told_of_options(broker: Mosquitto, authority: Authority) -> None:
    """`tail` has no configuration whose key could be set; and OpenSSL's full stop is none of the sentence's."""
    authority.sign("faulty", *FAULTY["another host"][:3])
    _use(broker, authority, "faulty")
    mqtt = settings(broker.port, tls=True, ca_file=authority.file).mqtt
    with pytest.raises(UnavailableError) as caught, Subscriber(mqtt, ["t"]):
        pass
    assert "valid for '127.0.0.1'): set --broker to a name that it has" in str(caught.value)
    mqtt = settings(broker.port, tls=True).mqtt
    with (
        pytest.raises(UnavailableError, match=r"is not trusted \([^)]*[^.]\): set --ca-file$"),
        Subscriber(mqtt, ["t"]),
    ):
        pass


def test_tls_to_a_port_without_it_is_said(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """A plain port does not get a plain connection."""
    with Publisher(settings(broker.port, tls=True), MADE_BY, pace=FAST) as publisher:
        wait_until(lambda: "event=mqtt.down" in caplog.text, 60)
        assert not publisher.wait_connected(0)


def test_a_client_certificate_opens_the_door(broker: Mosquitto, authority: Authority) -> None:
    """With require_certificate: the agent's own one lets it in."""
    authority.sign("good", NOW - DAY, NOW + DAY)
    authority.sign("agent", NOW - DAY, NOW + DAY)
    _use(broker, authority, "good", f"cafile {authority.file}", "require_certificate true")
    own = {"cert_file": authority.folder / "agent.crt", "key_file": authority.folder / "agent.key"}
    with Publisher(settings(broker.port, tls=True, ca_file=authority.file, **own), MADE_BY, pace=FAST) as publisher:
        assert publisher.wait_connected(10)


def test_a_client_without_certificate_stays_outside(broker: Mosquitto, authority: Authority) -> None:
    """With require_certificate and none: not connected, windows wait."""
    authority.sign("good", NOW - DAY, NOW + DAY)
    _use(broker, authority, "good", f"cafile {authority.file}", "require_certificate true")
    with Publisher(settings(broker.port, tls=True, ca_file=authority.file), MADE_BY, pace=FAST) as publisher:
        publisher(summary(0))
        assert not publisher.wait_connected(1.5)
        publisher.check()


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "password_file"])
def test_a_file_that_is_missing_is_a_refusal_at_the_start(tmp_path: Path, key: str) -> None:
    """Exit 78, naming the key."""
    with pytest.raises(ConfigError, match=f"mqtt.{key}"):
        Publisher(settings(1, tls=True, **{key: tmp_path / "none"}), MADE_BY)


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Exit 78, with the command that mends it."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Publisher(settings(1, password_file=file), MADE_BY)


def test_mqtt_311_works_with_one_loud_warning(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """The older protocol delivers, and says what it hides."""
    with Publisher(settings(broker.port, version="3.1.1"), MADE_BY, pace=FAST) as publisher:
        assert publisher.wait_connected(10)
        publisher(summary(0))
        wait_until(lambda: publisher._courier.outbox.idle, 60)
        broker.restart()
        wait_until(lambda: publisher.wait_connected(0), 20)
    warnings = [r for r in caplog.records if "event=mqtt.old" in r.getMessage()]
    assert [r.levelno for r in warnings] == [logging.WARNING]


def test_an_unknown_host_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A name that does not resolve is told as that."""
    try:
        socket.getaddrinfo("broker.invalid", 1883)
        pytest.skip("this network resolves .invalid")
    except socket.gaierror:
        pass
    with Publisher(settings(1, host="broker.invalid"), MADE_BY, pace=FAST):
        wait_until(lambda: "unknown host 'broker.invalid'" in caplog.text, 20)
