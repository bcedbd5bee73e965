"""What a check of `fer-agent doctor` returns, and how checks are run: one that breaks is a finding, not a crash."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from agent.errors import FerAgentError

Verdict = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    """What was checked, e.g. "mqtt.tls"."""
    verdict: Verdict
    found: str
    """What is the case, in a few words, without secrets."""
    mend: str = ""
    """The command or the step that mends it; empty for PASS."""


Check = Callable[[], Iterable[Finding]]
"""One check: yields what it found. It may raise FerAgentError: that is a FAIL with the error's words."""


def good(name: str, found: str) -> Finding:
    """Return a PASS."""
    return Finding(name, "PASS", found)


def warn(name: str, found: str, mend: str) -> Finding:
    """Return a WARN: it works, less well than it could."""
    return Finding(name, "WARN", found, mend)


def fail(name: str, found: str, mend: str) -> Finding:
    """Return a FAIL: the agent cannot do its work so."""
    return Finding(name, "FAIL", found, mend)


def run(checks: dict[str, Check]) -> Iterator[Finding]:
    """Run the checks in order and yield what they find."""
    for name, check in checks.items():
        try:
            yield from check()
        except FerAgentError as error:
            text, _, mend = str(error).partition("; ")
            yield fail(name, text, mend or "see the message")
        except Exception as error:
            # A doctor must look at all the rest, whatever one check runs into.
            yield fail(name, f"the check itself failed: {type(error).__name__}: {error}", "report it with this line")
