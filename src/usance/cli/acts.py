"""Verbs made of commands: their options are the fields of the command, so none is missing or stale.

A verb takes the reference of what it acts on; fields that hold more than one value come from a JSON
document (`--file`) or one by one (`--field terms.currency=USD`). Amounts in options are written as
people write them (`1,000,000.00`); in documents they are minor units, as everywhere in the log.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin

import click
import msgspec

from usance.cli.acting import perform
from usance.cli.documents import AMOUNTS, Act, filled
from usance.cli.options import Noun, Verb
from usance.kernel.words import Words
from usance.messages.inputs import command_class, identity_field

SUBJECT = "acts_on"
"""Name of the argument that says what a verb acts on; no command has a field of this name."""


class ActNoun(Noun):
    """A noun whose further verbs are commands of the domain, made when they are called."""

    def __init__(self, name: str, acts: Mapping[str, Act], **more: Any) -> None:
        super().__init__(name, **more)
        self.acts = acts
        self.lazy = {verb: ("", act.help) for verb, act in acts.items()}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one verb."""
        act = self.acts.get(cmd_name)
        if act is None:
            return super().get_command(ctx, cmd_name)
        return act_verb(str(self.name), cmd_name, act)


def act_verb(noun: str, name: str, act: Act) -> click.Command:
    """Return the verb of an act, its options made from the command's fields."""
    cls = command_class(act.command)
    own = identity_field(cls)
    parameters: list[click.Parameter] = [
        click.Argument([SUBJECT], required=not own, metavar=f"{noun.upper()}")
    ]
    fields = _scalars(cls)
    if act.spread:
        fields |= {
            n: (kind, False) for n, (kind, _) in _scalars(_struct_of(cls, act.spread)).items()
        }
    for field, (kind, required) in fields.items():
        if field != own and field not in act.preset:
            parameters.append(_option(field, kind, required=required))
    return Verb(
        name,
        params=[*parameters, *common_options()],
        callback=_callback(noun, act, own),
        help=f"{act.help}\n\nExample: usance {noun} {name} REFERENCE --as amara.okafor",
        short_help=act.help,
    )


def common_options() -> list[click.Parameter]:
    """Return the options of every verb that sends a command."""
    return [
        click.Option(
            ["--file"], type=click.File("rb"), help="JSON document with (more) fields; - is stdin."
        ),
        click.Option(
            ["--field", "more"],
            multiple=True,
            metavar="NAME=VALUE",
            help="A field by its dotted name; can be passed multiple times.",
        ),
        click.Option(
            ["--id", "command_id"],
            default="",
            help="Idempotency key: the same key twice is the same command.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Say what would happen; change nothing."),
    ]


def _callback(noun: str, act: Act, own: str) -> Callable[..., None]:
    def run(
        file: Any,
        more: tuple[str, ...],
        command_id: str,
        dry_run: bool,
        **options: Any,
    ) -> None:
        reference = options.pop(SUBJECT) or ""
        fields = filled(noun, act, own, reference, file, more, options)
        perform(fields, command_id, dry=dry_run)

    return run


def _scalars(cls: type) -> dict[str, tuple[type, bool]]:
    """Return the plain fields of a struct: their type, and whether they must be given."""
    found = {}
    for field in msgspec.structs.fields(cls):
        kinds = [k for k in _kinds(field.type) if k is not type(None)]
        if len(kinds) == 1 and kinds[0] in (str, int, bool, Words):
            found[field.name] = (str if kinds[0] is Words else kinds[0], field.required)
    return found


def _kinds(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        return list(get_args(kind))
    origin = get_origin(kind)
    return [get_args(kind)[0] if origin is not None and hasattr(kind, "__metadata__") else kind]


def _struct_of(cls: type, field: str) -> type:
    found: type = next(f.type for f in msgspec.structs.fields(cls) if f.name == field)
    return found


def _option(field: str, kind: type, *, required: bool) -> click.Option:
    name = "--" + field.replace("_", "-")
    text = "Needed." if required else ""
    if kind is bool:
        return click.Option([f"{name}/--no-{name[2:]}", field], default=None, help=text)
    if field in AMOUNTS:
        return click.Option(
            [name, field], metavar="AMOUNT", help=f"As people write it: 1,000.00. {text}".strip()
        )
    if kind is int:
        return click.Option([name, field], type=int, help=text)
    date = field.endswith("date") or field in ("expiry", "latest_shipment", "maturity")
    return click.Option([name, field], metavar="YYYY-MM-DD" if date else "TEXT", help=text)
