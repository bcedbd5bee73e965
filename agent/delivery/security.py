"""TLS and the password: built at start so that a wrong file is a refusal, and explained when a broker is refused."""

import os
import socket
import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple

import paho.mqtt.client as paho

from agent.config import Mqtt
from agent.errors import ConfigError

PASSWORD_VARIABLE: Final = "FER_MQTT_PASSWORD"  # noqa: S105  the name of a variable, not a password
_SET_CLOCK: Final = "sudo timedatectl set-ntp true"
_MENDS_OF_DATES: Final = {
    9: ("is not valid yet", _SET_CLOCK),
    10: ("has expired", f"renew it on the broker, and its authority's if that has ended; else {_SET_CLOCK}"),
}
"""Number of OpenSSL (X509_V_ERR_*, x509_vfy.h) → what is wrong, what to do. Those of a certificate's authority, too."""
_WRONG_HOST: Final = frozenset({62, 63, 64})
"""More such numbers."""


class Names(NamedTuple):
    """What people set: the keys of agent.toml, or a command's options."""

    host: str = "mqtt.host"
    ca_file: str = "mqtt.ca_file"
    port: str = "mqtt.port"
    tls: str = "mqtt.tls"
    old: str = 'mqtt.version = "3.1.1"'


KEYS: Final = Names()
OPTIONS: Final = Names("--broker", "--ca-file", "--broker", "--ca-file", "--mqtt-version 3.1.1")


def mends(login: str, old: str) -> dict[int, str]:
    """Return reason code of a refused connection → what to do about `login`, or to speak the `old` version."""
    return {**dict.fromkeys((134, 135), f"check {login}, and the broker's log"), 132: old}


def context(mqtt: Mqtt, names: Names = KEYS) -> ssl.SSLContext | None:
    """TLS 1.2 or newer, certificate and host name always checked; None without TLS.

    Raises ConfigError for a file that is missing or is not what it should be.
    """
    if not mqtt.tls:
        return None
    try:
        made = ssl.create_default_context(cafile=None if mqtt.ca_file is None else str(mqtt.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{names.ca_file}: expected a PEM certificate at {mqtt.ca_file}, got: {error}") from error
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.cert_file is not None:
        try:
            made.load_cert_chain(mqtt.cert_file, mqtt.key_file)
        except (OSError, ssl.SSLError) as error:
            where = f"{mqtt.cert_file} and {mqtt.key_file}"
            raise ConfigError(
                f"mqtt.cert_file: expected a certificate with its key at {where}, got: {error}"
            ) from error
    return made


def password(mqtt: Mqtt) -> str | None:
    """From `password_file`, else from the environment variable FER_MQTT_PASSWORD, else None.

    Raises ConfigError for a file that cannot be read, is empty, or that others may read.
    """
    if mqtt.password_file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    path = Path(mqtt.password_file)
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file: cannot read {path}: {error}") from error
    if mode & 0o007:
        raise ConfigError(f"mqtt.password_file: {path} is open to everybody (mode {mode & 0o777:o}); chmod 600 {path}")
    if not lines or not lines[0]:
        raise ConfigError(f"mqtt.password_file: expected the password in the first line of {path}, got an empty line")
    return lines[0]


def log_in(client: paho.Client, mqtt: Mqtt, secret: str | None) -> None:
    """Have `client` bring user name and `secret`; a secret alone goes with an empty name, as MQTT 3.1.1 asks."""
    if mqtt.username is not None or secret is not None:
        client.username_pw_set(mqtt.username or "", secret)


def no_welcome(mqtt: Mqtt, names: Names = KEYS) -> str:
    """What to ask of a port that takes the connection and answers nothing, or something else. Some brokers do
    so, too, to who speaks another version of MQTT than theirs (RabbitMQ before 3.13, ActiveMQ, rumqttd)."""
    ways = [f"is it an MQTT broker's port ({names.port})"]
    ways += [] if mqtt.tls else [f"does it want TLS ({names.tls})"]
    other, option = ("3.1.1", names.old) if mqtt.version == "5" else ("5", names.old.replace("3.1.1", "5"))
    ways += [f"does it speak MQTT {other} alone ({option})"]
    return f"{', or '.join(ways)}?"


def explain(error: Exception, mqtt: Mqtt, names: Names = KEYS) -> str:
    """One line that says why the connection to the broker failed, and what to do."""
    return ": ".join(filter(None, explained(error, mqtt, names)))


def explained(error: Exception, mqtt: Mqtt, names: Names = KEYS) -> tuple[str, str]:
    """Why the connection to the broker failed, and what to do; that is empty where only the network can tell."""
    where = f"{mqtt.host}:{mqtt.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code in _MENDS_OF_DATES:
            wrong, mend = _MENDS_OF_DATES[code]
            today = time.strftime("%Y-%m-%d", time.gmtime())
            return f"the certificate of {where} {wrong}, or this device's clock, which says {today}, is wrong", mend
        if code in _WRONG_HOST:
            why = f"the certificate of {where} is for another host ({error.verify_message.rstrip('.')})"
            return why, f"set {names.host} to a name that it has, or make one with this name on the broker"
        return f"the certificate of {where} is not trusted ({error.verify_message.rstrip('.')})", f"set {names.ca_file}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {where} failed ({error.reason or error})", "is it a TLS port?"
    if isinstance(error, socket.gaierror):
        return f"unknown host {mqtt.host!r} ({error.strerror})", ""
    if isinstance(error, TimeoutError):
        return f"{where} does not answer", ""
    if isinstance(error, ConnectionRefusedError):
        return f"no broker at {where} (connection refused)", ""
    return f"cannot reach {where}: {error}", ""
