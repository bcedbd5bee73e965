"""Where each key of a TOML text stands: the standard parser forgets line numbers, an error message needs them."""

import re
from typing import Final

Key = tuple[str | int, ...]
"""Path of a key from the root; a whole number counts the entries of an array of tables, from 0."""

_PART: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_PATH: Final = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER: Final = re.compile(rf"\s*(\[\[?)[ \t]*({_PATH})[ \t]*\]")
_ASSIGNMENT: Final = re.compile(rf"\s*({_PATH})[ \t]*=")
_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|' + r"'''.*?'''|" + r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]""", re.DOTALL
)
"""What may hide or hold a line's end inside a value: strings, comments, brackets."""


def locate(text: str) -> dict[Key, int]:
    """Return the line (from 1) of every table and key of `text`, which must be valid TOML.

    Keys inside inline tables and arrays have no entry: `line_of` answers with the line of what holds them.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    at = 0
    while at < len(text):
        number = text.count("\n", 0, at) + 1
        if header := _HEADER.match(text, at):
            table = _table(header[1], _split(header[2]), counts)
            lines.setdefault(table, text.count("\n", 0, header.start(1)) + 1)
            at = _line_end(text, header.end())
        elif assignment := _ASSIGNMENT.match(text, at):
            number = text.count("\n", 0, assignment.start(1)) + 1
            lines[(*table, *_split(assignment[1]))] = number
            at = _value_end(text, assignment.end())
        else:
            at = _line_end(text, at)
    return lines


def line_of(lines: dict[Key, int], key: Key) -> int:
    """Return the line of `key`, or of the nearest thing that holds it; 1 if nothing does."""
    for length in range(len(key), 0, -1):
        if key[:length] in lines:
            return lines[key[:length]]
        below = [line for known, line in lines.items() if known[:length] == key[:length]]
        if below:
            return min(below)
    return 1


def _table(brackets: str, path: Key, counts: dict[Key, int]) -> Key:
    """Return the full key of a header; "[[x]]" starts the next entry of x."""
    if brackets == "[[":
        counts[path] = counts.get(path, -1) + 1
    return (*path, counts[path]) if path in counts else path


def _split(path: str) -> Key:
    """Return the parts of a dotted key, without quotes."""
    return tuple(part.strip("\"'") for part in re.findall(_PART, path))


def _line_end(text: str, at: int) -> int:
    """Return the position after the line that holds `at`."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _value_end(text: str, at: int) -> int:
    """Return the position after the value that starts at `at`: its first line's end outside all brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.end()
    return len(text)
