"""Home Assistant device discovery: one retained message announces the room with all its sensors. Pure functions.

Keys are Home Assistant's own abbreviations (its MQTT documentation, "Supported abbreviations").
"""

import hashlib
import json
from typing import Any, Final

from agent import __version__
from agent.delivery.topics import Topics
from agent.emotions import LABELS

PREFIX: Final = "homeassistant"
BIRTH: Final = f"{PREFIX}/status"
"""Home Assistant says "online" here after a start; then everything is announced again."""

_LIVE: Final = "{%%set v=value_json%%}{{''if v.replay else %s}}"
"""An empty result is ignored: late windows must not move live gauges. Short, because 15 of them must fit into 4 KB."""
_RESULT: Final = "none if v.suppressed else %s"
_LOOKED: Final = "v.seats if v.suppressed in(none,'k_min','budget','invalid')else none"
"""With the camera off or blind nobody was looked for: 0 would be an empty room."""
_SCALARS: Final = (("valence", "Valence", None), ("arousal", "Arousal", None), ("expressivity", "Expressivity", "%"))


def topic(topics: Topics) -> str:
    """Where the device is announced: by the agent's id alone, which is unique at a broker and what its ACL allows."""
    return f"{PREFIX}/device/{topics.agent}/config"


def payload(topics: Topics, window_s: float, *, index_only: bool = False) -> bytes:
    """The announcement. State comes from `window`, which is not retained, so a stale value expires after three
    windows instead of coming back with every restart. `index_only`: the privacy profile sends nothing but the index."""
    fresh = {"stat_cla": "measurement", "frc_upd": True, "exp_aft": max(1, round(3 * window_s))}
    percent, diagnostic = {"unit_of_meas": "%"}, {"ent_cat": "diagnostic"}
    coverage = _sensor(topics, "coverage", "Coverage", _RESULT % "(v.coverage*100)|round")
    state = {"stat_t": "~/status", "val_tpl": "{{value_json.state}}"}
    sensors = {
        "engagement": _sensor(topics, "engagement", "Engagement", _RESULT % "v.engagement.value") | fresh,
        "seats": _sensor(topics, "seats", "People", _LOOKED) | fresh,
        "coverage": coverage | fresh | percent | diagnostic,
        "state": _sensor(topics, "state", "State", "") | state | diagnostic,
    }
    if not index_only:
        for key, name, unit in _SCALARS:
            sensors[key] = _sensor(topics, key, name, _RESULT % f"v.{key}") | fresh | (percent if unit else {})
        for label in LABELS:
            value = _RESULT % f"(v.shares.{label}*100)|round"
            # Three letters tell them apart and save 90 bytes.
            sensors[label[:3]] = _sensor(topics, label[:3], label.title(), value) | fresh | percent | {"en": False}
    config: dict[str, Any] = {
        "~": topics.root,
        "dev": {
            "ids": [_digest(topics)],
            "name": f"{topics.site} {topics.room}"[:48],  # so that the longest ids fit into 4 KB
            "sw": __version__,
        },
        "o": {"name": "fer-agent"},
        "stat_t": "~/window",
        "qos": 1,
        "cmps": sensors,
    }
    return json.dumps(config, separators=(",", ":")).encode()


def _sensor(topics: Topics, key: str, name: str, value: str) -> dict[str, Any]:
    return {"p": "sensor", "uniq_id": f"{_digest(topics)}-{key}", "name": name, "val_tpl": _LIVE % value}


def _digest(topics: Topics) -> str:
    """The agent's id in short: 15 long ones would not fit into 4 KB."""
    return "fer" + hashlib.sha256(topics.agent.encode()).hexdigest()[:8]
