"""What to do about a file that is no TOML, in words for people who never heard of it: the parser says only where."""

import re
import tomllib
from typing import Final

from agent.config.words import fields, without_login

_AT: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
_TWICE: Final = re.compile(r"Cannot declare \((.+)\) twice")
_UNQUOTED: Final = re.compile(r"[\w./:@-]+")
"""A word, an address, a path or a time that somebody wrote without quotes."""


def mend(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Return "; what to do" about the error in `text`; "" where the parser's own words are all there is to say."""
    message = str(error)
    if twice := _TWICE.match(message):
        name = ".".join(re.findall(r"['\"]([^'\"]*)['\"]", twice[1]))
        if (fields((name,)) or {}).get("type") == "array":
            return f"; write [[{name}]], with two brackets, before each of them"
        return f"; put these lines under the first [{name}]"
    if message.startswith("Cannot overwrite a value"):
        return "; this key is there twice: keep one of them"
    if at := _AT.search(message):
        return _quotes(message, text.splitlines()[int(at[1]) - 1 : int(at[1])], int(at[2]) - 1)
    return ""


def _quotes(message: str, lines: list[str], column: int) -> str:
    """Return what to say of a value that should have quotes, or small letters."""
    if message.startswith("Invalid value"):
        start = column
    elif message.startswith("Expected newline") and lines:  # 08:00 and 192.168.1.5 begin as numbers do
        start = lines[0].find("=") + 1
        start += len(lines[0][start:]) - len(lines[0][start:].lstrip())
    else:
        return ""
    word = _UNQUOTED.match(lines[0], start) if lines else None
    if word is None or word.end() < column:
        return ""
    if word[0].lower() in ("true", "false"):
        return f"; write {word[0].lower()} in small letters"
    if "@" in lines[0][word.end() :]:  # the word may end within a camera's password
        return "; text needs quotes"
    return f'; text needs quotes: "{without_login(word[0])}"'
