"""Writes configuration: the commented file of `config init`, and the settings in force with their origins."""

import textwrap
from typing import Any

from agent.config.file import Loaded
from agent.config.words import expected, leaves, toml, without_login

_LINE: int = 100
"""Characters of a comment line."""


def commented() -> str:
    """Return a whole agent.toml: every setting with its meaning, range and default, all commented out."""
    lines = [
        "# fer-agent configuration. Every line that starts with #: is a setting at its default.",
        "# Remove the #: to change one. Check it with: fer-agent config check FILE",
        "# Files in conf.d/ beside this one and FER_AGENT__SECTION__KEY variables win over it.",
    ]
    section = ""
    for name, key, node in leaves():
        if name != section:
            section = name
            lines += ["", f"[{name}]"]
        lines += _comment(node)
        default = node.get("default")
        lines.append(f"#: {key} =" if default is None else f"#: {key} = {toml(default)}")
    lines += [
        "",
        "# Hours in which the camera may be open; repeat the table for more. Without one it is always open.",
        "#: [[schedule]]",
        '#: days = ["mon", "tue", "wed", "thu", "fri"]',
        '#: start = "08:00"',
        '#: end = "16:00"',
    ]
    return "\n".join(lines) + "\n"


def _comment(node: dict[str, Any]) -> list[str]:
    """Return the comment of one setting, wrapped."""
    text = f"{node.get('description', '')} ({expected(node)})"
    whole = textwrap.TextWrapper(_LINE, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return whole.wrap(" ".join(text.split()))


def shown(loaded: Loaded) -> list[dict[str, Any]]:
    """Return one {key, value, origin} for each setting in force; secrets are only ever names of files."""
    dump = loaded.settings.model_dump(mode="json")
    rows = [
        {
            "key": f"{section}.{key}",
            "value": without_login(dump[section][key]) if key == "source" else dump[section][key],
            "origin": loaded.origins.get((section, key), "default"),
        }
        for section, key, _ in leaves()
    ]
    hours = {"key": "schedule", "value": dump["schedule"], "origin": loaded.origins.get(("schedule",), "default")}
    return [*rows, hours]
