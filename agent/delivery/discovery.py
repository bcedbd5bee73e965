"""Home Assistant device discovery: one retained message announces the room with all its sensors. Pure functions.

Keys are Home Assistant's own abbreviations (its MQTT documentation, "Supported abbreviations").
"""

import json
from typing import Any, Final

from agent import __version__
from agent.delivery.topics import Topics
from agent.emotions import LABELS

PREFIX: Final = "homeassistant"
BIRTH: Final = f"{PREFIX}/status"
"""Home Assistant says "online" here after a start; then everything is announced again."""

_LIVE: Final = "{%% if not value_json.replay %%}{{ %s }}{%% endif %%}"
"""An empty result is ignored: late windows must not move live gauges."""
_RESULTS: Final = (
    ("engagement", "Engagement", "value_json.engagement.value if value_json.engagement is defined else 'None'", None),
    ("valence", "Valence", "value_json.valence | default('None')", None),
    ("arousal", "Arousal", "value_json.arousal | default('None')", None),
    ("expressivity", "Expressivity", "value_json.expressivity | default('None')", "%"),
    ("seats", "People", "value_json.seats", None),
)


def topic(topics: Topics) -> str:
    """Where the device is announced."""
    return f"{PREFIX}/device/{_object_id(topics)}/config"


def payload(topics: Topics, window_s: float) -> bytes:
    """The announcement. State comes from `window`, which is not retained, so a stale value expires after three
    windows instead of coming back with every restart."""
    fresh = {"stat_cla": "measurement", "frc_upd": True, "exp_aft": max(1, round(3 * window_s))}
    sensors = {key: _sensor(topics, key, name, value, unit, fresh) for key, name, value, unit in _RESULTS}
    for label in LABELS:
        value = f"(value_json.shares.{label} * 100) | round(1) if value_json.shares is defined else 'None'"
        sensors[label] = _sensor(topics, label, label.title(), value, "%", fresh) | {"en": False}
    coverage = _sensor(topics, "coverage", "Coverage", "(value_json.coverage * 100) | round", "%", fresh)
    sensors["coverage"] = coverage | {"ent_cat": "diagnostic"}
    sensors["state"] = {
        "p": "sensor",
        "uniq_id": _unique(topics, "state"),
        "name": "State",
        "stat_t": "~/status",
        "val_tpl": "{{ value_json.state }}",
        "ent_cat": "diagnostic",
    }
    config: dict[str, Any] = {
        "~": topics.root,
        "dev": {
            "ids": [_object_id(topics)],
            "name": f"{topics.site} {topics.room}",
            "sw": __version__,
            "mdl": "fer-agent",
        },
        "o": {"name": "fer-agent", "sw": __version__},
        "stat_t": "~/window",
        "qos": 1,
        "cmps": sensors,
    }
    return json.dumps(config, separators=(",", ":")).encode()


def _sensor(topics: Topics, key: str, name: str, value: str, unit: str | None, fresh: dict[str, Any]) -> dict[str, Any]:
    made = {"p": "sensor", "uniq_id": _unique(topics, key), "name": name, "val_tpl": _LIVE % value, **fresh}
    return made if unit is None else made | {"unit_of_meas": unit}


def _object_id(topics: Topics) -> str:
    return f"fer-{topics.site}-{topics.room}-{topics.agent}"


def _unique(topics: Topics, key: str) -> str:
    return f"{_object_id(topics)}-{key}"
