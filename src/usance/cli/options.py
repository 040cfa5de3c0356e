"""What every command shares: options that stand anywhere, lazy groups, exit codes, errors as text.

Only click and the standard library are imported here: `usance --help` must be there at once.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from usance.kernel.errors import UsanceError

EXIT_REFUSED = 1
EXIT_UNREADABLE = 2
EXIT_CONFLICT = 3
EXIT_UNAVAILABLE = 4
EXIT_TAMPERED = 5
EXIT_USAGE = 64
EXIT_BUG = 70
"""A mistake of ours (EX_SOFTWARE of sysexits): never mistaken for a refusal, so a supervisor starts again."""
EXIT_INTERRUPTED = 130

Members = Mapping[str, tuple[str, str]]
"""Name -> (module:attribute, one line of help)."""


class Session:
    """What the options said that stand anywhere: how to print, which folder, who acts, whose book."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    @property
    def json(self) -> bool:
        """Tell whether data is printed as JSON."""
        wanted = self.said.get("output") or os.environ.get("USANCE_OUTPUT", "text")
        return wanted == "json"

    @property
    def person(self) -> str:
        """Who acts, as `person` or `person:role`; empty when nobody is named."""
        return self.said.get("person") or os.environ.get("USANCE_AS", "")

    @property
    def flags(self) -> dict[str, str]:
        """Settings that the options set."""
        names = {
            "data": "data",
            "views": "views",
            "log": "log",
            "keys": "keys.service",
            "tenant": "bank.tenant",
            "profile": "profile",
        }
        return {names[k]: v for k, v in self.said.items() if k in names}


def session() -> Session:
    """Return the session of the command that runs."""
    return click.get_current_context().find_root().ensure_object(Session)


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    # An inner option is read after an outer one, so the nearer to the verb wins.
    if value is not None and parameter.name is not None:
        context.find_root().ensure_object(Session).said[parameter.name] = value


def _anywhere(*names: str, text: str, **more: Any) -> click.Option:
    return click.Option(list(names), callback=_remember, expose_value=False, help=text, **more)


def shared_options() -> list[click.Option]:
    """Return the options that every command takes, in any place."""
    return [
        _anywhere(
            "--output", text="Print data as text or JSON.", type=click.Choice(["text", "json"])
        ),
        _anywhere("--data", text="Data folder (USANCE_DATA, default ./data).", metavar="DIR"),
        _anywhere(
            "--log", text="Log (USANCE_LOG): sqlite or kafka://HOST:PORT.", metavar="ADDRESS"
        ),
        _anywhere(
            "--views",
            text="Read models: sqlite, or postgresql://... (USANCE_VIEWS).",
            metavar="URL",
        ),
        _anywhere(
            "--keys",
            text="Key service (USANCE_KEYS_SERVICE): file:, pkcs11:, vault: or aws:.",
            metavar="ADDRESS",
        ),
        _anywhere(
            "--profile",
            text="Of a log to be founded (USANCE_PROFILE): default, or secure with sealed fields.",
            type=click.Choice(["default", "secure"]),
        ),
        _anywhere("--as", "person", text="Who acts (USANCE_AS).", metavar="PERSON[:ROLE]"),
        _anywhere("--tenant", text="Whose book it is.", metavar="NAME"),
    ]


class Verb(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params = [*self.params, *shared_options()]


class Noun(click.Group):
    """A group of verbs. `lazy` names members that are imported only to be run."""

    command_class = Verb

    def __init__(self, *args: Any, lazy: Members | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params = [*self.params, *shared_options()]
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in order."""
        return sorted({*super().list_commands(ctx), *self.lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command, imported now if it is lazy."""
        target = self.lazy.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target[0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        rows = []
        for name in self.list_commands(ctx):
            known = self.commands.get(name)
            rows.append((name, known.get_short_help_str(70) if known else self.lazy[name][1]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(Noun):
    """The program itself: one place where errors become words and exit codes."""

    def main(self, *args: Any, **more: Any) -> NoReturn:
        """Run the command line and exit with its code."""
        more["standalone_mode"] = False
        try:
            code = super().main(*args, **more)
            _flush()
            sys.exit(code if isinstance(code, int) else 0)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(EXIT_USAGE)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader has gone; Python must not try to flush into the closed pipe at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:  # noqa: BLE001  the one place where a mistake of ours gets its code
            from usance.kernel.errors import UsanceError

            if not isinstance(error, UsanceError):
                traceback.print_exc()
                sys.exit(EXIT_BUG)
            tell_error(error)
            sys.exit(error.exit_code)


def _flush() -> None:
    sys.stdout.flush()


def tell_error(error: UsanceError) -> None:
    """Say an error on stderr: what, by which rule and article, what to do next."""
    code = getattr(error, "code", "")
    tell_refusal(error.message, code, getattr(error, "article", ""), error.hint)


def tell_refusal(message: str, code: str, article: str, hint: str) -> None:
    """Say a no on stderr: the sentence, the rule with its article, what to do next."""
    rule = " ".join(part for part in (code, article) if part)
    click.echo(f"{sentence(message)}{f' [{rule}]' if rule else ''}", err=True)
    if hint:
        click.echo(f"  {sentence(hint)}", err=True)


def sentence(text: str) -> str:
    """Return a text as a sentence for people."""
    text = text.strip()
    word = text.partition(" ")[0].rstrip(".,:;")
    is_name = any(mark in word for mark in "/._-") or text.startswith("usance ")
    first = text if is_name else text[:1].upper() + text[1:]
    return first + ("" if text[-1:] in ".!?:" else ".")


def say(text: str) -> None:
    """Say something to the person: on stderr, so that stdout holds data alone. Nobody need be listening."""
    with suppress(OSError):
        click.echo(text, err=True)


def verb(group: click.Group, name: str | None = None, **more: Any) -> Callable[..., Any]:
    """Return a decorator that makes a function a verb of a group."""
    return group.command(name, cls=Verb, **more)


dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
