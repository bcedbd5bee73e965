"""The policy gate: may this camera be opened at all? Pure but for one look at what kind of file a source is.

Regulation (EU) 2024/1689 (AI Act) Art. 5(1)(f) prohibits inferring emotions "in the areas of workplace and education
institutions" except for medical or safety reasons, since 2 February 2025.
"""

import re
from pathlib import Path
from typing import Final

from agent import config
from agent.errors import ConfigError, PolicyError
from agent.insight.countries import EU_EEA, KNOWN
from agent.insight.privacy import PROFILES

_REQUIRED: Final = ("controller", "purpose", "legal_basis", "consent", "setting", "jurisdiction")
MARKS: Final = ":!|%"
"""Characters of addresses and pipelines: a source with one may be more than the path of a file."""
_PROHIBITED: Final = ("education", "workplace")
_BLANKS: Final = ("", "-", "?", "…", "...", "n/a", "none", "todo", "tbd", "xxx", "fixme")
"""Texts that say nothing (compared in lower case)."""
_LEAST_WORDS: Final = 3
"""Of a declared reason: "yes" and "n/a" are none."""
_NEGATIONS: Final = (
    *("no", "not", "none", "never", "nothing", "nil", "false", "without", "n", "na"),
    *("nein", "nicht", "kein", "keine", "keiner", "keines", "ohne"),
    *("non", "pas", "aucun", "aucune", "rien", "niet", "geen", "zonder", "nej", "ingen", "inte", "ikke", "ei"),
    *("nie", "brak", "ne", "nu", "nem", "não", "nenhum", "nenhuma", "sem", "nessun", "nessuna", "niente"),
    *("ningún", "ninguno", "ninguna", "sin"),
)
"""First words of who says that there is no reason, in languages of the EU."""


def is_live(source: str) -> bool:
    """True unless `source` is a regular file, or a plain path where nothing is (which opening it will say).

    Camera indices, devices, pipes, "picamera2", URLs and whatever else a video library may understand show life.
    Raises ConfigError for a plain path in a folder that is closed: nobody can say what is there.
    """
    path = Path(source)
    known = source.isdecimal() or source.lower() == "picamera2" or source.startswith("/dev/")
    known = known or any(mark in source for mark in MARKS)
    try:
        return not path.is_file() and (known or path.exists())
    except PermissionError as cause:
        if known:
            return True
        what = "expected a video or camera that this user can look at"
        raise ConfigError(f"{source}: {what}, got: {cause.strerror}; put it where the service can read it") from cause
    except (OSError, ValueError):
        return known  # no file can have this name; an address may be that long


def check_policy(settings: config.Settings, live: bool) -> None:
    """Return if the policy allows this agent to watch; a video file needs no policy.

    live: a camera or stream (see `is_live`). Raises PolicyError, whose text begins with the key, for everything that is
    missing, or for the prohibition.
    """
    if not live:
        return
    check_declared(settings.policy)
    check_k_min(settings.privacy)


def check_declared(policy: config.Policy) -> None:
    """Raise PolicyError for a [policy] that lacks something, or that the law does not allow."""
    _check_filled(policy)
    _check_prohibition(policy)


def check_k_min(privacy: config.Privacy) -> None:
    """Raise PolicyError for fewer people than a live camera needs."""
    least = PROFILES[privacy.profile].k_min
    if privacy.k_min is not None and privacy.k_min < least:
        what = f"expected at least {least} for a live camera in profile {privacy.profile!r}, got {privacy.k_min}"
        raise PolicyError(f"privacy.k_min: {what}")


def _check_filled(policy: config.Policy) -> None:
    missing = [name for name in _REQUIRED if _blank(getattr(policy, name))]
    if missing:
        raise PolicyError(
            f"policy: a live camera needs a filled [policy] section, missing or empty: {', '.join(missing)}; "
            "video files need none (see deploy/privacy/)"
        )
    code = policy.jurisdiction.strip().upper()
    if code not in KNOWN:
        raise PolicyError(
            "policy.jurisdiction: expected an ISO 3166 two-letter country code, "
            f'"EU" or "EEA", got {policy.jurisdiction!r}'
        )


def _check_prohibition(policy: config.Policy) -> None:
    inside = policy.jurisdiction.strip().upper() in EU_EEA
    if inside and policy.setting in _PROHIBITED and not declares_a_reason(policy):
        raise PolicyError(
            f"policy.setting: inferring emotions in {policy.setting} is prohibited in the EU/EEA "
            f"(policy.jurisdiction = {policy.jurisdiction!r}, AI Act Art. 5(1)(f)) except for medical or safety "
            "reasons; policy.medical_or_safety can declare one in a few words, at least "
            f"{_LEAST_WORDS}, and that declaration is the operator's own"
        )


def declares_a_reason(policy: config.Policy) -> bool:
    """True if `medical_or_safety` names a reason: some words, of which the first does not say that there is none.

    Whether it is one of those that the law means is not for a program to say.
    """
    words = re.findall(r"\w+", policy.medical_or_safety.lower())
    return len(words) >= _LEAST_WORDS and words[0] not in _NEGATIONS and not _blank(policy.medical_or_safety)


def _blank(text: str) -> bool:
    """True for what fills a field without saying anything, placeholders like "<name>" included."""
    plain = text.strip()
    return plain.lower() in _BLANKS or (plain.startswith("<") and plain.endswith(">"))
