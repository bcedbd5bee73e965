"""The command line: a file a command, found by its name; the only code that prints or exits."""

import importlib
import pkgutil

import click

from agent import __version__
from agent.cli._ending import Program, run_program


class _Commands(Program):
    """Every module of this package that has no leading underscore is a command; imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click calls it by name)
        names = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
        return sorted(name.replace("_", "-") for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fer-agent")
def cli() -> None:
    """A classroom sensor for the edge: it publishes aggregate engagement, never a picture or a person.

    Inferring emotions in education is prohibited in the EU (AI Act Art. 5(1)(f)) except for medical or safety
    reasons. The index is a proxy and is not validated as a measure of learning.
    """


def main() -> None:
    """Run the program: an error is one line on stderr and an exit code, never a traceback."""
    run_program(cli, "fer-agent")
