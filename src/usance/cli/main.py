"""The `usance` command: a tree of nouns and verbs whose parts are imported only when they are used.

Data goes to stdout, talk to stderr. Exit codes: 0 ok, 1 refused or invalid, 2 unreadable input, 3 conflict,
4 unavailable, 5 tampered, 64 usage.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

EXIT_USAGE = 64

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("usance.cli.running:demo", "Play the sample book and print a summary."),
    "log": ("usance.cli.logs:log", "Verify the log's hash chain."),
    "screen": ("usance.cli.screening:screen", "Screen names against the sanctions lists."),
    "start": ("usance.cli.running:start", "Start everything in one process."),
    "swift": ("usance.cli.swift:swift", "Parse and validate FIN messages."),
}
"""Name -> (module:attribute, one line of help)."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return all names in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target[0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def usance() -> None:
    """Run a bank's documentary-trade book as auditable event streams."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        code: Any = usance.main(arguments, prog_name="usance", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        from usance.kernel.errors import Refused, UsanceError

        if not isinstance(error, UsanceError):
            raise
        rule = (
            f" [{error.code} {error.article}]".replace(" ]", "]")
            if isinstance(error, Refused)
            else ""
        )
        click.echo(f"{error.message}{rule}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
