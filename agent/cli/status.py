"""`fer-agent status`: how the agent that runs on this machine is doing."""

from pathlib import Path
from typing import Any

import click

from agent.cli._state import print_json
from agent.device.status_socket import SOCKET, ask


@click.command()
@click.option("--socket", "path", type=click.Path(path_type=Path), default=SOCKET, show_default=True, metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, nothing else there.")
def command(path: Path, as_json: bool) -> None:
    """Show the state of the running agent: camera, rates, spool, broker, temperature. Exit 69 if none runs.

    \b
    Example:
      fer-agent status --json
    """
    report = ask(path)
    if as_json:
        print_json(report)
        return
    for key, value in _flat(report):
        click.echo(f"{key:24} {value}")


def _flat(tree: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return (dotted key, value) of every leaf."""
    rows = []
    for key, value in tree.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{above}{key}.")
        else:
            rows.append((above + key, "-" if value is None else str(value)))
    return rows
