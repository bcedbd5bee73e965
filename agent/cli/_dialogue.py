"""What `fer-agent calibrate` says and asks, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent import config
from agent.calibration import compare, session
from agent.calibration.parts import Parts, Record
from agent.calibration.session import Wanted
from agent.cli._options import Number
from agent.errors import UsageError

_WELCOME: Final = """\
Four parts, a few minutes: what the camera sees of faces, how sure the model may be, the room at rest, and what
this machine can do. Nothing but numbers is kept. For the baseline people sit in view, doing nothing in particular.
Everybody in view must have agreed to it; no portrait, poster or screen with a face may be in view, it would count."""


class Dialogue:
    """What people read and answer, on stderr; with `yes` nothing is asked."""

    def __init__(self, yes: bool) -> None:
        self._console, self._yes = Console(stderr=True, highlight=False), yes

    def before(self, wanted: Wanted) -> Wanted:
        """Say what is about to happen, and ask for what only people know."""
        if self._yes:
            return wanted
        self._console.print(_WELCOME)
        with _answered():
            if {"camera", "baseline"} & set(wanted.parts):
                click.confirm("Has everybody in view agreed?", abort=True, err=True)
            if "camera" in wanted.parts and wanted.fov is None:
                degrees: float = click.prompt(
                    "The camera's horizontal field of view, degrees (0: not known)",
                    default=0.0,
                    type=Number(0, 179),
                    err=True,
                )
                wanted = replace(wanted, fov=degrees if degrees >= 1 else None)
        return wanted

    @contextmanager
    def progress(self, wanted: Wanted) -> Iterator[session.Progress]:
        """Show one bar a part on a terminal, one line a finished part elsewhere."""
        columns = (TextColumn("{task.description:14}"), BarColumn(), TextColumn("{task.fields[what]}"))
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as bars:
            tasks = {part: bars.add_task(part, total=1.0, start=False, what="") for part in wanted.parts}

            def tell(part: str, share: float, what: str) -> None:
                bars.start_task(tasks[part])
                bars.update(tasks[part], completed=min(1.0, share), what=what)

            yield tell

    def warn(self, *lines: str) -> None:
        """Print a line each."""
        for line in lines:
            self._console.print(f"warning: {line}", markup=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, before: Parts | None, new: Record, settings: config.Settings) -> None:
        """Print the table of before and after, and the camera's range."""
        table = Table("", "before", "after", title=f"calibration {new.id}")
        for row in compare.rows(before, new.parts, settings):
            table.add_row(*row)
        self._console.print(table)
        if new.parts.camera is not None:
            for metres, px, meaning in compare.ranges(new.parts.camera):
                self.say(f"a face is {px} wide at {metres}: {meaning}")

    def consent_to_write(self, path: Path) -> None:
        """Ask before writing."""
        if not self._yes:
            with _answered():
                click.confirm(f"Write {path}?", default=True, abort=True, err=True)


@contextmanager
def _answered() -> Iterator[None]:
    """Within: Ctrl-C at a question is Ctrl-C, and an input that ends is told; to click both are "Aborted!", exit 1."""
    try:
        yield
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(abort.__context__, EOFError):
            raise UsageError("expected an answer on stdin, got its end; --yes asks nothing") from None
        raise
