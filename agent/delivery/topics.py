"""Where everything is published: one object makes every topic of one agent."""

import re
from dataclasses import dataclass
from typing import Final, Self

from agent.config import ID, Identity
from agent.errors import ConfigError

PREFIX: Final = "fer/v1"
"""First levels of every topic; the major version of the contract sits here."""

NO_AGENTS: Final = frozenset({"admin", "collector", "homeassistant", "viewer"})
"""Users of deploy/mosquitto/fer.acl that are no agents. Its `pattern` lines let every user publish as the agent of its
own name, these too; so nothing that comes under these names is an agent's."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one agent: `fer/v1/<site>/<room>/<agent>/<name>`."""

    site: str
    room: str
    agent: str

    def __post_init__(self) -> None:
        """Raise ConfigError for an id that could leave its place in the topic ("/", "+", "#", …)."""
        for key, value in (("site", self.site), ("room", self.room), ("id", self.agent)):
            if not re.fullmatch(ID, value):
                raise ConfigError(f'agent.{key}: expected 1-64 of a-z, 0-9 and "-", got {value[:80]!r}')

    @classmethod
    def of(cls, ids: Identity) -> Self:
        """The topics of the agent that is configured so. Raises ConfigError."""
        return cls(ids.site, ids.room, ids.id)

    @property
    def root(self) -> str:
        return f"{PREFIX}/{self.site}/{self.room}/{self.agent}"

    def __call__(self, name: str) -> str:
        """The topic `name` of this agent, e.g. "window" or "rsp/ping"."""
        return f"{self.root}/{name}"

    def command(self, topic: str) -> str | None:
        """The name of the command that `topic` carries to this agent, or None."""
        head = self("cmd/")
        return topic[len(head) :] if topic.startswith(head) else None


def parse(topic: str) -> tuple[Topics, str] | None:
    """Split a topic into its agent and the rest ("window", "cmd/ping"); None if it is not one of ours."""
    parts = topic.split("/", 5)
    if len(parts) < 6 or "/".join(parts[:2]) != PREFIX:
        return None
    try:
        return Topics(*parts[2:5]), parts[5]
    except ConfigError:
        return None
