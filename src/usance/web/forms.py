"""From form fields to a command: dotted names nest, numbers in a name make a list.

`changes.increase~USD` is a decimal amount in USD, `terms.amount~terms.currency` one in the currency
that another field names; both become minor units. Empty fields are left out, so defaults hold.
`narrative.subject@parties.subject` repeats another field where the rest of `narrative` is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from usance.kernel.errors import Unreadable
from usance.kernel.money import CURRENCIES, parse_decimal
from usance.messages.words import with_words

DEPTH_MAX = 6
DIGITS_MAX = 9
FIELDS_MAX = 300


def command_of(cls: type, fields: Mapping[str, str]) -> Any:
    """Return the command that form fields say; raises Unreadable or ValidationError naming one."""
    if len(fields) > FIELDS_MAX:
        raise Unreadable("validate", f"a form has {FIELDS_MAX} fields at most")
    tree: dict[str, Any] = {}
    for name, text in fields.items():
        if text.strip() and "@" not in name:
            _put(tree, *_read(name, text.replace("\r\n", "\n").strip(), fields))
    for name in fields:
        _repeat(tree, name, fields)
    return msgspec.convert(with_words(_listed(tree), cls), cls, strict=False)


def _repeat(tree: dict[str, Any], name: str, fields: Mapping[str, str]) -> None:
    path, _, source = name.partition("@")
    parent, _, last = path.rpartition(".")
    place = tree.get(parent)
    if source and isinstance(place, dict) and fields.get(source, "").strip():
        place.setdefault(last, fields[source].strip())


def _read(name: str, text: str, fields: Mapping[str, str]) -> tuple[list[str], Any]:
    path, _, currency = name.partition("~")
    parts = path.split(".")
    if len(parts) > DEPTH_MAX or not all(parts):
        raise Unreadable("validate", "a field of the form has an impossible name")
    if not currency:
        return parts, text
    code = fields.get(currency, currency).strip().upper()
    return parts, amount(text, code, parts[-1])


def whole_number(text: str) -> int | None:
    """Return a small whole number of ASCII digits, None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def amount(text: str, currency: str, name: str = "amount") -> int:
    """Return minor units of what a person typed (`1,000.50`); raises Unreadable naming the field."""
    if currency not in CURRENCIES:
        raise Unreadable(
            "validate", f"{name}: the currency is not in ISO 4217", hint="Such as USD."
        )
    try:
        return parse_decimal(text.replace(",", ""), currency)
    except ValueError as error:
        raise Unreadable(
            "validate", f"{name}: {error}", hint="Write it like 12,500.00, with a point."
        ) from error


def _put(tree: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise Unreadable("validate", "two fields of the form exclude each other")
    tree[parts[-1]] = value


def _listed(tree: Any) -> Any:
    """Return the tree with objects whose names are all numbers turned into lists, in order."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(whole_number(name) is not None for name in tree):
        return [_listed(tree[name]) for name in sorted(tree, key=int)]
    return {name: _listed(value) for name, value in tree.items()}
