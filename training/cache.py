"""Where decoded faces, runs and emulated Pythons lie between two commands."""

import os
from pathlib import Path


def folder() -> Path:
    """Return fer-agent's folder in the user's cache: ~/.cache/fer-agent, or in XDG_CACHE_HOME where that is absolute.

    Source: XDG Base Directory Specification 0.8, which asks to ignore a relative path.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "fer-agent"
