"""The agent's types → JSON Schemas and asyncapi.yaml. Pure: returns the files' texts."""

import json
from dataclasses import dataclass
from typing import Any, Final

import yaml

from agent.delivery import link, wire, wire_commands
from agent.delivery.payload import MAX_BYTES
from agent.delivery.topics import PREFIX

_ADDRESS: Final = f"{PREFIX}/{{site}}/{{room}}/{{agent}}"
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_IGNORE: Final = (
    "What this minor version sends, exactly. A later minor version may add fields: consumers ignore keys they do not "
    "know."
)


@dataclass(frozen=True)
class Channel:
    """One topic of an agent."""

    name: str
    """What comes after the agent's id."""
    payload: str
    """Name of its schema."""
    qos: int
    retain: bool
    from_agent: bool
    what: str
    expiry_s: int | None = None
    reply: bool = False
    """It is answered on `rsp/<name>`, or where its response topic says."""

    @property
    def key(self) -> str:
        """Name in asyncapi.yaml."""
        return self.name.replace("/", "-")


def _command(name: str, what: str) -> Channel:
    return Channel(f"cmd/{name}", f"cmd-{name}", 1, retain=False, from_agent=False, what=what, expiry_s=30, reply=True)


CHANNELS: Final = (
    Channel(
        "status",
        "status",
        1,
        True,
        True,
        "Birth and will. A will with an older `session` than the last birth is old news.",
    ),
    Channel("meta", "meta", 1, True, True, "What is running."),
    Channel("window", "window", 1, False, True, "The history stream: one message a window, late ones included."),
    Channel("last", "window", 0, True, True, "The newest window, for late joiners; expires after three windows."),
    Channel("event", "event", 1, False, True, "Something that happened once; kind `gap` declares lost windows."),
    Channel("health", "health", 0, False, True, "How the machine does."),
    Channel(
        "ack", "ack", 1, True, False, "Collector to agent: everything up to `upto_seq` is stored, or known to be lost."
    ),
    _command("pause", "Turn sensing off; it is done whatever the payload holds."),
    _command("resume", "Undo a remote pause; never a local one."),
    _command("resend", "Send windows again that a collector misses."),
    _command("ping", "Are you there?"),
    _command("model-install", "Install a signed bundle."),
    *(Channel(f"rsp/{name}", "reply", 1, False, True, f"The answer to cmd/{name}.") for name in wire_commands.COMMANDS),
    Channel("rsp/unknown", "reply", 1, False, True, "The answer to a command that does not exist."),
)

PAYLOADS: Final[dict[str, type[wire.Wire]]] = {
    "window": wire.Window,
    "status": wire.Status,
    "meta": wire.Meta,
    "event": wire.Event,
    "health": wire.Health,
    "ack": wire.Ack,
    "reply": wire_commands.Reply,
    **{f"cmd-{name}": model for name, model in wire_commands.COMMANDS.items()},
}


def files() -> dict[str, str]:
    """Return text by path, relative to deploy/contract."""
    made = {f"schemas/{name}.json": json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n" for name in PAYLOADS}
    head = "# Made by `python -m deploy.contract` from agent/delivery/wire*.py. Do not edit.\n"
    return made | {"asyncapi.yaml": head + yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=110)}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a payload."""
    made = PAYLOADS[name].model_json_schema(by_alias=True)
    made["title"] = f"fer-agent {name}"
    made["$comment"] = _IGNORE
    return {"$schema": _DIALECT, **made}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fer-agent",
            "version": "1.0.0",
            "description": (
                "Aggregate engagement of a room, a facial-expression proxy that is not validated as a measure of "
                "learning. Never a picture, a place in one, or anything about one person. MQTT 5, QoS 1; payloads are "
                f"JSON of at most {MAX_BYTES} bytes. {_IGNORE}"
            ),
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:1883", "protocol": "mqtt", "bindings": {"mqtt": _server()}}},
        "channels": {channel.key: _channel(channel) for channel in CHANNELS},
        "operations": {
            ("send-" if channel.from_agent else "receive-") + channel.key: _operation(channel) for channel in CHANNELS
        },
        "components": {
            "messages": {name: _message(name, model) for name, model in PAYLOADS.items()},
            "parameters": {name: {"description": what} for name, what in _PARAMETERS.items()},
        },
    }


_PARAMETERS: Final = {
    "site": "A school or a building: [a-z0-9-]{1,64}.",
    "room": "A room of it: [a-z0-9-]{1,64}.",
    "agent": "The device: [a-z0-9-]{1,64}; no two share one.",
}


def _server() -> dict[str, Any]:
    return {
        "clientId": "fer-<agent>",
        "cleanSession": False,
        "keepAlive": 20,
        "sessionExpiryInterval": link.SESSION_EXPIRY_S,
        "lastWill": {"topic": f"{_ADDRESS}/status", "qos": 1, "retain": True, "message": "status with state: lost"},
        "bindingVersion": "0.2.0",
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "address": f"{_ADDRESS}/{channel.name}",
        "description": channel.what,
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS},
        "messages": {channel.payload: {"$ref": f"#/components/messages/{channel.payload}"}},
    }


def _operation(channel: Channel) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}
    if channel.expiry_s is not None:
        mqtt["messageExpiryInterval"] = channel.expiry_s
    made: dict[str, Any] = {
        "action": "send" if channel.from_agent else "receive",
        "channel": {"$ref": f"#/channels/{channel.key}"},
        "summary": channel.what,
        "bindings": {"mqtt": mqtt},
    }
    if channel.reply:
        made["reply"] = {
            "address": {"location": "$message.header#/responseTopic"},
            "channel": {"$ref": f"#/channels/{channel.key.replace('cmd-', 'rsp-', 1)}"},
        }
    return made


def _message(name: str, model: type[wire.Wire]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (model.__doc__ or "").splitlines()[0],
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./schemas/{name}.json"},
        },
    }
