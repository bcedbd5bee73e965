"""Does a message keep the contract? Judged by the files that users get (deploy/contract), not by the code's types."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import yaml

CONTRACT = Path(__file__).resolve().parent.parent / "deploy" / "contract"
MAX_BYTES = 4096


@cache
def _document() -> dict:
    return yaml.safe_load((CONTRACT / "asyncapi.yaml").read_text(encoding="utf-8"))


@cache
def _validator(reference: str) -> jsonschema.Draft7Validator:
    schema = json.loads((CONTRACT / reference).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def validator_of(topic: str) -> jsonschema.Draft7Validator | None:
    """What asyncapi.yaml says about the payloads of a topic; None if it has no such topic."""
    document = _document()
    for channel in document["channels"].values():
        address = channel["address"].split("/")
        levels = topic.split("/")
        if len(levels) == len(address) and all(a == b or a[0] == "{" for a, b in zip(address, levels, strict=True)):
            (message,) = channel["messages"]
            return _validator(document["components"]["messages"][message]["payload"]["schema"]["$ref"])
    return None


class Judge:
    """Takes the traffic of many agents message by message; `violations` is what was wrong with it."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.seen: dict[str, int] = {}
        self._k_min: dict[str, int] = {}
        self._early: dict[str, list[dict]] = {}

    def take(self, topic: str, body: bytes) -> None:
        """Judge one message; an empty body clears a retained topic."""
        name = "/".join(topic.split("/")[5:]) if topic.startswith("fer/") else topic.split("/")[0]
        self.seen[name] = self.seen.get(name, 0) + 1
        if len(body) > MAX_BYTES:
            self.violations.append(f"{topic}: {len(body)} bytes")
        if not body or topic.startswith("homeassistant/"):
            return
        validator = validator_of(topic)
        if validator is None:
            self.violations.append(f"{topic}: no such topic in the contract")
            return
        value = json.loads(body)
        self.violations += [f"{topic}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        self._watch_k_min(topic.rsplit("/", 1)[0], name, value)

    def _watch_k_min(self, root: str, name: str, value: dict) -> None:
        """A window of fewer than k_min people must not carry a result; `meta` says what k_min is."""
        if name == "meta":
            self._k_min[root] = value["k_min"]
            for window in self._early.pop(root, []):
                self._watch_k_min(root, "window", window)
        elif name in ("window", "last") and root not in self._k_min:
            self._early.setdefault(root, []).append(value)
        elif name in ("window", "last") and "engagement" in value and value["n_eff"] < self._k_min[root]:
            self.violations.append(f"{root}: a result of {value['n_eff']} people, k_min is {self._k_min[root]}")

    def verdict(self) -> list[str]:
        """All violations, and windows of agents that never said what their k_min is."""
        return self.violations + [f"{root}: windows but no meta" for root in self._early]
