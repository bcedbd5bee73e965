"""Configuration in words: what a field expects, what it got, which key was meant."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from agent.config import HOST, ID, KEY, ORIGIN, TIME, Settings

_PATTERNS = {
    ID: 'letters a-z, digits and "-", at most 64',
    TIME: 'a time such as "08:00"',
    KEY: 'a minisign public key such as "RWQ…", 56 characters',
    HOST: 'a name or an address alone, such as "broker.local" (port, username and password_file are keys of their own)',
    ORIGIN: 'an address such as "https://models.example.org", with no path',
}
"""Pattern of the schema → what it takes, for people."""
_NOUNS = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "string": "text"}


_ADDRESS = re.compile(
    # A "/" in a password should stand there as "%2F", but people forget it: then all up to the last "@" is the login.
    r"(?P<scheme>\b\w+://)(?:[^/\s]*@|[^?\s]*@)?(?P<host>[^/?\s]*)(?P<path>[^?\s]*)(?P<query>\?\S*)?"
)
_SECRETS = re.compile(
    # name=value, up to what ends it ("#" does not: nobody escapes it in a password): "/user=x&password=x&channel=1"
    r"(\b(?=\w*?(?:user|usr|login|pass|pwd|token|key|auth))\w++=)[^&/;?\s]*"
    # and a level of a path like "/0/admin:123456/main"
    r"|(?<=/)[^/:\s]+:[^/\s]+",
    re.IGNORECASE,
)
# A login behind no "scheme://", or half of one; with bounds, so that a long word takes no longer than its length.
_BARE_LOGIN = re.compile(r"(?<![^\s/'\"=(\[])[^\s/:@'\"=(\[]{1,100}:\S{1,200}@")


def without_login(source: str) -> str:
    """Return a camera's address as it may be logged and published: no user, no password, no query (tokens stand there).

    Cameras take logins before the host, in the path, and in the query. People forget the "rtsp://" before them.
    """

    def cleaned(m: re.Match[str]) -> str:
        if "@" in (m["query"] or ""):  # a password with "@", "/" and "?" in it: the host is further on, or nowhere
            return m["scheme"] + "…"
        path = _SECRETS.sub(lambda secret: (secret[1] or "") + "…", m["path"])
        return m["scheme"] + m["host"] + path + ("?…" if m["query"] else "")

    return _BARE_LOGIN.sub("", _ADDRESS.sub(cleaned, source))


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of all of agent.toml."""
    made = Settings.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "fer-agent configuration (agent.toml)"
    return made


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Return what `node` of the schema refers to."""
    while "$ref" in node:
        node = schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def fields(path: Iterable[str | int]) -> dict[str, Any] | None:
    """Return the part of the schema that describes `path`; None if there is no such key."""
    node = schema()
    for part in path:
        node = resolve(node)
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if inner is None:
            return None
        node = inner
    return {**resolve(node), **{k: v for k, v in node.items() if k != "$ref"}}


def split_key(text: str) -> tuple[str, str]:
    """Return ("camera.fps", "expected …") of "camera.fps: expected …"; ("", text) if no key stands before it."""
    key, colon, what = text.partition(": ")
    return (key, what) if colon and fields(key.split(".")) is not None else ("", text)


def leaves() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (section, key, schema) of every single setting, in the order of the models."""
    for section in schema()["properties"]:
        for key, node in (fields((section,)) or {}).get("properties", {}).items():
            yield section, key, resolve(node)


def expected(node: dict[str, Any]) -> str:
    """Return what a field takes, e.g. "a number in (0, 60]"."""
    if "anyOf" in node:
        return " or ".join(expected(resolve(n)) for n in node["anyOf"] if n.get("type") != "null")
    if "enum" in node:
        return "one of " + ", ".join(toml(v) for v in node["enum"])
    if "const" in node:
        return str(toml(node["const"]))
    kind = node.get("type", "")
    if kind == "object":
        return "a table of settings"
    if kind == "array":
        item = resolve(node["items"])
        return "a list of tables" if item.get("type") == "object" else f"a list in [ ], each {expected(item)}"
    if node.get("format") == "path":
        return "a path in quotes"
    if "pattern" in node:
        return _PATTERNS.get(node["pattern"], f"text that matches {node['pattern']}")
    if kind == "string":
        return "text in quotes" + (", not empty" if node.get("minLength") else "")
    return str(_NOUNS.get(kind, kind)) + _range(node)


def _range(node: dict[str, Any]) -> str:
    """Return " in [low, high)" of a number's schema, or ""."""
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    left = "[" if "minimum" in node else "("
    right = "]" if "maximum" in node else ")"
    return f" in {left}{_plain(low, '-∞')}, {_plain(high, '∞')}{right}"


def _plain(bound: float | None, unbounded: str) -> str:
    return unbounded if bound is None else f"{bound:.15g}"


def did_you_mean(path: tuple[str | int, ...]) -> str:
    """Return "; did you mean …" for the unknown key at the end of `path`, or the list of keys there are."""
    name = str(path[-1])
    siblings = list((fields(path[:-1]) or {}).get("properties", {}))
    if close := difflib.get_close_matches(name, siblings, n=1, cutoff=0.6):
        return f'; did you mean "{close[0]}"?'
    for section, key, _ in leaves():
        if key == name:
            return f'; did you mean "{key}" of [{section}]?'
    return f" (known: {', '.join(siblings)})" if siblings else ""


def toml(value: Any) -> str:
    """Return `value` as TOML writes it; None as a word, for there is none."""
    if value is None:
        return "unset"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value)
