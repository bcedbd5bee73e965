"""`fer-agent doctor`: looks at everything that the agent needs and says what mends what is wrong."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from agent.cli._service import as_the_service
from agent.cli._state import config_option, print_json, settings_of
from agent.config import Settings
from agent.config.file import SettingsError
from agent.device import check_broker, check_host, check_vision
from agent.device.checks import Check, Finding, fail, run
from agent.errors import CheckFailed

_COLOURS: Final = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}


@click.command()
@config_option
@click.option("--only", multiple=True, type=click.Choice(["host", "vision", "broker"]), help="Look at these alone.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on stdout, nothing else there.")
def command(config: Path | None, only: tuple[str, ...], as_json: bool) -> None:
    """Check machine, camera, model and broker: PASS, WARN or FAIL, each with the command that mends it.

    Stop the service first (systemctl stop fer-agent): a camera has one user at a time. As root it looks as the
    service's own user, with its secrets. A camera that is paused, outside its hours or without a policy is not opened.
    Exit 1 if anything fails.

    \b
    Example:
      sudo fer-agent doctor --json
    """
    options = [*(f"--only={part}" for part in only), *(["--json"] if as_json else [])]
    as_the_service("doctor", *options, *([f"--config={config.absolute()}"] if config else []))
    try:
        settings = settings_of(config, None)
    except SettingsError as error:
        mend = "edit the file, then: fer-agent config check"
        found: Iterable[Finding] = [fail("config", str(problem), mend) for problem in error.problems]
    else:
        found = run(_checks(settings, only))
    findings = list(_shown(found, as_json))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    failed = [finding.name for finding in findings if finding.verdict == "FAIL"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")


def _checks(settings: Settings, only: tuple[str, ...]) -> dict[str, Check]:
    parts = {"host": check_host.checks, "vision": check_vision.checks, "broker": check_broker.checks}
    return {
        name: check for part, make in parts.items() if part in (only or parts) for name, check in make(settings).items()
    }


def _shown(findings: Iterable[Finding], as_json: bool) -> Iterable[Finding]:
    """Print each finding as it comes, unless JSON follows at the end."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        if not as_json:
            colour = _COLOURS[finding.verdict]
            console.print(f"[{colour}]{finding.verdict}[/]  {finding.name:14} ", end="")
            console.print(finding.found, markup=False)
            if finding.mend:
                console.print(f"{'':22}→ {finding.mend}", markup=False)
        yield finding
