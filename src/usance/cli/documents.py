"""The document that a verb's arguments mean: file, dotted fields, options, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import click
import msgspec

from usance.cli.acting import addressed, opened, perform, settle
from usance.cli.opening import looking
from usance.domain.message_exchange import FinText, MessageQueued, RepairMessage
from usance.kernel.decider import key_of
from usance.kernel.errors import NotFound, Unavailable, Unreadable
from usance.kernel.ids import RandomIds
from usance.kernel.money import parse_decimal
from usance.messages.inputs import category_of, command_class, identity_field
from usance.web.acts import next_amendment

AMOUNTS = frozenset(
    {"additional_amount", "amount", "decrease", "increase", "limit", "margin", "unit_price"}
)
"""Fields that are amounts: as an option, written as people write amounts."""


class Act(NamedTuple):
    """A verb: the command it sends, its help, fields that it sets itself, a struct it spreads out."""

    command: str
    help: str
    preset: Mapping[str, Any] = {}
    spread: str = ""


def filled(
    noun: str,
    act: Act,
    own: str,
    reference: str,
    file: BinaryIO | None,
    more: tuple[str, ...],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Return the document of a verb; later sources win. Raises Unreadable or UsageError."""
    found: dict[str, Any] = _from_file(file)
    for text in more:
        _put(found, text)
    found |= {"type": act.command, **act.preset}
    if reference:
        found[own or noun] = _identity(reference)
    elif own and own not in found:
        raise click.UsageError(f"Name the {noun}, as argument or in the document.")
    said = {name: value for name, value in options.items() if value is not None}
    target = found.setdefault(act.spread, {}) if act.spread else found
    plain = _plain_fields(act)
    for name, value in said.items():
        amount = name in AMOUNTS and isinstance(value, str)
        value = _minor(name, value, found, noun, reference) if amount else value
        (found if name in plain else target)[name] = value
    if act.command == "RequestAmendment" and "amendment" not in found:
        found["amendment"] = _next_amendment(reference)
    return found


def _next_amendment(reference: str) -> int:
    """Return the number of the next amendment of a credit."""
    with looking() as seen:
        credit = seen.queries.credit(seen.viewer, seen.key("credit", reference))
        return next_amendment(credit)


def _plain_fields(act: Act) -> set[str]:
    return {f.name for f in msgspec.structs.fields(command_class(act.command))}


def _from_file(file: BinaryIO | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = msgspec.json.decode(file.read().removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(
            "parse", f"the document is not JSON: {error}", hint="Correct it."
        ) from None
    if not isinstance(found, dict):
        raise Unreadable("validate", "a document is one JSON object", hint="Correct it.")
    for name in ("id", "as", "role"):
        found.pop(name, None)
    return found


def _identity(reference: str) -> str:
    """Return the identity of a reference; a whole key is taken apart."""
    return reference.split("/", 2)[2] if reference.count("/") > 1 else reference


def _put(found: dict[str, Any], text: str) -> None:
    """Set one dotted field; a value that is JSON is taken as such, any other is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--field needs NAME=VALUE, not {text!r}.")
    try:
        content: Any = msgspec.json.decode(value.encode())
    except msgspec.DecodeError:
        content = value
    *path, last = name.split(".")
    for part in path:
        inner = found.setdefault(part, {})
        if not isinstance(inner, dict):
            raise click.UsageError(f"--field {name}: {part} has a value already.")
        found = inner
    found[last] = content


def _minor(name: str, text: str, found: dict[str, Any], noun: str, reference: str) -> int:
    """Return an amount in minor units of the document's currency, or of what it acts on."""
    currency = found.get("currency") or _currency_of(noun, reference)
    try:
        return parse_decimal(text.replace(",", "").removeprefix(currency), currency)
    except ValueError as error:
        raise click.UsageError(f"--{name}: {error}.") from None


def _currency_of(noun: str, reference: str) -> str:
    try:
        with looking() as seen:
            if noun == "credit":
                return seen.queries.credit(seen.viewer, seen.key(noun, reference)).row.currency
    except (NotFound, Unavailable):
        pass
    raise click.UsageError("Name the currency: --currency USD.")


def sent_by_name(
    noun: str,
    name: str,
    reference: str,
    file: BinaryIO | None,
    more: tuple[str, ...],
    command_id: str,
    dry_run: bool,
) -> None:
    """Send any command on an aggregate by the command's name; raises NotFound for another's."""
    cls = command_class(name)
    if category_of(cls) != noun:
        raise NotFound(
            f"{name} is a command on a {category_of(cls)}, not on a {noun}",
            hint=f"Use usance {category_of(cls)}, or usance command send.",
        )
    act = Act(name, "")
    fields = filled(noun, act, identity_field(cls), reference, file, more, {})
    perform(fields, command_id, dry=dry_run)


def repaired(reference: str, data: bytes, *, dry: bool) -> None:
    """Send a FIN message again with a corrected text."""
    with opened(dry=dry) as (desk, person):
        key = key_of(desk.settings.bank.tenant, "message", _identity(reference))
        past = desk.store.history.stream(key)
        subject = next(p.message.text.subject for p in past if isinstance(p.message, MessageQueued))
        text = FinText(subject=subject, text=data.decode("utf-8", "strict"))
        command_id = RandomIds().fresh()
        command = RepairMessage(text=text)
        settle(desk, addressed(key, command, command_id, person), dry=dry)
