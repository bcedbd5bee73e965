"""What the audit log keeps of a start: the agent, and each change of configuration, policy and privacy profile."""

import hashlib
import json

from agent import __version__, config
from agent.insight.budget import WINDOWS_A_DAY
from agent.insight.policy import declares_a_reason
from agent.insight.privacy import PROFILES, least_people, window_seconds
from agent.trust.audit import AuditLog, Detail


def note_start(audit: AuditLog, settings: config.Settings, *, live: bool, config_hash: str) -> None:
    """Write "agent.start", before it "config" and "policy" where they changed since the last start.

    live: a camera, not a video file
    config_hash: the one that `meta` publishes
    """
    for event, detail in (("config", {"hash": config_hash}), ("policy", _policy(settings))):
        if audit.last(event) != detail:  # type: ignore[arg-type]
            audit.note(event, **detail)  # type: ignore[arg-type]
    audit.note("agent.start", version=__version__, live=live)


def _policy(settings: config.Settings) -> dict[str, Detail]:
    """The policy without its texts (they hold names): a hash that changes with them, and what the gate decides by."""
    policy, profile = settings.policy, PROFILES[settings.privacy.profile]
    texts = json.dumps(policy.model_dump(), sort_keys=True).encode()
    epsilon = None if profile.epsilon is None else f"{profile.epsilon} a window, {WINDOWS_A_DAY} windows a day"
    return {
        "setting": policy.setting,
        "jurisdiction": policy.jurisdiction,
        "medical_or_safety_declared": declares_a_reason(policy),
        "profile": profile.name,
        "k_min": least_people(settings.privacy),
        "window_s": f"{window_seconds(settings):g}",
        "epsilon": epsilon,
        "hash": hashlib.sha256(texts).hexdigest()[:16],
    }
