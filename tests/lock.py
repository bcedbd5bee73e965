"""The versions that a device and a collector install: written to deploy/constraints.txt, and asked for known flaws.

    python -m tests.lock                write deploy/constraints.txt anew, from this environment
    python -m tests.lock --audit        ask pip-audit; exit 1 if it knows a vulnerability

Without an answer from the advisory service the audit says that it was skipped, and exits 0.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).resolve().parents[1] / "deploy" / "constraints.txt"
PROJECT = "fer-agent"
EXTRAS = ("", "collector")
HEAD = """\
# Tested versions of everything that a device and a collector install; deploy/install.sh installs these.
# Write it anew with: .venv/bin/python -m tests.lock
"""
_PATIENCE_S = 90


def installed() -> dict[str, str]:
    """Return name → version of all that the project needs at run time, in this environment."""
    found: dict[str, str] = {}
    waiting = [(PROJECT, EXTRAS)]
    while waiting:
        name, extras = waiting.pop()
        if canonicalize_name(name) in found:
            continue
        distribution = metadata.distribution(name)
        found[canonicalize_name(name)] = distribution.version
        for requirement in map(Requirement, distribution.requires or []):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((requirement.name, ("", *requirement.extras)))
    del found[PROJECT]
    return dict(sorted(found.items()))


def locked() -> dict[str, str]:
    """Return name → version of deploy/constraints.txt."""
    lines = [line.split("#")[0].strip() for line in LOCK.read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)  # type: ignore[misc]


def audit() -> int:
    """Ask for flaws of what is locked, say what came, and return the exit code."""
    pins = [f"{name}=={version}" for name, version in locked().items()]
    # One first: where the service does not know it, it will not know the others.
    first = _ask(pins[:1])
    answers = first if isinstance(first, str) or "skip_reason" in first[0] else _ask(pins)
    if isinstance(answers, str):
        click.echo(f"pip-audit: skipped, {answers}", err=True)
        return 0
    flaws = [
        f"{a['name']} {a['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for a in answers
        for flaw in a.get("vulns", ())
    ]
    unknown = [a["name"] for a in answers if "skip_reason" in a]
    if unknown:
        rest = "; the others were not asked" if len(answers) < len(pins) else ""
        click.echo(f"pip-audit: skipped, the advisory service has no answer for {', '.join(unknown)}{rest}", err=True)
    for flaw in flaws:
        click.echo(f"pip-audit: {flaw}", err=True)
    if not flaws and not unknown:
        click.echo(f"pip-audit: {len(answers)} packages, no known vulnerability", err=True)
    return 1 if flaws else 0


def _ask(pins: list[str]) -> list[dict[str, Any]] | str:
    """Return pip-audit's answer for each of `pins`, or why there is none."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip"),
            *("--format", "json", "--timeout", "5", "--progress-spinner", "off"),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return f"no answer within {_PATIENCE_S} s"
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
    return answers or "no answer"


def main() -> int:
    """Write or audit, as asked, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audit", action="store_true")
    if parser.parse_args().audit:
        return audit()
    LOCK.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in installed().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
