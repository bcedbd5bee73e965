"""Every error that this project raises on purpose, each with its exit code (sysexits).

FerAgentError            70  internal, and the base of all below
├── CheckFailed           1  a check that the user asked for failed
├── UsageError            2  the command line makes no sense
├── InputError           66  no such input, or one that cannot be read as what it should be
├── UnavailableError     69  camera or broker not available (command line only)
├── CannotWriteError     73  an output cannot be written
├── TryAgainError        75  may work later
├── AccessError          77  permission denied
└── ConfigError          78  configuration
    ├── ModelError       78  a model or bundle that must not be used
    └── PolicyError      78  the privacy policy forbids it

A message is one line: what was expected, what came, where, what to do.
"""

from typing import ClassVar


class FerAgentError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 70


class CheckFailed(FerAgentError):
    """A check that the user asked for failed."""

    exit_code = 1


class UsageError(FerAgentError):
    """The command line makes no sense."""

    exit_code = 2


class InputError(FerAgentError):
    """No such input, or one that cannot be read as what it should be."""

    exit_code = 66


class UnavailableError(FerAgentError):
    """Camera or broker not available."""

    exit_code = 69


class CannotWriteError(FerAgentError):
    """An output cannot be written."""

    exit_code = 73


class TryAgainError(FerAgentError):
    """It failed now and may work later."""

    exit_code = 75


class AccessError(FerAgentError):
    """Permission denied."""

    exit_code = 77


class ConfigError(FerAgentError):
    """Configuration is wrong; the service manager does not restart."""

    exit_code = 78


class ModelError(ConfigError):
    """A model or bundle that must not be used."""


class PolicyError(ConfigError):
    """The privacy policy forbids what was asked."""


def first_line(cause: BaseException) -> str:
    """Return what a library's error says, for the end of a message: its first line, 200 characters at most; its type
    where it says nothing."""
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:200]


def last_line(said: str, otherwise: str) -> str:
    """Return what a program that failed said last, 300 characters at most; `otherwise` where it said nothing."""
    return (said.strip().splitlines() or [otherwise])[-1][:300]
