"""Variables of the environment that look like ours and are none: somebody believes that they set something."""

import difflib
from collections.abc import Mapping
from typing import Final

from agent.config.words import leaves

_OURS: Final = "FER_AGENT_"
PREFIX: Final = "FER_AGENT__"
"""How variables start that set a key: FER_AGENT__CAMERA__FPS=2."""


def unused(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that begins as ours do and sets nothing, with the one that was meant."""
    return [
        f"{name} is not used; {_meant(name)}"
        for name in sorted(environ)
        if name.startswith(_OURS) and not name.startswith(PREFIX)
    ]


def _meant(name: str) -> str:
    """Return "did you mean …?", or how a name is built: the underscores between its parts do not count."""
    known = {_plain(f"{section}_{key}"): f"{PREFIX}{section}__{key}".upper() for section, key, _ in leaves()}
    near = difflib.get_close_matches(_plain(name.removeprefix(_OURS)), known, n=1, cutoff=0.8)
    return f"did you mean {known[near[0]]}?" if near else f"expected {PREFIX}SECTION__KEY, with two underscores each"


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
